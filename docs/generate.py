"""Writes the parts of the documentation that the code knows: `python docs/generate.py`.

A part stands between `<!-- generated: name -->` and `<!-- end -->`; the rest of a page is written by people. A test
fails when a part is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

import memoryd_telemetry.names as telemetry
from memoryd import errors, limits
from memoryd.cli import app
from memoryd.cli.output import exit_code
from memoryd.config import Settings
from memoryd.doctor.examine import CHECKS, name_of
from memoryd.insight.library import saved_queries
from memoryd_schemas.protocol_files import protocol_schema
from memoryd_sync.cli import app as sync_app
from memoryd_telemetry.metrics import prometheus_name

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# --- what the code does not say -------------------------------------------------------------------------------------
SPANS = {
    telemetry.EMBED: "daemon: one batch of journal entries is given its vectors",
    telemetry.ARCHIVE: "sync: one batch of journal entries is written to MongoDB",
    telemetry.FOLLOW: "sync: one change in MongoDB is brought to Redis, or is given a version first",
    telemetry.RECONCILE: "sync: some documents of MongoDB are brought to Redis, when all are compared",
    telemetry.MOVE: "daemon: some memories get another tier; inside a verb that moves them, its inner part",
    telemetry.COUNT_USES: "daemon: how often memories of a bucket were read is noted, for their heat and for the archive",
    telemetry.SHRINK: "daemon: what has left a full session is compressed",
    telemetry.JOB: "daemon, sync: one run of a job; what it changes is in traces of its own, or inner parts of this",
    telemetry.RECEIVE: "client: events, messages of a channel or of a log were told to it; linked to what caused them",
}
INNER = {
    telemetry.SEARCH_WORDS: "recall: Redis is searched by words",
    telemetry.EMBED_QUERY: "recall: the question gets its vector",
    telemetry.SEARCH_MEANING: "recall: Redis is searched by meaning",
    telemetry.SEARCH_LONG: "recall: MongoDB is searched by words, for what has its content only there",
    telemetry.SEARCH_ARCHIVE: "deep recall: the tier archive is searched by meaning",
    telemetry.FUSE: "recall: what was found is ranked",
    telemetry.RERANK: "recall: a cross-encoder reads the best",
    telemetry.FETCH: "recall: the best are read, from Redis and from MongoDB",
    telemetry.WRITE: "writes: the atomic steps in Redis, with the wait for its disk",
    telemetry.ASK_ARCHIVE: "store: MongoDB is asked whether it knows the memory",
    telemetry.WAIT: "writes: the wait for the archive, or for vectors",
    telemetry.MOVE: "compress, duplicates, expand: memories go to the archive, or come back",
    telemetry.COMPRESS_GROUP: "compress: one group of memories gets its summary; linked to what wrote them",
    telemetry.MERGE: "duplicates: the memories of one group become one",
}
ATTRIBUTES = {
    telemetry.OPERATION_NAME: ("verbs", "the span's name"),
    telemetry.STORE_ID: ("verbs, in the daemon", "a digest of tenant and project: scope names may name people"),
    telemetry.RECORD_ID: ("verbs in the daemon, memoryd.follow", "the memory's id"),
    telemetry.RECORD_IDS: ("store_many and recall, in the daemon", "the ids of the first 32 of them"),
    telemetry.RECORD_COUNT: (
        "store_many and recall, in the daemon; memoryd.fuse, memoryd.fetch, memoryd.move",
        "memories stored, recalled, ranked or moved",
    ),
    telemetry.TOP_K: ("recall, in the daemon", "the limit that was asked for"),
    telemetry.EFFECT: (
        "store, update, share, unshare and forget, in the daemon",
        "stored, reinforced, updated, unchanged, forgotten or already",
    ),
    telemetry.DURABILITY: ("store, update, share, unshare and forget, in the daemon", "what was asked for: hot, fsync or archived"),
    telemetry.QUERY_TEXT: ("searches, in the daemon; only [where it is asked for](#text-in-spans)", "the question, redacted"),
    telemetry.RECORDS: (
        "writes, reads and searches, in the daemon; only [where it is asked for](#text-in-spans)",
        "memories as a JSON list of `id`, `content` (redacted) and, of a search, `score`",
    ),
    telemetry.ERROR_TYPE: ("every span that failed", "the error's code, or its class"),
    telemetry.VERB: ("verbs; metrics", "store, recall …; other for one that there is not"),
    telemetry.OUTCOME: (
        "metrics",
        "ok or the error's code; of followed changes, what was done; of the lease: taken or lost; of feedback: what was said; "
        "of a job: stopped, too",
    ),
    telemetry.FOLLOWER: ("memoryd.dead_letters, memoryd.journal.backlog", "which follower: embed or archive"),
    telemetry.STORE: ("memoryd.circuit.open", "archive"),
    telemetry.TIER: ("memoryd.memories, memoryd.reads, memoryd.recalled", "short, long or archive"),
    telemetry.MOVED_FROM: ("memoryd.tier.moves", "the tier before"),
    telemetry.MOVED_TO: ("memoryd.tier.moves; memoryd.move", "the tier after"),
    telemetry.REASON: (
        "memoryd.tier.moves; memoryd.retention.forgotten",
        "a mover's word for why: compressed, merged, expanded …; retention's: aged, cold …",
    ),
    telemetry.FILTER: ("memoryd.filter.fill", "contents or questions"),
    telemetry.JOB_NAME: ("memoryd.job; memoryd.job.runs, memoryd.job.duration", "tiers, summaries, retention, verify, duplicates"),
    telemetry.GAP: ("memoryd.follow.gaps", "why: history (MongoDB's oplog has rolled over), or collection (it is gone)"),
    telemetry.DIFFERENCE: ("memoryd.reconcile.differences", "which side lacked what, as `sync verify` says it"),
    telemetry.BATCH_SIZE: ("memoryd.embed, memoryd.archive, memoryd.write, memoryd.move …", "entries or memories of the batch"),
    telemetry.BUCKETS: ("memoryd.write", "the buckets of the memories"),
    telemetry.SEARCHED: ("memoryd.search.words, memoryd.search.archive", "memories that pass the filters"),
    telemetry.CANDIDATES: ("memoryd.search.…, memoryd.fuse", "memories that were found, or ranked"),
    telemetry.SCORE_MAX: ("memoryd.search.meaning, memoryd.search.archive, memoryd.fuse", "the best similarity, or the best score"),
    telemetry.SCORE_MIN: ("the same", "the worst of those that were found"),
    telemetry.TIERS: ("memoryd.fetch", "the tiers that the answer came from"),
    telemetry.REASONS: (
        "memoryd.move", "the policy's reasons; begun: ended what another began; pending: contents came back for their vectors",
    ),
    telemetry.WAITED_FOR: ("memoryd.wait", "archived or searchable"),
    telemetry.QUERY_CACHE: ("recall, in the daemon", "hit or miss, of what was asked before; after a hit nothing is searched"),
    telemetry.LINKS_DROPPED: ("spans with more than 500 links", "how many writes are not linked"),
    telemetry.DB_SYSTEM: ("commands", "redis or mongodb"),
    telemetry.DB_COLLECTION: ("commands to MongoDB", "the collection"),
    telemetry.DB_BATCH_SIZE: ("redis PIPELINE", "how many commands went together"),
    telemetry.DB_STATUS: (
        "mongodb update, insert, delete",
        "MongoDB's code of the first write that it refused; 11000 alone is no failure: what is there is as new",
    ),
    telemetry.SERVER_ADDRESS: ("commands", "the server's host"),
    telemetry.SERVER_PORT: ("commands", "the server's port"),
}
# In one request, then in one answer, then in the service: what an author of a client can meet.
LIMITS = {
    "CONTENT_BYTES_MAX": "content",
    "METADATA_BYTES_MAX": "metadata",
    "METADATA_DEPTH_MAX": "levels of metadata",
    "NAME_BYTES_MAX": "a name: tenant, project, agent, session, tag, source_tool",
    "TAGS_MAX": "tags of a memory",
    "SHARED_WITH_MAX": "agents that one memory is shared with",
    "REFERENCES_MAX": "ids in related, in derived_from",
    "REQUEST_ID_BYTES_MAX": "a request's id",
    "STORE_MANY_MAX": "memories of one store_many",
    "QUERY_BYTES_MAX": "query",
    "QUERY_WORDS_MAX": "words of a query that are searched for",
    "RECALL_LIFE_SECONDS": "how long a recall_id is good for",
    "RECALLS_KEPT_MAX": "recalls of one agent that feedback can name",
    "RECALL_LIMIT_MAX": "hits of one recall, or of one page",
    "RECALL_PAGES_HITS_MAX": "hits of all pages of a recall",
    "RECALL_PAGES_TTL_SECONDS": "how long pages can be turned",
    "RECALL_DEADLINE_MS_MAX": "the longest deadline of a recall",
    "FACETS_MAX": "facets of a memory's metadata, names in a filter, values of one name",
    "FACET_BYTES_MAX": "a facet's name, its value",
    "ENVELOPE_BYTES_MAX": "an envelope",
    "REPLY_BYTES_MAX": "a reply",
    "REQUESTS_BACKLOG_MAX": "requests that wait",
    "REQUESTS_STREAM_MAX": "entries of the stream",
    "REDIS_MEMORY_PERCENT_MAX": "percent of Redis's maxmemory that new writes may fill",
    "JOURNAL_ENTRIES_MAX": "entries of one bucket's journal",
    "IDEMPOTENCY_TTL_SECONDS": "how long a write's request id is known",
    "CLAIM_TTL_SECONDS": "how long a published request's id is known",
    "TAKEOVER_IDLE_SECONDS": "when a dead daemon's request is taken over",
    "FSYNC_TIMEOUT_SECONDS": "longest wait for durability fsync",
    "ARCHIVED_TIMEOUT_SECONDS": "longest wait for durability archived",
    "SEARCHABLE_TIMEOUT_SECONDS": "longest wait for searchable",
    "FILTER_CAPACITY": "entries of a bucket's filter of what was seen, before it grows",
    "QUESTIONS_MAX": "entries of a project's list of questions",
    "QUESTIONS_TTL_SECONDS": "how long that list is kept after the last question",
    "EVENTS_KEPT_MAX": "events that are kept, of one bucket of a project",
    "PLACE_LIFE_SECONDS": "how long a place is good for",
    "EVENTS_PAGE_MAX": "events of one answer",
    "PLACE_BYTES_MAX": "a place",
    "TOMBSTONE_TTL_SECONDS": "a tombstone in Redis",
    "FORGET_PLAN_MAX": "memories of one forget, and ids in its selection",
    "RECEIPT_PAGE_MAX": "memories listed in one answer of a plan or a receipt",
    "RECEIPTS_PAGE_MAX": "receipts of one answer",
    "FINDINGS_MAX": "findings of one verification that are listed",
    "RECEIPTS_WAITING_MAX": "receipts that wait for MongoDB",
    "AOF_REWRITE_SECONDS_MAX": "longest wait for Redis's files to be written anew",
}
COMPRESSION_LIMITS = {
    "SUMMARY_GROUP_MAX": "memories behind one summary",
    "SUMMARY_GROUP_MIN": "the fewest",
    "SUMMARY_CHARS_MIN": "characters of the shortest summary that is asked for",
    "SUMMARY_CHARS_MAX": "characters of the longest",
    "SUMMARIZE_MEMORIES_MAX": "memories of one summarize",
    "COMPRESS_MEMORIES_MAX": "memories of one compress",
    "EXPAND_PAGE_MAX": "memories of one answer of expand",
    "DUPLICATES_PAGE_MAX": "memories of one duplicates",
    "DUPLICATES_GROUP_MAX": "memories of one group of duplicates",
    "DUPLICATE_OVERLAP_MIN": "the lowest overlap that can be asked for",
    "DUPLICATE_TEXT_CHARS": "characters of a text in a proposal",
}
SESSION_LIMITS = {
    "SESSION_TTL_SECONDS": "a session in Redis after its last use, unless it was opened with another time",
    "SESSION_TTL_SECONDS_MIN": "the shortest such time",
    "SESSION_TTL_SECONDS_MAX": "the longest such time",
    "APPEND_MESSAGES_MAX": "messages of one append",
    "MESSAGE_CONTENT_BYTES_MAX": "a message's content",
    "MESSAGE_BYTES_MAX": "a message as JSON",
    "SESSION_MESSAGES_MAX": "messages of a session, before the oldest become memories",
    "SESSION_BYTES_MAX": "its messages as JSON, before the same",
    "STATE_BYTES_MAX": "a session's variables as JSON; its tool state has as much again",
    "STATE_PATH_PARTS_MAX": "steps of a path",
    "CHECKPOINTS_MAX": "checkpoints of a session",
    "SESSION_RECALLED_MAX": "recalled memories that it notes",
    "SESSIONS_LIST_MAX": "sessions of one answer",
}
KNOWLEDGE_LIMITS = {
    "FACT_NAME_BYTES_MAX": "a subject, a predicate",
    "FACT_OBJECT_BYTES_MAX": "an object",
    "FACTS_OF_KEY_MAX": "facts of one subject and predicate, over all times",
    "FACTS_LIMIT_MAX": "facts of one answer",
    "AGENT_TEXT_BYTES_MAX": "an agent's task, or its error",
    "AGENT_TOOLS_MAX": "its tools",
    "SELF_MODEL_BYTES_MAX": "its self-model",
    "AGENTS_LIST_MAX": "agents of one answer",
    "HEARTBEAT_SECONDS_MIN": "shortest time between heartbeats",
    "HEARTBEAT_SECONDS_MAX": "longest time between heartbeats",
    "SNAPSHOTS_MAX": "snapshots of an agent",
    "SNAPSHOTS_PAGE_MAX": "snapshots of one answer",
    "INTROSPECT_SAMPLE_MAX": "memories in which topics and entities are counted",
    "INTROSPECT_EVENTS_MAX": "events of one report",
    "INTROSPECT_DAYS_MAX": "days of a report",
    "INTROSPECT_LIST_MAX": "entries of each of its lists",
    "KNOWLEDGE_FACTS_MAX": "facts of one `what_do_i_know`, by subject and by object each",
    "CAUGHT_UP_SECONDS": "longest wait for the archive, before a report counts in Redis",
    "GAPS_MAX": "gaps of an agent",
    "GAPS_TTL_SECONDS": "how long they are kept after the last one",
    "LABEL_BYTES_MAX": "a snapshot's label",
}
AGENT_LIMITS = {
    "EPISODE_DATA_BYTES_MAX": "an event's data that stays with it",
    "EPISODE_PAYLOAD_BYTES_MAX": "an event's data",
    "EPISODE_DATA_DEPTH_MAX": "levels of an event's data",
    "EPISODE_TEXT_BYTES_MAX": "an event in words",
    "EPISODE_LOG_ENTRIES": "entries of a log in Redis",
    "EPISODE_LIMIT_MAX": "events of one answer",
    "SCRATCH_BYTES_MAX": "a scratchpad",
    "SCRATCH_NAMES_MAX": "names of a scratchpad",
    "SCRATCH_TTL_SECONDS_MIN": "shortest life of a scratchpad after a write",
    "SCRATCH_TTL_SECONDS_MAX": "longest life of a scratchpad after its last write",
    "SCRATCH_POP_MAX": "values taken at once",
    "ANSWERS_TTL_SECONDS": "how long a request id of a scratchpad's write is known",
    "TOOL_INPUT_BYTES_MAX": "a tool's input",
    "TOOL_DISTANCE_MAX": "how far apart two questions with one answer may be, as 1 - cosine",
    "TOOL_RESULT_BYTES_MAX": "a tool's result",
    "TOOL_CACHE_BYTES_MAX": "an agent's results",
    "TOOL_CACHE_ENTRIES_MAX": "an agent's results, in entries",
    "TOOL_TTL_SECONDS_MAX": "longest life of a result",
    "TOOL_FAILURE_TTL_SECONDS_MAX": "longest life of a failure",
    "TOOL_FAILURE_BYTES_MAX": "a failure's words",
    "TOOL_LEASE_SECONDS_MAX": "longest lease of a claim",
    "LEASE_TTL_SECONDS_MIN": "shortest lease of a task",
    "LEASE_TTL_SECONDS_MAX": "longest lease of a task without renewal",
    "CHANNEL_DATA_BYTES_MAX": "a message of a channel",
    "CHANNEL_MESSAGES_MAX": "messages of a channel",
    "CHANNEL_TTL_SECONDS": "a channel after its last message",
    "CHANNEL_PAGE_MAX": "messages of one answer",
}
ERRORS = {
    "bad_request": ("no", "correct the request; `details.field` names the field"),
    "cursor_expired": ("no", "ask the question anew, with an empty `cursor`"),
    "unknown_operation": ("no", "use a verb of this page; a newer verb needs a newer daemon"),
    "too_large": ("no", "send less at once, or ask for fewer hits"),
    "not_found": ("no", "the scope holds no such memory: it never did, it is forgotten, or it is another scope's"),
    "conflict": (
        "after a `get`, or a new plan",
        "read the memory, decide anew, update with `details.current_version`; of `forget_many`: look at the plan again",
    ),
    "forgotten": ("no", "make it again without the memories in `details.ids`, or do not store it"),
    "request_id_reused": ("with a new id", "give each new request an id of its own"),
    "durability_not_reached": (
        "yes, the same id",
        "the write **is** stored, as far as `details.reached` says; repeat the request to wait longer",
    ),
    "not_searchable": (
        "yes, the same id",
        "the write **is** stored, as far as `details.reached` says; repeat the request to wait longer for its vector",
    ),
    "overloaded": ("yes, the same id", "wait `details.retry_after_seconds` first; nothing was taken"),
    "quota_exceeded": ("no", "make room first, or keep it elsewhere; `details.field` names what is full"),
    "lease_held": ("later", "work on something else, or ask again after `details.retry_after_seconds`"),
    "lease_lost": ("no", "stop working on the task, and take its lease anew"),
    "hot_unavailable": ("yes, the same id", "Redis is away or not ready; wait a second, then longer"),
    "hot_unprepared": ("yes, the same id", "Redis came back empty; the daemons make it ready within seconds"),
    "archive_unavailable": ("yes, the same id", "only MongoDB could answer this, and it is away"),
    "embedder_failed": ("yes, the same id", "the embedding model gave nothing"),
    "summarizer_failed": ("where `details.retryable`", "the summariser gave nothing; nothing was changed"),
    "chain_broken": (
        "no",
        "a snapshot was changed or removed behind memoryd's back: `details.number` says which, `details.what` how",
    ),
    "internal": ("once, the same id", "a bug or a misconfigured server: the daemon's log has it"),
}
CLIENT_SIDE = (  # never in a reply
    "no_answer", "events_lost", "schema_mismatch", "config", "servers_unavailable", "tool_failed",
)  # fmt: skip


def main() -> None:
    """Writes every page anew and names those that changed."""
    for page in sorted(DOCS.rglob("*.md")):
        old, new = page.read_text("utf-8"), written(page)
        if new != old:
            page.write_text(new, "utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS)}\n")


def written(page: Path) -> str:
    """The page with its generated parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}{render(part[2])}{part[3]}", page.read_text("utf-8"))


def render(name: str) -> str:
    """One generated part."""
    if "." in name:  # a message of the protocol
        return "".join(_fields(protocol_schema(name.removesuffix("."))))
    return "".join(PARTS[name]())


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    header = list(columns)
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |\n"


# --- configuration, telemetry, limits, errors -----------------------------------------------------------------------
def settings() -> Iterator[str]:
    """Every variable of `memoryd.config`."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if isinstance(field.default, SecretStr) else field.default
        shown = "" if default in (None, "") else f"`{_without_home(default)}`"
        rows.append([f"`MEMORYD_{name.upper()}`", shown, field.description or ""])
    return _table(["variable", "default", "meaning"], rows)


def spans() -> Iterator[str]:
    """The names of spans: a verb's, then the followers'."""
    verbs: dict[str, list[str]] = {}
    for verb, span in telemetry.OPERATIONS.items():
        verbs.setdefault(span, []).append(verb)
    rows = [[f"`{span}`", f"client and daemon: {', '.join(of)}"] for span, of in verbs.items()]
    return _table(["span", "work"], rows + [[f"`{span}`", work] for span, work in SPANS.items()])


def inner_spans() -> Iterator[str]:
    """The names of the parts of verbs."""
    return _table(["span", "what"], ([f"`{span}`", what] for span, what in INNER.items()))


def attributes() -> Iterator[str]:
    """The attributes that are set."""
    return _table(["attribute", "on", "meaning"], ([f"`{name}`", *row] for name, row in ATTRIBUTES.items()))


def metrics() -> Iterator[str]:
    """Every metric of `memoryd_telemetry.names`."""
    rows = (
        [f"`{one.name}`", one.kind, one.unit, one.meaning, f"`{prometheus_name(one)}`"] for one in telemetry.METRICS
    )
    return _table(["metric", "kind", "unit", "meaning", "in Prometheus"], rows)


def checks() -> Iterator[str]:
    """Every check of `memoryd doctor`."""
    rows = ([f"`{name_of(one)}`", inspect.cleandoc(one.__doc__ or "").splitlines()[0]] for one in CHECKS)
    return _table(["check", "looks"], rows)


def protocol_limits() -> Iterator[str]:
    """The limits of `memoryd.limits` that a client can meet, with the reasons that stand there."""
    return _limits(LIMITS)


def session_limits() -> Iterator[str]:
    """The same of sessions."""
    return _limits(SESSION_LIMITS)


def compression_limits() -> Iterator[str]:
    """The same of compression."""
    return _limits(COMPRESSION_LIMITS)


def _limits(which: Mapping[str, str]) -> Iterator[str]:
    reasons = dict(re.findall(r"^(\w+) = (?:\(\n)?.*?# (.*)$", inspect.getsource(limits), re.MULTILINE))
    rows = ([what, _amount(name), reasons.get(name, "")] for name, what in which.items())
    return _table(["of", "limit", "why"], rows)


def _amount(name: str) -> str:
    unit = " s" if "SECONDS" in name else " bytes of UTF-8" if "BYTES" in name else ""
    if name == "REQUEST_ID_BYTES_MAX":  # the envelope's type counts characters
        unit = " characters"
    value = getattr(limits, name)
    return f"{value if value < 1 else int(value):,}{unit}"


def protocol_errors() -> Iterator[str]:
    """Every code that a reply can carry."""
    codes = [code for code in errors.BY_CODE if code not in CLIENT_SIDE]
    rows = ([f"`{code}`", inspect.cleandoc(errors.BY_CODE[code].__doc__ or ""), *ERRORS[code]] for code in codes)
    return _table(["code", "meaning", "again?", "what to do"], rows)


def new_message() -> Iterator[str]:
    """What `working.append` takes."""
    schema = protocol_schema("working.append.args")
    return _fields({**schema["$defs"]["NewMessage"], "$defs": schema["$defs"]})


# --- the protocol's fields ------------------------------------------------------------------------------------------
def _fields(schema: dict[str, Any]) -> Iterator[str]:
    if schema.get("type") == "array":
        schema = {**_resolved(schema["items"], schema), "$defs": schema["$defs"]}
    fields, required = schema.get("properties", {}), schema.get("required", [])
    if not fields:
        return iter(["None.\n"])
    rows = [[f"`{name}`", _type(field, schema), field.get("description", "")] for name, field in fields.items()]
    if list(fields) == required or not any("default" in field for field in fields.values()):  # what the daemon writes
        return _table(["field", "type", "meaning"], rows)
    for row, (name, field) in zip(rows, fields.items(), strict=True):
        row.insert(2, "required" if name in required else f"`{json.dumps(field.get('default'))}`")
    return _table(["field", "type", "default", "meaning"], rows)


def episode() -> Iterator[str]:
    """The fields of an episode, which is part of several answers."""
    schema = protocol_schema("episode.replay.result")
    return _fields({**schema["$defs"]["Episode"], "$defs": schema["$defs"]})


def message() -> Iterator[str]:
    """The fields of a channel's message."""
    schema = protocol_schema("channel.read.result")
    return _fields({**schema["$defs"]["ChannelMessage"], "$defs": schema["$defs"]})


def peer() -> Iterator[str]:
    """The fields of an agent as others see it."""
    schema = protocol_schema("agent.peers.result")
    return _fields({**schema["$defs"]["Peer"], "$defs": schema["$defs"]})


def agent_limits() -> Iterator[str]:
    """The limits of what an agent has besides its memories."""
    return _limits(AGENT_LIMITS)


def fact() -> Iterator[str]:
    """The fields of a fact, which is part of several answers."""
    schema = protocol_schema("fact.find.result")
    return _fields({**schema["$defs"]["Fact"], "$defs": schema["$defs"]})


def agent_state() -> Iterator[str]:
    """The fields of an agent's state, which is part of several answers."""
    return _fields(protocol_schema("agent.get.result"))


def snapshot() -> Iterator[str]:
    """The fields of a snapshot, which is part of several answers."""
    return _fields(protocol_schema("agent.snapshot.result"))


def part_of(verb: str, part: str) -> Callable[[], Iterator[str]]:
    """The fields of a part of a verb's answer."""

    def fields() -> Iterator[str]:
        schema = protocol_schema(f"{verb}.result")
        return _fields({**schema["$defs"][part], "$defs": schema["$defs"]})

    return fields


def knowledge_limits() -> Iterator[str]:
    """The limits of facts and of what an agent says of itself."""
    return _limits(KNOWLEDGE_LIMITS)


def receipt_fields() -> Iterator[str]:
    """The fields of a receipt, which is part of several answers."""
    schema = protocol_schema("receipt.result")
    return _fields({**schema["$defs"]["FullReceipt"], "$defs": schema["$defs"]})


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one, schema) for one in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = _resolved(field, schema)
        return _type(target, schema) if "enum" in target else name
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("format") == "date-time":
        return "time"
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    if "minimum" in field:
        return f"{kind} from {field['minimum']}" + (f" to {field['maximum']}" if "maximum" in field else "")
    return str(kind)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
    return target


def insight() -> Iterator[str]:
    """The saved queries for Redis Insight."""
    rows = ([f"`{one.index}`", one.name, one.about] for one in saved_queries())
    return _table(["index", "query", "returns"], rows)


# --- the command ----------------------------------------------------------------------------------------------------
def cli() -> Iterator[str]:
    """Every command with its arguments and options."""
    for path, command in commands():
        yield f"\n## `{' '.join(path)}`\n\n{inspect.cleandoc(command.help or '')}\n\n"
        parameters = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
        usage = [
            f"[{one.name.upper()}]" if not one.required else one.name.upper()
            for one in parameters
            if not _is_option(one)
        ]
        yield f"```\n{' '.join([*path, *usage])}{' [OPTIONS]' if any(map(_is_option, parameters)) else ''}\n```\n"
        if parameters:
            yield "\n"
            yield from _table(["argument or option", "default", "meaning"], map(_parameter, parameters))


def commands() -> Iterator[tuple[list[str], Any]]:
    """Each command that does something, with the words that call it."""

    def below(path: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        if not hasattr(command, "commands"):
            yield path, command
            return
        for name, one in command.commands.items():
            yield from below(path if name == getattr(command, "default", "") else [*path, name], one)

    for path, command in below(["memoryd"], typer.main.get_command(app)):
        yield path, command
        if path == ["memoryd", "sync"]:  # whose words belong to the package that stands on memoryd
            yield from below(path, typer.main.get_command(sync_app))


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _parameter(one: Any) -> list[str]:
    name = ", ".join(f"`{opt}`" for opt in one.opts) if _is_option(one) else f"`{one.name.upper()}`"
    default = one.show_default if isinstance(one.show_default, str) else one.default
    shown = "required" if one.required else "" if default in (None, "", [], False) else f"`{_without_home(default)}`"
    return [name, shown, (one.help or "") + (f" (`{one.envvar}`)" if one.envvar else "")]


def exit_codes() -> Iterator[str]:
    """Which error ends the command with which code."""
    meanings = re.findall(r"(\d+) ([^,.]+)", str(app.info.epilog).partition(":")[2])
    codes: dict[int, list[str]] = {}
    for code, kind in errors.BY_CODE.items():
        codes.setdefault(exit_code(kind(**_details(kind))), []).append(f"`{code}`")
    return _table(
        ["exit code", "meaning", "errors"], ([n, meaning, ", ".join(codes.get(int(n), []))] for n, meaning in meanings)
    )


def _details(kind: type[errors.MemorydError]) -> dict[str, Any]:
    return {"current_version": 1} if kind is errors.Conflict else {}


def _without_home(value: Any) -> str:
    return str(value).replace(str(Path.home()), "~")


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings, "checks": checks, "spans": spans, "inner_spans": inner_spans, "attributes": attributes,
    "metrics": metrics, "limits": protocol_limits,
    "errors": protocol_errors, "cli": cli, "exit_codes": exit_codes, "session_limits": session_limits,
    "NewMessage": new_message, "receipt_fields": receipt_fields, "Episode": episode, "ChannelMessage": message, "Peer": peer,
    "agent_limits": agent_limits, "Fact": fact, "Doing": part_of("introspect", "Doing"),
    "compression_limits": compression_limits, "DuplicateGroup": part_of("duplicates", "DuplicateGroup"),
    "Duplicate": part_of("duplicates", "Duplicate"),
    "ToolReport": part_of("introspect", "ToolReport"), "Evidence": part_of("what_do_i_know", "Evidence"),
    "AgentState": agent_state, "Snapshot": snapshot,
    "knowledge_limits": knowledge_limits, "insight": insight,
}  # fmt: skip

if __name__ == "__main__":
    main()
