"""Every operation explains itself, and nothing that it says holds a word of what was remembered."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

import memoryd.embed.follower
from memoryd import MemoryClient
from memoryd.config import Kept, Settings
from memoryd.errors import Conflict, MemorydError, NotFound
from memoryd.hot.documents import Documents
from memoryd.hot.records import Records
from memoryd.keys import REQUESTS, TRACES
from memoryd.model.memory import MemoryType
from memoryd_sync.reconcile import Place, rejournal
from memoryd_telemetry.names import FOLLOW, store_id
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import keep_spans
from tests.integration.tools import SCOPE, caught_up
from tests.waiting import eventually, settles
from tests.world import World

VERBS = {
    "store": "upsert_memory", "store_many": "upsert_memory", "get": "memoryd.get", "recall": "search_memory",
    "update": "update_memory", "forget": "delete_memory", "stats": "memoryd.stats", "forget_many": "delete_memory",
    "rewrite_aof": "memoryd.rewrite_aof",
    "receipt": "memoryd.receipt", "receipts": "memoryd.receipts", "verify_receipt": "memoryd.verify_receipt",
}  # fmt: skip


def of(spans: list[ReadableSpan], name: str, kind: SpanKind) -> list[ReadableSpan]:
    """The spans of one name and kind, in the order in which they ended."""
    return [one for one in spans if one.name == name and one.kind is kind]


def verb_of(spans: list[ReadableSpan], verb: str, kind: SpanKind) -> ReadableSpan:
    """The one span of a verb."""
    [span] = [one for one in of(spans, VERBS[verb], kind) if (one.attributes or {})["memoryd.verb"] == verb]
    return span


def linked(span: ReadableSpan) -> set[tuple[str, str]]:
    """Trace and span of everything that a span links to."""
    return {(format_trace_id(one.context.trace_id), format_span_id(one.context.span_id)) for one in span.links}


def own(span: ReadableSpan) -> tuple[str, str]:
    """A span's own trace and id."""
    assert span.context is not None
    return format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)


async def every_verb(memory: MemoryClient) -> None:
    """One call of each."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    await memory.store_many([{"content": "Ada sails."}, {"content": "Ada paints."}])
    await memory.get(kept.id)
    await memory.recall("What does Ada drink?", limit=3)
    await memory.update(kept.id, content="Ada prefers coffee.")
    await memory.forget(kept.id)
    receipt = await memory.forget_many(words="sails")
    await memory.rewrite_aof(dry_run=True)
    await memory.receipt(receipt.id)
    await memory.receipts()
    await memory.verify_receipt(receipt.id)
    await memory.stats()


async def test_every_verb_is_a_span_named_by_the_convention(unsynced: World, spans: list[ReadableSpan]) -> None:
    """One in the client, one in the daemon as its child, both of one trace."""
    async with unsynced.connect() as memory:
        await every_verb(memory)

    for verb, name in VERBS.items():
        asked, served = verb_of(spans, verb, SpanKind.CLIENT), verb_of(spans, verb, SpanKind.SERVER)
        assert served.parent is not None
        assert (format_trace_id(served.parent.trace_id), format_span_id(served.parent.span_id)) == own(asked)
        for span in (asked, served):
            assert (span.attributes or {})["gen_ai.operation.name"] == name
        assert (served.attributes or {})["gen_ai.memory.store.id"] == store_id("acme", "support")
    recalled = verb_of(spans, "recall", SpanKind.SERVER).attributes or {}
    assert recalled["gen_ai.retrieval.top_k"] == 3
    assert (verb_of(spans, "store_many", SpanKind.SERVER).attributes or {})["gen_ai.memory.record.count"] == 2


async def test_an_agents_own_trace_goes_on_in_the_daemon(unsynced: World, spans: list[ReadableSpan]) -> None:
    """The traceparent of the request is the parent, also of one that was written by hand in another language."""
    tracer = trace.get_tracer("an agent")
    async with unsynced.connect() as memory:
        with tracer.start_as_current_span("think") as thought:
            await memory.store("Ada prefers tea.", type="fact")
            traceparent = inject()
        agents_trace = thought.get_span_context().trace_id
        assert {one.context.trace_id for one in of(spans, "upsert_memory", SpanKind.SERVER) if one.context} == {
            agents_trace
        }

        envelope = (
            '{"v":1,"id":"by hand","op":"stats","scope":{"tenant":"acme","project":"support"},'
            f'"traceparent":"{traceparent}"}}'
        )
        await unsynced.redis.xadd(REQUESTS, {"envelope": envelope})
        await eventually(lambda: of(spans, "memoryd.stats", SpanKind.SERVER), what="the request by hand is served")
        [served] = of(spans, "memoryd.stats", SpanKind.SERVER)
        assert served.parent is not None
        assert served.parent.span_id == thought.get_span_context().span_id


async def test_what_follows_the_journal_is_a_trace_of_its_own_that_links_to_the_write(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """Embedding and archiving work on many writes at once, and later: they have causes, not a parent."""
    await memory.store("Ada prefers tea.", type="fact")
    await memory.store("Ada sails.", type="fact")
    await caught_up(world, memory)

    writes = {own(one) for one in of(spans, "upsert_memory", SpanKind.SERVER)}
    assert len(writes) == 2
    for name in ("memoryd.embed", "memoryd.archive"):
        batches = of(spans, name, SpanKind.CONSUMER)
        assert set().union(*(linked(one) for one in batches)) == writes, name
        assert all(one.parent is None for one in batches)
        assert not {own(one)[0] for one in batches} & {write[0] for write in writes}


async def test_a_change_by_a_person_is_a_trace_whose_embedding_links_to_it(
    world: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """From a document in mongosh to its new vector, the way can be followed."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await caught_up(world, memory)
    spans.clear()

    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
    await eventually(lambda: of(spans, "memoryd.embed", SpanKind.CONSUMER), what="the edit is embedded")

    def leads_back() -> None:
        adopted = {own(one) for one in of(spans, "memoryd.follow", SpanKind.CONSUMER)}
        [embedded] = of(spans, "memoryd.embed", SpanKind.CONSUMER)
        assert linked(embedded) <= adopted
        assert linked(embedded)

    await settles(leads_back)  # the follower's span may end last


async def test_waiting_is_not_traced(world: World, memory: MemoryClient, spans: list[ReadableSpan]) -> None:
    """A memoryd with nothing to do says nothing."""
    await memory.store("Ada prefers tea.", type="fact")
    await caught_up(world, memory)
    spans.clear()

    polls = world.embedder.calls
    async with await world.memories.watch(max_await_time_ms=400) as changes:
        assert await changes.try_next() is None

    assert world.embedder.calls == polls
    assert [one.name for one in spans] == []


async def test_what_failed_is_a_failed_span_with_the_errors_code(unsynced: World, spans: list[ReadableSpan]) -> None:
    """In the client and in the daemon; the message, which may quote, is in neither."""
    async with unsynced.connect() as memory:
        kept = await memory.store("Ada prefers tea.", type="fact")
        with pytest.raises(NotFound):
            await memory.get("mem_" + "0" * 32)
        with pytest.raises(Conflict):
            await memory.update(kept.id, importance=1, if_version=7)

    for verb, code in (("get", "not_found"), ("update", "conflict")):
        for kind in (SpanKind.CLIENT, SpanKind.SERVER):
            span = verb_of(spans, verb, kind)
            assert not span.status.is_ok
            assert span.status.description is None
            assert (span.attributes or {})["error.type"] == code
            assert not span.events


# --- no text, anywhere --------------------------------------------------------------------------------------------------
INSIDE = {
    "memoryd.write", "memoryd.search.words", "memoryd.search.meaning", "memoryd.search.archive", "memoryd.fuse", "memoryd.fetch",
    "memoryd.embed.query", "memoryd.wait", "memoryd.archive", "memoryd.embed", "memoryd.follow", "redis PIPELINE", "redis EVALSHA",
    "mongodb find", "mongodb update", "mongodb aggregate",
}  # fmt: skip
CANARY = "kumquat"
SECRET = f"Ada's locker code is {CANARY}-4711."


async def test_no_word_of_a_memory_is_in_a_span_or_a_log_line(
    traced_stores: list[ReadableSpan],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Content, queries, metadata, tags, names, tool outputs and errors, through everything that can go wrong on the way: in no
    span of a verb, of a part inside of one, of a command to a store or of a follower, nor in what memoryd keeps of them."""
    monkeypatch.setattr(memoryd.embed.follower, "FIRST_PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.DEBUG, logger="memoryd")
    caplog.set_level(logging.DEBUG, logger="redis")
    spans, provider = traced_stores, trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    keep_spans(provider, "memoryd-test")
    async with World(settings.model_copy(update={"traces": Kept.REDIS})) as world:
        await world.start("daemon", "sync")
        async with world.connect(agent=f"agent-{CANARY}") as memory:
            kept = await _everything_that_works(world, memory)
            await _everything_beside(memory)
            await _everything_that_fails(world, memory, kept)
            redis: Any = world.redis
            await eventually(lambda: {one.name for one in spans} > INSIDE, what="all kinds of spans have ended")

            async def kept_spans() -> list[Any] | None:
                found = await redis.xrange(TRACES)
                return list(found) if len(found) > 100 else None

            in_redis = await eventually(kept_spans, what="spans are kept")

    names = {one.name for one in spans}
    assert names > INSIDE, f"too few kinds of spans to prove anything: {INSIDE - names}"
    assert len([one for one in spans if not one.status.is_ok and "db.system.name" in (one.attributes or {})]) > 3
    assert len(in_redis) > 100
    assert len(caplog.records) > 10, "too few log lines to prove anything"
    assert CANARY not in repr(in_redis).lower()
    for span in spans:
        assert CANARY not in span.to_json().lower(), span.name
    for record in caplog.records:
        assert CANARY not in repr(vars(record)).lower(), record.name
        assert not record.exc_info, "a traceback would quote what it met"


async def _everything_that_works(world: World, memory: MemoryClient) -> str:
    details: dict[str, Any] = {
        "metadata": {CANARY: [CANARY]},
        "tags": [CANARY],
        "session": CANARY,
        "source_tool": CANARY,
    }
    kept = await memory.store(SECRET, type="fact", **details)
    await memory.store_many([{"content": f"{SECRET} {count}", **details} for count in range(3)])
    await memory.recall(f"Where is the {CANARY}?", tags=[CANARY], session=CANARY, deep=True)
    await memory.update(kept.id, content=f"{SECRET} It was changed.", durability="archived")
    await caught_up(world, memory)
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": f"{SECRET} It was edited."}})

    async def edited() -> bool:
        return (await memory.get(kept.id)).version == 3

    await eventually(edited, what="the edit is followed")
    return kept.id


async def _everything_beside(memory: MemoryClient) -> None:
    """What is said to memoryd besides memories: tools, logs, facts, sessions, scratchpads, channels."""

    async def tool(given: Any) -> Any:
        return {CANARY: SECRET}

    async def failing(given: Any) -> Any:
        raise RuntimeError(SECRET)

    await memory.tools.cached(CANARY, {CANARY: SECRET}, tool, tags=[CANARY])
    await memory.tools.cached_query(CANARY, SECRET, tool)
    with contextlib.suppress(RuntimeError):
        await memory.tools.cached(f"{CANARY}!", SECRET, failing)
    await memory.episodes.record(CANARY, {CANARY: SECRET}, tool=CANARY, text=SECRET, session=CANARY)
    await memory.episodes.search(SECRET)
    await memory.facts.put(CANARY, CANARY, CANARY, text=SECRET)
    await memory.what_do_i_know(SECRET)
    await memory.seen_query(SECRET)
    await memory.scratch.set(CANARY, SECRET)
    await memory.channels.publish(CANARY, SECRET)
    session = memory.working(CANARY)
    await session.open()
    await session.append({"role": "user", "content": SECRET, "metadata": {CANARY: SECRET}})
    await session.set(CANARY, SECRET)
    await session.context(SECRET)
    with contextlib.suppress(MemorydError):
        await memory.compress(session=CANARY)


async def _everything_that_fails(world: World, memory: MemoryClient, memory_id: str) -> None:
    unknown: dict[str, Any] = {CANARY: 1}
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: memory.store("x", type=CANARY),
        lambda: memory.store(SECRET, **unknown),
        lambda: memory.store(SECRET + "\0"),
        lambda: memory.store(SECRET * 10_000),
        lambda: memory.store(SECRET, valid_from=CANARY),
        lambda: memory.store(SECRET, tags=[CANARY + "\n"]),
        lambda: memory.get(CANARY),
        lambda: memory.update(memory_id, content=SECRET, if_version=99),
        lambda: memory.recall(SECRET * 1_000),
        lambda: memory.store(SECRET, type="fact", request_id=CANARY),
        lambda: memory.store(SECRET + "!", type="fact", request_id=CANARY),
    ]
    for call in refused:
        with contextlib.suppress(MemorydError):
            await call()
    for envelope in (f'{{"{CANARY}": ', f'{{"v":1,"id":"1","op":"{CANARY}","scope":{{"tenant":"a","project":"b"}}}}'):
        await world.redis.xadd(REQUESTS, {"envelope": envelope, "id": CANARY, "reply_to": CANARY})
        await world.redis.publish(REQUESTS, envelope)

    [pad] = await world.redis.keys("aether:scratch:*")  # becomes another thing than a script expects
    await world.redis.set(pad, SECRET, ex=60)
    for broken in (memory.scratch.get(CANARY), memory.scratch.set(CANARY, SECRET), memory.scratch.push(CANARY, SECRET)):
        with contextlib.suppress(MemorydError):
            await broken
    journal = world.keys.journal(world.keys.bucket(memory_id))
    redis: Any = world.redis
    poison = {"id": memory_id, "tenant": CANARY, "project": CANARY, "content": SECRET, "metadata": f'{{"{CANARY}"'}
    await redis.xadd(journal, {"op": CANARY, **poison})
    await redis.xadd(journal, {"op": "updated", "version": CANARY, "memory_type": CANARY, **poison})
    await world.memories.update_one({"_id": memory_id}, {"$set": {"metadata": {CANARY: datetime.now(UTC)}}})
    world.embedder.refused = CANARY
    await memory.store(f"The model refuses a {CANARY}.", type="fact")
    await memory.recall(f"The model refuses the {CANARY}, too?")

    async def buried() -> bool:
        return (await memory.stats()).dead_letters >= 4

    await eventually(buried, what="the poison and the refused text are buried")


async def test_what_is_archived_again_names_what_found_that(
    unsynced: World, memory: MemoryClient, spans: list[ReadableSpan]
) -> None:
    """A memory and a document that the archive lacks are journaled anew by a comparison: that is the cause of what follows."""
    kept = await memory.store("Ada paints lighthouses.", type="fact")
    await memory.agent.set(task="painting")
    documents = Documents(unsynced.redis, unsynced.keys)
    [state] = [place async for some in documents.outlines("agents", []) for place in some]
    spans.clear()

    await rejournal(Records(unsynced.redis, unsynced.keys), [Place(kept.id, SCOPE, MemoryType.FACT)])
    await documents.rejournal(state)

    found = [f"00-{format_trace_id(one.context.trace_id)}" for one in of(spans, FOLLOW, SpanKind.CONSUMER) if one.context]
    journals = [unsynced.keys.journal(bucket) for bucket in unsynced.keys.all_buckets()]
    redis: Any = unsynced.redis
    last = [fields for one in journals for _, fields in await redis.xrevrange(one, count=1)]
    causes = {fields[b"id"].decode(): fields[b"traceparent"].decode()[:35] for fields in last}
    assert [causes[kept.id], causes[state.id]] == found
