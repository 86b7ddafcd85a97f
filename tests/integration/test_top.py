"""`memoryd top` shows what is done, from Redis alone, and says what is not kept."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

import memoryd.top.overheard
from memoryd import MemoryClient
from memoryd.cli.output import shown
from memoryd.errors import NotFound
from memoryd.hot.client import open_blocking_redis
from memoryd.keys import DEAD_LETTERS, REQUESTS
from memoryd.metrics.periods import Measured
from memoryd.metrics.series import SeriesSink
from memoryd.top.draw import draw
from memoryd.top.frame import Frame
from memoryd.top.look import Top
from memoryd.top.overheard import overhear
from tests.integration.commands import COMMAND, Commands, Said
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

CANARY = "zzcornel4c"
ODD = "[red]"


@asynccontextmanager
async def at_work(world: World) -> AsyncIterator[None]:
    """Two agents store and read for the block, one of them more than the other."""

    async def work(memory: MemoryClient) -> None:
        for number in range(10_000):
            kept = await memory.store(f"{CANARY} {number}", type="fact")
            await memory.get(kept.id)

    async with world.connect(agent=ODD) as odd, world.connect(agent="scout") as scout, asyncio.TaskGroup() as tasks:
        working = [tasks.create_task(work(one)) for one in (scout, scout, scout, odd)]
        yield
        for one in working:
            one.cancel()


@asynccontextmanager
async def watching(world: World) -> AsyncIterator[Top]:
    """A look at it."""
    async with open_blocking_redis(world.settings.redis_url) as blocking:
        yield Top(world.redis, blocking, world.keys)


def text_of(frame: Frame, *, terminal: bool = False) -> str:
    """As it is printed."""
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=terminal, highlight=False).print(draw(frame, shown))
    return out.getvalue()


async def test_one_frame_shows_what_is_done_beside_a_daemon_that_keeps_nothing(world: World) -> None:
    """For a pipe and for people; whose it is, and never what it says."""
    memoryd = Commands(world.settings)
    async with at_work(world):

        async def seen() -> tuple[Said, Said] | None:
            json, text = await asyncio.gather(memoryd("top", "--json", "--interval", "2"), memoryd("top", "--once"))
            frame = json.json
            told = frame["requests_per_second"] > frame["changes_per_second"] / 3 > 0 and frame["overheard"]["requests"]
            return (json, text) if told else None

        json, text = await eventually(seen, what="it is at work while it is looked at")
        ever = (await world.redis.xinfo_stream(REQUESTS))["entries-added"]
    frame = json.json
    assert frame["tiers"]["short"] > 0
    assert frame["daemons"] == 1
    assert frame["operations"] is None
    assert "MEMORYD_METRICS=redis" in frame["not_kept"][0]
    assert {one["follower"] for one in frame["followers"]} == {"embed", "archive"}
    assert len(frame["followers"]) == 2 * world.settings.buckets
    assert frame["following"]["holder"]
    assert frame["memory"]["used_bytes"] > 1_000_000
    heard = frame["overheard"]
    assert heard["requests"] <= ever
    assert {one["name"] for one in heard["verbs"]} == {"store", "get"}
    assert [one["name"] for one in heard["agents"]] == ["acme/support/scout", f"acme/support/{ODD}"]
    for said in (json, text):
        assert CANARY not in said.out
        assert "\x1b" not in said.out
    assert f"acme/support/{ODD}" in text.out
    assert "not kept: rates and latencies by operation: set MEMORYD_METRICS=redis" in text.out
    assert "embed" in text.out


async def test_it_goes_on_in_a_terminal_until_it_is_interrupted(world: World) -> None:
    """Frame after frame on a screen of its own, which it gives back."""
    ours, its = os.openpty()
    memoryd = Commands(world.settings)
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "top", "--interval", "0.5", env=memoryd.environment | {"TERM": "xterm-256color"},
        stdin=its, stdout=its, stderr=its,
    )  # fmt: skip
    os.close(its)
    os.set_blocking(ours, False)
    seen = b""

    def frames() -> int:
        nonlocal seen
        with contextlib.suppress(BlockingIOError, OSError):  # nothing yet; or it has left
            seen += os.read(ours, 65_536)
        return seen.count(b"busiest agents")

    try:
        await eventually(lambda: frames() >= 2, what="two frames are shown")
        child.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(child.wait(), PATIENCE_SECONDS) == 0
        frames()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        os.close(ours)
    assert b"\x1b[?1049h" in seen
    assert b"\x1b[?1049l" in seen
    assert b"Traceback" not in seen


async def test_kept_metrics_are_shown_by_operation(world: World, memory: MemoryClient) -> None:
    """Rates and latencies of the last minute: typical and worst of its periods, with what has failed."""
    sink = SeriesSink(world.redis, world.keys, "memoryd")
    ok = {"count": 50, "sum": 1, "p50": 0.002, "p95": 0.004, "p99": 0.008}
    bad = {"count": 10, "sum": 1, "p50": 0.008, "p95": 0.016, "p99": 0.032}
    took = "memoryd.operation.duration"
    await sink.write([
        Measured(took, {"verb": "recall", "outcome": "ok"}, ok),
        Measured(took, {"verb": "recall", "outcome": "timeout"}, bad),
        Measured(took, {"verb": "get", "outcome": "ok"}, {**ok, "count": 600}),
    ])
    async with watching(world) as top:
        frame = await top.frame(0.2)
        assert frame.operations is not None
        get, recall = frame.operations
        assert (get.verb, get.per_second, get.failed_per_second) == ("get", 10, 0)
        assert recall.per_second == 1
        assert recall.failed_per_second == pytest.approx(1 / 6, abs=0.001)
        assert (recall.p50_ms, recall.p95_ms, recall.p99_ms) == (3, 16, 32)
        assert frame.not_kept == []
        text = text_of(frame)
        assert "recall" in text
        assert "32.0" in text


async def test_what_is_behind_is_shown_by_follower_and_bucket(world: World, memory: MemoryClient) -> None:
    """While sync is away, its entries wait; a dead letter waits for a person."""
    await world.stop("sync")
    for number in range(40):
        await memory.store(f"{CANARY} {number}", type="fact")

    async def embedded() -> bool:
        stats = await memory.stats()
        return stats.pending == 0 and stats.embed_backlog == 0

    await eventually(embedded, what="only the archive has still to come")
    await world.redis.xadd(DEAD_LETTERS, {"group": "embed", "id": "mem_" + "0" * 32, "reason": "test"})
    async with watching(world) as top:
        frame = await top.frame(0.2)
    waiting = {one.bucket: one.entries for one in frame.followers if one.follower == "archive"}
    assert sum(waiting.values()) == 80  # stored and embedded, of each
    assert max(one.seconds for one in frame.followers) > 0
    assert frame.dead_letters == 1
    text = text_of(frame)
    [line] = [line for line in text.splitlines() if " archive " in f" {line} " and "80" in line]
    assert any(level in line for level in "▁▂▃")
    assert "\x1b[" not in text
    assert "\x1b[" in text_of(frame, terminal=True)  # red, where there are colours


async def test_the_sample_is_bounded_and_rubbish_is_heard_and_ignored(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much comes, it looks at so many requests and then waits for its time to pass."""
    monkeypatch.setattr(memoryd.top.overheard, "TOP_SAMPLE_MAX", 5)
    monkeypatch.setattr(memoryd.top.overheard, "TOP_READ_MAX", 1)
    async with open_blocking_redis(world.settings.redis_url) as blocking:
        listening, began = asyncio.create_task(overhear(blocking, 6)), time.monotonic()
        await world.redis.xadd("aether:requests", {"envelope": b"rubbish"})
        while not listening.done():
            with contextlib.suppress(NotFound):
                await memory.get("mem_" + "0" * 32)
        heard = await listening
    assert heard.requests == 5
    assert [one.name for one in heard.verbs] == ["get"]
    assert time.monotonic() - began >= 5.9
