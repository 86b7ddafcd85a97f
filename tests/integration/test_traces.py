"""Spans are kept in both stores without any other tool, are drawn in the terminal, and never hold up a memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

import memoryd_telemetry.kept
from memoryd.config import Kept, Settings
from memoryd.errors import NotFound
from memoryd.hot.client import open_redis
from memoryd.keys import TRACES
from memoryd.traces.find import Traces, by_trace
from memoryd.traces.keep import Giving
from memoryd_telemetry.kept import KeptSpans
from memoryd_telemetry.tracing import keep_spans, operation
from tests.integration.commands import Commands, run
from tests.waiting import eventually, settles
from tests.world import World

CANARY = "zzkumquat5e"


@pytest.fixture
def kept(spans: list[ReadableSpan]) -> KeptSpans:
    """The spans of this process are kept: a process can set its provider once, and the tests have."""
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    return keep_spans(provider, "memoryd-test")


@pytest.fixture
async def traced(settings: Settings, kept: KeptSpans) -> AsyncIterator[World]:
    """A memoryd that keeps spans in both stores."""
    async with World(settings.model_copy(update={"traces": Kept.MONGO})) as world:
        await world.start("daemon", "sync")
        yield world


async def documents(world: World) -> list[dict[str, Any]]:
    """What MongoDB has of spans."""
    return [one async for one in world.archive.database["traces"].find({})]


async def test_a_memorys_history_is_told_from_either_store_with_what_each_write_has_caused(traced: World) -> None:
    """Its store, its vector, its archiving, its recall, its end; nothing of what it says. The stream's end is not theirs."""
    async with traced.connect() as memory:
        id = (await memory.store(f"Ada prefers {CANARY}.", type="fact")).id
        await traced.drained(memory)
        assert (await memory.recall(f"What about {CANARY}?")).hits
        with pytest.raises(NotFound):
            await memory.get("mem_" + "0" * 32)
        await memory.forget(id)
        await traced.drained(memory)

    async def archived() -> bool:
        return {"delete_memory", "search_memory", "memoryd.archive"} <= {one["name"] for one in await documents(traced)}

    await eventually(archived, what="spans are in MongoDB")

    async def told_from(keep: str) -> None:
        traces = Traces(traced.redis, traced.archive)
        history = by_trace(await traces.of_memory(id, 20)).values()
        told = [({one.name for one in own if not one.parent_id}, {one.name for one in linked}) for own, linked in history]
        [first, second, last] = told
        assert first == ({"upsert_memory"}, {"memoryd.embed", "memoryd.archive"}), keep
        assert second == ({"search_memory"}, set()), keep
        assert last[0] == {"delete_memory"}, keep
        [failed] = await traces.failed(5)
        assert (failed.name, failed.error) == ("memoryd.get", "not_found")
        slow = await traces.slowest(3)
        assert [one.milliseconds for one in slow] == sorted((one.milliseconds for one in slow), reverse=True)
        whole = await traces.trace(failed.trace_id)
        assert failed in whole
        assert {one.name for one in whole} == {"memoryd.get"}

    await settles(partial(told_from, "both"))
    await traced.redis.delete(TRACES)
    await settles(partial(told_from, "mongo"))
    assert CANARY not in str(await documents(traced))


async def test_the_command_draws_the_tree_and_says_when_nothing_is_kept(traced: World) -> None:
    """By the memory's id and by the trace's; a list names the traces."""
    async with traced.connect() as memory:
        id = (await memory.store("Ada sails.", type="fact")).id
        await traced.drained(memory)

    async def there() -> bool:
        traces = Traces(traced.redis, None)
        return {"memoryd.embed", "memoryd.archive"} <= {one.name for one in await traces.of_memory(id, 5)}

    await eventually(there, what="the spans are kept")
    memoryd = Commands(traced.settings)
    memoryd.environment["MEMORYD_TRACES"] = "redis"
    shown = (await memoryd("trace", "--memory", id)).out
    assert "upsert_memory  (memoryd-test, began at 0.0 ms" in shown
    assert f"store stored {id}" in shown
    assert "⇢ memoryd.archive" in shown
    listed = (await memoryd("trace", "--slow", "--json")).json
    assert any(one["trace_id"] in shown for one in listed)
    said = await run(("trace", "--errors"), {**memoryd.environment, "MEMORYD_TRACES": "none"})
    assert (said.code, "MEMORYD_TRACES" in said.err) == (1, True)


async def test_spans_are_lost_before_anything_waits_for_them(
    settings: Settings, kept: KeptSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many at once, and a Redis that takes none: the newest are dropped, the oldest of the stream go first."""
    monkeypatch.setattr(memoryd_telemetry.kept, "QUEUE_MAX", 10)
    for _ in range(50):
        with operation("get"):
            pass
    assert len(kept.take(100)) == 10
    async with open_redis("redis://127.0.0.1:1") as nobody:
        with operation("get"):
            pass
        giving = Giving(nobody, kept)
        await giving.run(stopped())
        await giving.now()
    assert len(kept.take(100)) == 1, "it waits for a Redis that takes it, as far as there is room"
    monkeypatch.setattr("memoryd.traces.keep.TRACES_KEPT_MAX", 5)
    async with open_redis(settings.redis_url) as redis:
        for _ in range(300):
            with operation("get"):
                pass
            await Giving(redis, kept).run(stopped())
        assert await redis.xlen(TRACES) <= 105  # Redis cuts whole nodes


def stopped() -> Any:
    """It is time to stop: what waits is given away once more."""
    import asyncio

    stop = asyncio.Event()
    stop.set()
    return stop
