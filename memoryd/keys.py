"""Every name in Redis, and nowhere else.

name                                                type     life                      writes            reads
aether:memory:semantic:{b}:<tenant>:<project>:<id>  Hash     permanent (tier policy)   engine, follower  engine
aether:memory:episodic:{b}:<tenant>:<project>:<id>  Hash     permanent (tier policy)   engine, follower  engine
aether:memory:working:{b}:<tenant>:<project>:<agent>:<session>
                                                    JSON     1 h, refreshed by use     sessions          sessions
aether:journal:{b}                                  Stream   trimmed below followers   scripts           embed, archive
aether:place:{b}                                    Hash     permanent                 archiver          engine
aether:uses:{b}                                     Hash     permanent (until swept)   recall, get       tiers
aether:tombstone:{b}:<id>                           String   30 days                   forget, follower  scripts
aether:dedup:content:{b}                            Bloom    permanent                 scripts, records  scripts, seen
aether:dedup:queries:{b}                            Bloom    permanent                 seen              seen
aether:questions:{b}:<tenant>:<project>             ZSet     30 days                   seen              seen
aether:idempotency:{b}:<tenant>:<project>:<r>       String   1 day                     scripts           scripts
aether:recalls:{b}:<tenant>:<project>:<agent>       Stream   1 day, bounded            recall            feedback
aether:verdict:{b}:<tenant>:<project>:<v>           String   1 day                     scripts           scripts
aether:timeline:{b}:<tenant>:<project>:<a>:<s>      ZSet     permanent (tier policy)   scripts           scripts
aether:cache:embedding:<tenant>:<project>:<m>:<h>   String   7 days                    embed             embed, recall
aether:cache:recall:<tenant>:<project>:<token>       String   10 min                    recall            recall
aether:cache:tool:{b}:<tenant>:<project>:<agent>    Hash     its longest-lived entry   tools             tools
aether:cache:tool_due:{b}:<tenant>:<project>:<agent>  ZSet   its longest-lived entry   tools             tools
aether:cache:question:{b}:<tenant>:<project>:<agent>:<h>  Hash  with its kept answer   tools             tools
aether:episodes:{b}:<tenant>:<project>:<agent>      Stream   trimmed below archive     episode           episodes
aether:turn:{b}:<h>                                 String   10 min                    fact              facts
aether:agent:state:{b}:<tenant>:<project>:<agent>   JSON     permanent                 agents            agents
aether:agent:snapshot:{b}:<tenant>:<project>:<agent>:<id>  JSON  7 days                 agents            agents
aether:context:compressed:{b}:<tenant>:<project>:<agent>:<date>  JSON  permanent       days              days
aether:gaps:{b}:<tenant>:<project>:<agent>          Hash     30 days                   gap               gaps
aether:agent:alive:{b}:<tenant>:<project>:<agent>   String   7 days                    agents            agents
aether:scratch:{b}:<tenant>:<project>:<agent>:<session>  JSON  5 to 30 min, refreshed by writes  scratch  scratch
aether:answers:{b}:<tenant>:<project>:<agent>       Hash     30 min                    scratch           scratch
aether:lease:{b}:<tenant>:<project>:<task>          Hash     1 s to 1 h, renewed        leases            leases
aether:fences:{b}:<tenant>:<project>                String   permanent (a number)      leases            leases
aether:channel:{b}:<tenant>:<project>:<channel>     Stream   7 days after its last     channels          channels
aether:events:{b}:<tenant>:<project>                Stream   8 days                    scripts           events
aether:journal:dead                                 Stream   bounded                   embed, archive    people
aether:requests                                     Stream   until answered            clients           daemons
aether:claim:<request>                              String   5 to 10 s                 daemons           daemons
aether:receipts                                     Stream   bounded, until archived   forget, sync      sync, daemons
aether:forget:<receipt>                             Hash     1 day                     daemons           daemons
aether:traces                                       Stream   bounded                   daemons, sync     sync, people
aether:metrics:{b}:<service>:<series>:<kept>        TSDB     31 days, renewed daily    daemons, sync     top, people
aether:schema                                       Hash     permanent                 apply             apply
aether:fence:{b}                                    String   permanent (a number)      follower          follower
aether:follower:place                               Hash     permanent                 follower          follower
aether:follower:lease                               String   4 s, renewed              follower          follower
aether:follower:fence                               String   permanent (a counter)     follower          follower
aether:tiers:lease                                  String   30 s, renewed             tiers             tiers
aether:tiers:fence                                  String   permanent (a counter)     tiers             tiers
aether:jobs                                         Hash     permanent                 jobs              jobs, people
aether:jobs:fence                                   String   permanent (a counter)     jobs              jobs
aether:job:lease:<job>                              String   30 s, renewed             jobs              jobs, people
aether:index:<kind>                                 alias    permanent                 apply, reindex    engine
aether:index:<kind>:<1 or 2>                        index    while it is read, filled  apply, reindex    by its alias

Pub/sub: aether:requests, aether:replies:<client>, aether:events:<tenant>:<project>:<agent>, and of what is said in channels
  aether:said:<tenant>:<project>:<channel>.
`{b}` is a bucket: what Redis Cluster keeps together, so all keys of one atomic step share it. The names inside a key
are percent-encoded (`model.scope.to_tag`), so no name can reach into another's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from memoryd.model.document import Place
from memoryd.model.ids import home
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope, from_tag, to_tag

REQUESTS = "aether:requests"
REQUESTS_GROUP = "memoryd"  # the daemons, who share them
DEAD_LETTERS = "aether:journal:dead"
SCHEMA = "aether:schema"
RECEIPTS = "aether:receipts"
TRACES = "aether:traces"
FOLLOWER_PLACE = "aether:follower:place"
FOLLOWER_LEASE = "aether:follower:lease"
FOLLOWER_FENCE = "aether:follower:fence"
TIERS_LEASE = "aether:tiers:lease"
TIERS_FENCE = "aether:tiers:fence"
TIMELINES = "aether:timeline:"
JOBS = "aether:jobs"
JOBS_FENCE = "aether:jobs:fence"

# Keys that live without a TTL; everything else must have one.
PERMANENT_PREFIXES = (
    "aether:memory:semantic:", "aether:memory:episodic:", TIMELINES, "aether:episodes:", "aether:journal:",
    "aether:place:", "aether:dedup:", "aether:fence:", "aether:fences:", "aether:agent:state:",
    "aether:context:compressed:", "aether:uses:", REQUESTS, RECEIPTS, SCHEMA, TRACES, FOLLOWER_PLACE, FOLLOWER_FENCE,
    TIERS_FENCE, JOBS, JOBS_FENCE,
)  # fmt: skip

ID_CHARS = 36  # of a memory's id, which ends the key of its record
KINDS = ("semantic", "episodic")
RECORDS = "aether:memory:[es]*:{*"  # of both kinds, for one walk over the keys; a session's working memory is no hash

# The documents of a collection: what their keys begin with, and what follows the project in them.
DOCUMENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sessions": ("aether:memory:working:", ("agent", "session")),
    "agents": ("aether:agent:state:", ("agent",)),
    "agent_states": ("aether:agent:snapshot:", ("agent", "id")),
    "days": ("aether:context:compressed:", ("agent", "date")),
}


def session_of(timeline: str) -> Scope:
    """Whose events a timeline's key names."""
    return Scope(*map(from_tag, timeline.removeprefix(TIMELINES).split(":")[1:]))


def kind_of(memory_type: MemoryType) -> str:
    """Which index holds this type: events have their own."""
    return "episodic" if memory_type is MemoryType.EPISODIC else "semantic"


def memories(kind: str) -> str:
    """What the records of a kind begin with."""
    return f"aether:memory:{kind}:"


def index(kind: str) -> str:
    """The search index of a kind."""
    return f"aether:index:{kind}"


def replies(client: str) -> str:
    """The channel on which one client hears its answers."""
    return f"aether:replies:{client}"


def events(scope: Scope) -> str:
    """The channel of an agent's events; its prefix when the scope names no agent."""
    return f"aether:events:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{to_tag(scope.agent)}"


def events_prefix(scope: Scope) -> str:
    """What the channels of all agents of a project begin with."""
    return f"aether:events:{to_tag(scope.tenant)}:{to_tag(scope.project)}:"


def said(scope: Scope, channel: str) -> str:
    """Where messages of a project's channel are hinted at."""
    return f"aether:said:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{to_tag(channel)}"


def job_lease(job: str) -> str:
    """Who does a job at this moment."""
    return f"aether:job:lease:{job}"


def claim(request_id: str) -> str:
    """Taken by the daemon that handles a published request, or that is at work on a long forget."""
    return f"aether:claim:{_digest(request_id)}"


def forgetting(receipt_id: str) -> str:
    """A forget under way, and its answer when it is done."""
    return f"aether:forget:{receipt_id}"


def embedding(scope: Scope, model: str, content_hash: str) -> str:
    """A cached vector: by model and content, never shared between projects."""
    return f"aether:cache:embedding:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{_digest(model)[:8]}:{content_hash}"


def pages(scope: Scope, token: str) -> str:
    """The order that one recall found, for its later pages."""
    return f"aether:cache:recall:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{token}"


def request_digest(request_id: str) -> str:
    """A request's id as a name of one length."""
    return _digest(request_id)


def _ending(place_id: str) -> str:
    """The date with which the id of a day ends."""
    return f"{place_id[-8:-4]}-{place_id[-4:-2]}-{place_id[-2:]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Keys:
    """The names that live in buckets. `buckets` is a power of two, fixed once data exists."""

    buckets: int

    def all_buckets(self) -> list[str]:
        """Every bucket's tag, `00` first."""
        return [f"{number:02x}" for number in range(self.buckets)]

    def bucket(self, memory_id: str) -> str:
        """The bucket of a memory or a document: chosen by the first two hex digits of its id."""
        return f"{int(memory_id[4:6], 16) % self.buckets:02x}"

    def memory(self, kind: str, scope: Scope, memory_id: str) -> str:
        """The record of a memory."""
        place = f"{{{self.bucket(memory_id)}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}"
        return f"{memories(kind)}{place}:{memory_id}"

    def document(self, place: Place) -> str:
        """A document, by its collection's form."""
        prefix, parts = DOCUMENTS[place.collection]
        scope = place.scope
        values = {
            "agent": to_tag(scope.agent), "session": to_tag(scope.session), "id": place.id, "date": _ending(place.id),
        }  # fmt: skip
        rest = ":".join(values[part] for part in parts)
        return f"{prefix}{{{self.bucket(place.id)}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{rest}"

    def memories_of(self, kind: str, scope: Scope) -> str:
        """A pattern of the records of one kind of a whole project. No name can hold what a pattern obeys."""
        return f"{memories(kind)}{{??}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:mem_*"

    def journal(self, bucket: str) -> str:
        """The journal of a bucket."""
        return f"aether:journal:{{{bucket}}}"

    def place(self, bucket: str) -> str:
        """How far each follower of a bucket's journal has come."""
        return f"aether:place:{{{bucket}}}"

    def kept_events(self, bucket: str, scope: Scope) -> str:
        """The latest events of a project in a bucket, for listeners that were away."""
        return f"aether:events:{{{bucket}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}"

    def fence(self, bucket: str) -> str:
        """The lease number below which no follower may write to this bucket any more."""
        return f"aether:fence:{{{bucket}}}"

    def uses(self, bucket: str) -> str:
        """How often each memory of a bucket was read since it was last counted."""
        return f"aether:uses:{{{bucket}}}"

    def tombstone(self, memory_id: str) -> str:
        """What remains of a forgotten memory."""
        return f"aether:tombstone:{{{self.bucket(memory_id)}}}:{memory_id}"

    def dedup(self, bucket: str) -> str:
        """The Bloom filter of the ids that this bucket has ever held, and of the contents that belong to it."""
        return f"aether:dedup:content:{{{bucket}}}"

    def asked(self, bucket: str) -> str:
        """The Bloom filter of the questions that belong to this bucket."""
        return f"aether:dedup:queries:{{{bucket}}}"

    def bucket_of_hash(self, text_hash: str) -> str:
        """The bucket that a content or a question belongs to: chosen by its hash, whoever says it."""
        return f"{int(text_hash[:2], 16) % self.buckets:02x}"

    def turn(self, key: str) -> str:
        """When the facts of a key were changed last: who has looked at them before has to look again."""
        return f"aether:turn:{{{self.bucket_of_hash(key)}}}:{key}"

    def timeline(self, scope: Scope, memory_id: str) -> str:
        """The events of a session in the order in which they happened, as far as they share this memory's bucket."""
        names = ":".join(to_tag(name) for name in (scope.tenant, scope.project, scope.agent, scope.session))
        return f"{TIMELINES}{{{self.bucket(memory_id)}}}:{names}"

    def idempotency(self, scope: Scope, memory_id: str, request_id: str) -> str:
        """The first result of an agent's request, in the bucket of the memory that it writes."""
        place = f"{{{self.bucket(memory_id)}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}"
        return f"aether:idempotency:{place}:{_digest(f'{scope.agent}:{request_id}')}"

    def verdict(self, scope: Scope, memory_id: str, verdict: str) -> str:
        """What one recall has said of a memory, in the memory's bucket; `verdict` is a digest of both."""
        return f"aether:verdict:{{{self.bucket(memory_id)}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{verdict}"

    def metric(self, service: str, series: str, kept: str) -> str:
        """A time series; those that are made of one are in its bucket."""
        return f"aether:metrics:{{{self.bucket_of_hash(_digest(f'{service}:{series}'))}}}:{service}:{series}:{kept}"

    # --- what an agent has besides its memories, all in one bucket ---------------------------------------------------

    def tool_cache(self, scope: Scope) -> str:
        """An agent's kept tool results."""
        return self._of_agent("aether:cache:tool", scope)

    def tool_cache_due(self, scope: Scope) -> str:
        """When each of them is due to go."""
        return self._of_agent("aether:cache:tool_due", scope)

    def question(self, scope: Scope, entry: str) -> str:
        """The question that one of them answers, to be found by questions like it."""
        return f"{self._of_agent('aether:cache:question', scope)}:{entry}"

    def questions_kept(self, scope: Scope) -> str:
        """For SCAN: those of a scope's agents. No tag holds a wildcard."""
        agents = f"{{*}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{to_tag(scope.agent) or '*'}"
        return f"aether:cache:question:{agents}:*"

    def episodes(self, scope: Scope) -> str:
        """An agent's log: which memory is the event in which place."""
        return self._of_agent("aether:episodes", scope)

    def scratch(self, scope: Scope) -> str:
        """The scratchpad of an agent's session, of the agent itself without one."""
        return f"{self._of_agent('aether:scratch', scope)}:{to_tag(scope.session)}"

    def recalls(self, scope: Scope) -> str:
        """What an agent's last recalls gave, for feedback on them."""
        return self._of_agent("aether:recalls", scope)

    def answers(self, scope: Scope) -> str:
        """What an agent's last requests were answered by steps that journal nothing, for their repeats."""
        return self._of_agent("aether:answers", scope)

    def gaps(self, scope: Scope) -> str:
        """An agent's questions to which nothing was found."""
        return self._of_agent("aether:gaps", scope)

    def gaps_of_all(self, scope: Scope) -> str:
        """A pattern of those of all agents of a project."""
        return f"aether:gaps:{{*}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:*"

    def alive(self, scope: Scope) -> str:
        """When an agent was last heard of."""
        return self._of_agent("aether:agent:alive", scope)

    def patterns(self, scope: Scope) -> tuple[str, str, str, str]:
        """For SCAN: the kept tool results, the answers, the scratchpads and the noted recalls that lie in a scope.

        No tag holds a wildcard.
        """
        agents = f"{{*}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{to_tag(scope.agent) or '*'}"
        pads = f"aether:scratch:{agents}:{to_tag(scope.session) or '*'}"
        return f"aether:cache:tool:{agents}", f"aether:answers:{agents}", pads, f"aether:recalls:{agents}"

    def _of_agent(self, kind: str, scope: Scope) -> str:
        bucket = f"{int(home(scope), 16) % self.buckets:02x}"
        return f"{kind}:{{{bucket}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}:{to_tag(scope.agent)}"

    # --- what a project's agents have together, all in one bucket ----------------------------------------------------

    def questions(self, scope: Scope) -> str:
        """When each of a project's questions was asked last, by its digest."""
        return self._of_project("aether:questions", scope)

    def lease(self, scope: Scope, task: str) -> str:
        """Who works on a task."""
        return f"{self._of_project('aether:lease', scope)}:{to_tag(task)}"

    def fences(self, scope: Scope) -> str:
        """The highest token of all leases that a project has given."""
        return self._of_project("aether:fences", scope)

    def channel(self, scope: Scope, channel: str) -> str:
        """What was said in a channel lately."""
        return f"{self._of_project('aether:channel', scope)}:{to_tag(channel)}"

    def channels(self, scope: Scope) -> str:
        """For SCAN: all channels of a project. No tag holds a wildcard."""
        return f"{self._of_project('aether:channel', scope)}:*"

    def _of_project(self, kind: str, scope: Scope) -> str:
        bucket = f"{int(home(Scope(scope.tenant, scope.project)), 16) % self.buckets:02x}"
        return f"{kind}:{{{bucket}}}:{to_tag(scope.tenant)}:{to_tag(scope.project)}"
