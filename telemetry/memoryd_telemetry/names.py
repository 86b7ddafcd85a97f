"""What spans, attributes and metrics are called. Every name in telemetry comes from here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

SCOPE: Final = "memoryd"  # the instrumentation scope of all spans and metrics
STORES_KNOWN_MAX: Final = 256  # whose ids are not computed again; few projects are at work at once

# --- spans: the verbs -----------------------------------------------------------------------------------------------
# OpenTelemetry's GenAI convention for memory names a span by its `gen_ai.operation.name`. A store is an upsert, because
# the caller does not choose whether a memory is born or an equal one is reinforced. The convention has no read by id:
# `get` keeps a name of its own, or it would pass for a fast search and improve every search statistic.
OTHER: Final = "other"
OPERATIONS: Final[dict[str, str]] = {
    "store": "upsert_memory",
    "store_many": "upsert_memory",
    "get": "memoryd.get",
    "recall": "search_memory",
    "feedback": "memoryd.feedback",
    "count": "memoryd.count",
    "update": "update_memory",
    "share": "memoryd.share",
    "unshare": "memoryd.unshare",
    "forget": "delete_memory",
    "forget_many": "delete_memory",
    "rewrite_aof": "memoryd.rewrite_aof",
    "receipt": "memoryd.receipt",
    "receipts": "memoryd.receipts",
    "verify_receipt": "memoryd.verify_receipt",
    "summarize": "memoryd.summarize",
    "compress": "memoryd.compress",
    "expand": "memoryd.expand",
    "day": "memoryd.day",
    "stats": "memoryd.stats",
    "seen": "memoryd.seen",
    "seen_query": "memoryd.seen_query",
    "events": "memoryd.events",
    "working.open": "memoryd.working.open",
    "working.close": "memoryd.working.close",
    "working.append": "memoryd.working.append",
    "working.window": "memoryd.working.window",
    "working.get": "memoryd.working.get",
    "working.set": "memoryd.working.set",
    "working.remove": "memoryd.working.remove",
    "working.list": "memoryd.working.list",
    "working.context": "memoryd.working.context",
    "checkpoint.save": "memoryd.checkpoint.save",
    "checkpoint.list": "memoryd.checkpoint.list",
    "checkpoint.get": "memoryd.checkpoint.get",
    "checkpoint.rollback": "memoryd.checkpoint.rollback",
    "fact.put": "upsert_memory",
    "fact.find": "search_memory",
    "fact.end": "update_memory",
    "agent.set": "memoryd.agent.set",
    "agent.get": "memoryd.agent.get",
    "agent.beat": "memoryd.agent.beat",
    "agent.list": "memoryd.agent.list",
    "agent.peers": "memoryd.agent.peers",
    "agent.snapshot": "memoryd.agent.snapshot",
    "agent.history": "memoryd.agent.history",
    "agent.verify": "memoryd.agent.verify",
    "agent.restore": "memoryd.agent.restore",
    "introspect": "memoryd.introspect",
    "what_do_i_know": "search_memory",
    "episode.record": "create_memory",
    "episode.replay": "memoryd.episode.replay",
    "episode.search": "search_memory",
    "episode.data": "memoryd.episode.data",
    "scratch.get": "memoryd.scratch.get",
    "scratch.set": "memoryd.scratch.set",
    "scratch.increment": "memoryd.scratch.increment",
    "scratch.push": "memoryd.scratch.push",
    "scratch.pop": "memoryd.scratch.pop",
    "scratch.delete": "memoryd.scratch.delete",
    "tool.claim": "memoryd.tool.claim",
    "tool.put": "memoryd.tool.put",
    "tool.fail": "memoryd.tool.fail",
    "tool.invalidate": "memoryd.tool.invalidate",
    "tool.counts": "memoryd.tool.counts",
    "lease.take": "memoryd.lease.take",
    "lease.renew": "memoryd.lease.renew",
    "lease.release": "memoryd.lease.release",
    "lease.get": "memoryd.lease.get",
    "channel.publish": "memoryd.channel.publish",
    "channel.read": "memoryd.channel.read",
    OTHER: "memoryd.other",  # a verb that is not in this table: what a client invents never becomes a name
}

# --- spans: the inner parts of a verb -------------------------------------------------------------------------------
SEARCH_WORDS: Final = "memoryd.search.words"
SEARCH_MEANING: Final = "memoryd.search.meaning"
SEARCH_LONG: Final = "memoryd.search.long"
SEARCH_ARCHIVE: Final = "memoryd.search.archive"
EMBED_QUERY: Final = "memoryd.embed.query"
FUSE: Final = "memoryd.fuse"
RERANK: Final = "memoryd.rerank"
FETCH: Final = "memoryd.fetch"
WRITE: Final = "memoryd.write"
ASK_ARCHIVE: Final = "memoryd.ask_archive"
WAIT: Final = "memoryd.wait"

# --- spans: work on journal entries and change events ---------------------------------------------------------------
EMBED: Final = "memoryd.embed"
ARCHIVE: Final = "memoryd.archive"
FOLLOW: Final = "memoryd.follow"
RECONCILE: Final = "memoryd.reconcile"
MOVE: Final = "memoryd.move"
COUNT_USES: Final = "memoryd.count_uses"
SHRINK: Final = "memoryd.shrink"
JOB: Final = "memoryd.job"
RECEIVE: Final = "memoryd.receive"
COMPRESS_GROUP: Final = "memoryd.compress.group"
MERGE: Final = "memoryd.merge"

# --- attributes -----------------------------------------------------------------------------------------------------
OPERATION_NAME: Final = "gen_ai.operation.name"
STORE_ID: Final = "gen_ai.memory.store.id"  # see store_id
RECORD_ID: Final = "gen_ai.memory.record.id"  # a memory's id, once it is known to be one
RECORD_IDS: Final = "memoryd.record.ids"  # the first ones of a verb that gives or takes many
RECORD_COUNT: Final = "gen_ai.memory.record.count"
TOP_K: Final = "gen_ai.retrieval.top_k"
QUERY_TEXT: Final = "gen_ai.memory.query.text"  # see text.py
RECORDS: Final = "gen_ai.memory.records"
TEXTS: Final = frozenset({QUERY_TEXT, RECORDS})  # none of them unless it is asked for
ERROR_TYPE: Final = "error.type"  # a MemorydError's code, or the name of the exception's class

VERB: Final = "memoryd.verb"
OUTCOME: Final = "memoryd.outcome"  # OK or the error.type
EFFECT: Final = "memoryd.effect"  # what a successful verb changed: created, reinforced, updated …
DURABILITY: Final = "memoryd.durability"
FOLLOWER: Final = "memoryd.follower"
STORE: Final = "memoryd.store"  # which of our stores
TIER: Final = "memoryd.tier"
MOVED_FROM: Final = "memoryd.moved.from"
MOVED_TO: Final = "memoryd.moved.to"
REASON: Final = "memoryd.reason"
FILTER: Final = "memoryd.filter"
GAP: Final = "memoryd.gap"
JOB_NAME: Final = "memoryd.job.name"
DIFFERENCE: Final = "memoryd.difference"
BATCH_SIZE: Final = "memoryd.batch_size"
BUCKETS: Final = "memoryd.buckets"  # of the memories that were written
CANDIDATES: Final = "memoryd.candidates"
SEARCHED: Final = "memoryd.searched"
SEARCHED_BY: Final = "memoryd.searched.by"
SCORE_MAX: Final = "memoryd.score.max"
SCORE_MIN: Final = "memoryd.score.min"
TIERS: Final = "memoryd.tiers"
REASONS: Final = "memoryd.reasons"
WAITED_FOR: Final = "memoryd.waited_for"
QUERY_CACHE: Final = "memoryd.query.cache"
LINKS_DROPPED: Final = "memoryd.links_dropped"

DB_SYSTEM: Final = "db.system.name"
DB_COLLECTION: Final = "db.collection.name"
DB_BATCH_SIZE: Final = "db.operation.batch.size"
DB_STATUS: Final = "db.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

OK: Final = "ok"


@lru_cache(STORES_KNOWN_MAX)
def store_id(tenant: str, project: str) -> str:
    """The value of `gen_ai.memory.store.id`: the same for every operation of one tenant and project.

    Scope names may name people, so spans carry no tenant, project, agent or session, only this digest.
    """
    return hashlib.sha256(f"{tenant}\0{project}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def range_of(scores: Iterable[float]) -> dict[str, float]:
    """The attributes of a range of scores; none of no scores."""
    known = sorted(scores)
    return {SCORE_MAX: known[-1], SCORE_MIN: known[0]} if known else {}


# --- metrics --------------------------------------------------------------------------------------------------------
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGES: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
BATCH: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table of metrics: `measure` records it, the documentation prints it."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    meaning: str
    boundaries: tuple[float, ...] = ()


OPERATION_COUNT: Final = Metric("memoryd.operations", "counter", "{operation}", "operations, by verb and outcome")
OPERATION_DURATION: Final = Metric(
    "memoryd.operation.duration", "histogram", "s", "time an operation took in the daemon, by verb and outcome", SECONDS
)
REQUESTS_BACKLOG: Final = Metric(
    "memoryd.requests.backlog", "gauge", "{request}", "requests in the stream that no daemon has taken yet"
)
HOT_MEMORY_SHARE: Final = Metric(
    "memoryd.hot.memory.share", "gauge", "1", "how much of its maxmemory Redis uses; 0 without one"
)
CIRCUIT_OPEN: Final = Metric(
    "memoryd.circuit.open", "gauge", "1", "whether a store is left alone because it was away: 1, or 0.5 while one tries"
)
EMBED_BATCH_SIZE: Final = Metric(
    "memoryd.embed.batch.size", "histogram", "{memory}", "memories embedded by one call of the model", BATCH
)
EMBED_DURATION: Final = Metric("memoryd.embed.duration", "histogram", "s", "time of one call of the model", SECONDS)
EMBED_FAILURES: Final = Metric("memoryd.embed.failures", "counter", "{call}", "calls of the model that gave no vectors")
ARCHIVE_BATCH_SIZE: Final = Metric(
    "memoryd.archive.batch.size", "histogram", "{entry}", "journal entries written to MongoDB together", BATCH
)
ARCHIVE_DURATION: Final = Metric(
    "memoryd.archive.duration",
    "histogram",
    "s",
    "time from reading a batch of the journal to its majority write",
    SECONDS,
)
FOLLOW_EVENTS: Final = Metric(
    "memoryd.follow.events", "counter", "{event}", "change events followed back into Redis, by outcome"
)
JOURNAL_BACKLOG: Final = Metric(
    "memoryd.journal.backlog", "gauge", "{entry}", "journal entries that a follower has still to do, by follower"
)
GAPS: Final = Metric(
    "memoryd.follow.gaps", "counter", "{gap}", "places in the change stream that were lost; both stores are compared whole then"
)
DIFFERENCES: Final = Metric(
    "memoryd.reconcile.differences", "counter", "{memory}", "memories that differed between the stores and were mended, by kind"
)
LEASE_CHANGES: Final = Metric(
    "memoryd.follow.lease.changes", "counter", "{change}", "how often this process became the active follower, or lost that"
)
DEAD_LETTERS: Final = Metric(
    "memoryd.dead_letters", "counter", "{entry}", "journal entries given up after bounded tries, by follower"
)
SPANS_DROPPED: Final = Metric(
    "memoryd.spans.dropped",
    "counter",
    "{span}",
    "spans that were lost: collector, collector_queue (it took none), queue (Redis took none), part (too many of one operation)",
)
METRICS_DROPPED: Final = Metric(
    "memoryd.metrics.dropped", "counter", "{value}",
    "values of metrics that were not kept: series (too many at once), redis or mongo (it took none)",
)  # fmt: skip
TEXTS_WITHHELD: Final = Metric(
    "memoryd.texts.withheld", "counter", "{span}", "spans that got no text although it is switched on: their redactor failed"
)
LOGS_DROPPED: Final = Metric(
    "memoryd.logs.dropped", "counter", "{line}", "log lines that were not kept: queue (too many at once, or too long) or mongo"
)
DEAD_LETTERS_WAITING: Final = Metric(
    "memoryd.dead_letters.waiting", "gauge", "{entry}", "journal entries that were given up and that nobody has looked after yet"
)
FEEDBACK: Final = Metric(
    "memoryd.feedback", "counter", "{verdict}", "verdicts that changed a memory's prior: useful, useless, undone, used"
)
TOOL_CLAIMS: Final = Metric(
    "memoryd.tool.claims", "counter", "{claim}", "claims of a tool's result, by what they found: hit, compute, wait …"
)
TOOL_RESULT_AGE: Final = Metric(
    "memoryd.tool.result.age", "histogram", "s", "age of a tool's result when it was used again", AGES
)
SEEN_LOOKS: Final = Metric(
    "memoryd.seen.looks", "counter", "{look}", "looks for what was seen, by verb and answer: seen or unseen, by filter or exactly"
)
LEASES: Final = Metric("memoryd.leases", "counter", "{lease}", "leases of tasks that were taken, found held, or lost")
CHANNEL_MESSAGES: Final = Metric("memoryd.channel.messages", "counter", "{message}", "messages published in projects' channels")
MOVES: Final = Metric(
    "memoryd.moves", "counter", "{look}", "looks at memories on their way to the archive: gone (their record is removed), waiting …"
)
TIER_MOVES: Final = Metric(
    "memoryd.tier.moves", "counter", "{memory}", "memories that were given another tier, by the tiers and the reason"
)
RETAINED: Final = Metric(
    "memoryd.retention.forgotten", "counter", "{memory}", "memories that were forgotten by policy, by reason; derived: made of one"
)
JOB_RUNS: Final = Metric("memoryd.job.runs", "counter", "{run}", "runs of jobs, by job and how they ended")
JOB_DURATION: Final = Metric("memoryd.job.duration", "histogram", "s", "time of one run of a job", AGES)
READS: Final = Metric("memoryd.reads", "counter", "{memory}", "memories that were read by their ids, by tier")
RECALLS: Final = Metric(
    "memoryd.recalls", "counter", "{recall}", "recalls: found, nothing, or degraded (not all was searched, or not whole)"
)
RECALLED: Final = Metric("memoryd.recalled", "counter", "{memory}", "memories that recalls gave, by tier")
TOKENS: Final = Metric(
    "memoryd.tokens", "counter", "{token}", "about how many tokens (a quarter of the characters) were stored, and recalled, by verb"
)
QUERY_CACHE_LOOKS: Final = Metric(
    "memoryd.query.cache.looks", "counter", "{recall}", "questions that were asked before: hit (nothing has changed since) or miss"
)
EMBED_CACHE_LOOKS: Final = Metric(
    "memoryd.embed.cache.looks", "counter", "{text}", "texts whose vector was looked for before it was computed: hit or miss"
)
EMBED_QUEUE: Final = Metric("memoryd.embed.queue", "gauge", "{text}", "texts that wait for the embedding model in this process")
MEMORIES: Final = Metric("memoryd.memories", "gauge", "{memory}", "memories in Redis, of all scopes, by tier")
MEMORIES_PENDING: Final = Metric("memoryd.memories.pending", "gauge", "{memory}", "memories that have no vector yet")
FILTER_FILL: Final = Metric(
    "memoryd.filter.fill", "gauge", "1", "how full the fullest Bloom filter is, of contents and of questions; at 1 it grows"
)
HOT_BYTES: Final = Metric("memoryd.hot.bytes", "gauge", "By", "memory that Redis uses for its data")
ARCHIVE_DOCUMENTS: Final = Metric(
    "memoryd.archive.documents", "gauge", "{document}", "memories and tombstones in MongoDB"
)
ARCHIVE_BYTES: Final = Metric("memoryd.archive.bytes", "gauge", "By", "what the archive takes of MongoDB's disk, with its indexes")
JOURNAL_LAG: Final = Metric(
    "memoryd.journal.lag", "gauge", "s", "age of the oldest journal entry that a follower has still to do, by follower"
)
PLACE_AGE: Final = Metric(
    "memoryd.follow.place.age", "gauge", "s", "how long ago the place in MongoDB's change stream was saved: moments, while followed"
)
FOLLOWERS: Final = Metric(
    "memoryd.follow.holders", "gauge", "{process}", "whether a sync service holds the lease of the active follower: 1 or 0"
)
OPLOG_WINDOW: Final = Metric(
    "memoryd.oplog.window", "gauge", "s", "how far back MongoDB's oplog reaches; who is away for longer compares everything"
)

METRICS: Final = (
    FEEDBACK, READS, RECALLS, RECALLED, TOKENS, MEMORIES, MEMORIES_PENDING, TIER_MOVES, HOT_BYTES, ARCHIVE_DOCUMENTS,
    ARCHIVE_BYTES, FILTER_FILL, EMBED_QUEUE, EMBED_CACHE_LOOKS, QUERY_CACHE_LOOKS, JOURNAL_LAG, PLACE_AGE, FOLLOWERS, OPLOG_WINDOW,
    DEAD_LETTERS_WAITING, SPANS_DROPPED, METRICS_DROPPED, LOGS_DROPPED, TEXTS_WITHHELD,
    OPERATION_COUNT, OPERATION_DURATION, REQUESTS_BACKLOG, HOT_MEMORY_SHARE, CIRCUIT_OPEN, JOURNAL_BACKLOG, GAPS,
    DIFFERENCES, LEASE_CHANGES, EMBED_BATCH_SIZE, EMBED_DURATION, EMBED_FAILURES, ARCHIVE_BATCH_SIZE, ARCHIVE_DURATION,
    FOLLOW_EVENTS, DEAD_LETTERS, TOOL_CLAIMS, TOOL_RESULT_AGE, SEEN_LOOKS, LEASES, CHANNEL_MESSAGES, MOVES,
    JOB_RUNS, JOB_DURATION, RETAINED,
)  # fmt: skip
