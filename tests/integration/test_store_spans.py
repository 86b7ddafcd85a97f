"""With MEMORYD_TRACE_STORES each command inside of an operation is a span, which says what it was, not what it carried."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Span, SpanKind
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from memoryd import MemoryClient
from memoryd.keys import TRACES
from memoryd.traces.keep import Giving
from memoryd_telemetry.tracing import keep_spans, operation
from tests.integration.test_inner_spans import span_id
from tests.integration.test_tracing import CANARY, SECRET, verb_of
from tests.integration.tools import caught_up
from tests.waiting import PATIENCE_SECONDS, settles
from tests.world import World


def commands(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    """Those of the spans that are commands."""
    return [one for one in spans if "db.system.name" in (one.attributes or {})]


def inside(spans: list[ReadableSpan], whole: Span) -> list[ReadableSpan]:
    """The spans whose parent is `whole`."""
    return [one for one in spans if one.parent and one.parent.span_id == whole.get_span_context().span_id]


async def test_commands_are_spans_inside_of_what_sent_them_and_nothing_else_is(
    traced_stores: list[ReadableSpan], world: World, memory: MemoryClient
) -> None:
    """By store, command, collection and server. Polls, probes, gauges and each look of a wait are nobody's, and not told."""
    spans = traced_stores
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    await memory.recall("What does Ada prefer?", deep=True)
    await caught_up(world, memory)

    def all_inside() -> None:
        ended = {one.context.span_id for one in spans if one.context}
        assert all(one.parent and one.parent.span_id in ended for one in commands(spans))

    await settles(all_inside)  # the last ones end a moment later
    by_id = {one.context.span_id: one for one in spans if one.context}
    around = {by_id[one.parent.span_id].name for one in commands(spans) if one.parent}
    assert {"memoryd.write", "memoryd.search.words", "memoryd.fetch", "memoryd.archive", "memoryd.embed"} <= around
    assert "memoryd.wait" not in around
    served = verb_of(spans, "store", SpanKind.SERVER)
    [write] = [one for one in spans if one.name == "memoryd.write" and one.parent and one.parent.span_id == span_id(served)]
    assert {one.name for one in spans if one.parent and one.parent.span_id == span_id(write)} & {"redis EVALSHA", "redis PIPELINE"}
    told = [dict(one.attributes or {}) for one in commands(spans)]
    assert {one.name for one in commands(spans)} >= {"redis PIPELINE", "mongodb update", "mongodb aggregate"}
    assert {one["db.collection.name"] for one in told if "db.collection.name" in one} >= {"memories"}
    assert all({"server.address", "server.port"} <= one.keys() for one in told)
    assert all(len(one.name) < 40 for one in commands(spans))

    spans.clear()
    assert (await world.archive.get(kept.id)) is not None
    await world.redis.ping()
    await asyncio.sleep(0.3)  # three polls of each follower
    assert [one.name for one in spans] == []


async def test_nothing_of_what_a_failing_command_carried_is_told(
    traced_stores: list[ReadableSpan], world: World, memory: MemoryClient
) -> None:
    """Arguments in messages, traces and states; documents that were found; and a refused write is no success."""
    spans = traced_stores
    redis: Any = world.redis
    await memory.store(SECRET, type="fact", tags=[CANARY])
    await redis.set("text", SECRET)
    indexes = await redis.execute_command("FT._LIST")
    await caught_up(world, memory)

    async def piped(*, raises: bool) -> None:
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(200):
                pipe.hset("text" if number == 100 else f"hash:{CANARY}", CANARY, SECRET)
            await pipe.execute(raise_on_error=raises)

    async def search(query: str) -> None:
        for index in indexes:
            await redis.execute_command("FT.SEARCH", index, query, "DIALECT", "2")

    document = {"_id": f"mem_{CANARY}", "content": SECRET, CANARY: SECRET}
    trials: dict[str, tuple[str, str | None, Callable[[], Awaitable[Any]]]] = {
        "a pipeline that raises": ("redis PIPELINE", "ResponseError", lambda: piped(raises=True)),
        "a pipeline that answers": ("redis PIPELINE", "ResponseError", lambda: piped(raises=False)),
        "a wrong type": ("redis HSET", "ResponseError", lambda: redis.hset("text", CANARY, SECRET)),
        "a wrong search": ("redis FT.SEARCH", "ResponseError", lambda: search(f"@{CANARY}:(")),
        "a search that finds": ("redis FT.SEARCH", None, lambda: search("*")),
        "a command that there is not": ("redis", "ResponseError", lambda: redis.execute_command(f"{CANARY} {SECRET}!")),
        "a refused write": ("mongodb insert", "WriteError", lambda: world.memories.insert_one(document)),
        "a wrong query": ("mongodb find", "BadValue", lambda: world.memories.find_one({"content": {f"${CANARY}": SECRET}})),
    }
    for what, (name, failure, call) in trials.items():
        spans.clear()
        with operation("other") as whole, contextlib.suppress(RedisError, PyMongoError):
            await call()
        assert [one.name for one in spans if CANARY in one.to_json().lower()] == [], what
        made = [one for one in inside(spans, whole) if one.name == name]
        assert made, what
        for one in made:
            assert (one.attributes or {}).get("error.type") == failure, what
            assert one.status.is_ok == (failure is None), what
            assert not one.events, what
            assert one.status.description is None, what


async def test_that_another_was_faster_is_no_failure(traced_stores: list[ReadableSpan], world: World, memory: MemoryClient) -> None:
    """A write that is conditional on a lower version is refused as a duplicate when it comes again; its code says so."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    spans = traced_stores
    spans.clear()
    with operation("other") as whole, contextlib.suppress(PyMongoError):
        await world.memories.insert_one(await world.archive.get(kept.id) or {})
    [insert] = [one for one in inside(spans, whole) if one.name == "mongodb insert"]
    assert insert.status.is_ok
    assert (insert.attributes or {})["db.response.status_code"] == "11000"


async def test_keeping_spans_makes_none(traced_stores: list[ReadableSpan], redis: Any) -> None:
    """Also where a part of a batch is kept while the whole is still at work: it would go on for ever."""
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    kept = keep_spans(provider, "memoryd-test")
    with operation("other"):
        with operation("get"):
            pass
        await asyncio.wait_for(Giving(redis, kept).now(), PATIENCE_SECONDS)
        assert trace.get_current_span().is_recording()
    assert [one.name for one in traced_stores] == ["memoryd.get", "memoryd.other"]
    assert await redis.xlen(TRACES) == 1


async def test_without_recorded_work_a_command_costs_no_span(traced_stores: list[ReadableSpan], world: World) -> None:
    """What a sampler has not chosen, and what nobody began."""
    redis: Any = world.redis
    with trace.use_span(trace.NonRecordingSpan(trace.INVALID_SPAN_CONTEXT)):
        await redis.ping()
        with pytest.raises(RedisError):
            await redis.execute_command("NOSUCH")
    assert commands(traced_stores) == []
    with operation("other"):
        async with redis.pipeline(transaction=False) as pipe:
            await pipe.execute()
    assert commands(traced_stores) == [], "nothing was sent"
