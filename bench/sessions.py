"""What working memory costs as a session grows: append, window, checkpoint, rollback, and the way back from the archive.

    python -m bench.sessions [--short 20] [--long 2000] [--rounds 300] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync. Short and long sessions take turns, round by round, so that a noisy
machine slows both: what counts is their ratio. The promise is an append to the long one at no more than 1.5 times.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench import harness
from bench.harness import running
from memoryd import MemoryClient, connect
from memoryd.config import load_settings
from memoryd.hot.changes import Request
from memoryd.hot.client import open_redis
from memoryd.hot.documents import Documents
from memoryd.hot.sessions import Sessions
from memoryd.keys import Keys
from memoryd.limits import APPEND_MESSAGES_MAX
from memoryd.model.scope import Scope
from memoryd.model.session import session_place
from memoryd.protocol.sessions import WorkingMemory

PROMISED_RATIO = 1.5
TEXT = "We deploy on Thursdays after the tests have passed, and Ada watches the dashboards for an hour. " * 2
WRITERS = 16
_numbers = itertools.count()


def message() -> dict[str, Any]:
    return {"role": "user", "content": f"{next(_numbers)}: {TEXT}", "metadata": {"channel": "bench"}}


async def filled(memory: MemoryClient, name: str, count: int) -> WorkingMemory:
    """A session of so many messages, with some variables."""
    session = memory.working(name)
    for start in range(0, count, APPEND_MESSAGES_MAX):
        await session.append(*(message() for _ in range(min(APPEND_MESSAGES_MAX, count - start))))
    await session.set("plan", {"steps": ["read", "write"], "note": TEXT})
    return session


async def milliseconds(work: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


async def by_turns(
    short: WorkingMemory, long: WorkingMemory, rounds: int, work: Callable[[WorkingMemory], Awaitable[Any]]
) -> dict[str, float]:
    """The medians of both, and their ratio. Each round begins with the other one."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for is_long in (number % 2 == 0, number % 2 == 1):
            session = long if is_long else short
            times[is_long].append(await milliseconds(lambda session=session: work(session)))  # type: ignore[misc]
    medians = {is_long: statistics.median(some) for is_long, some in times.items()}
    return {
        "short_ms": round(medians[False], 3), "long_ms": round(medians[True], 3),
        "ratio": round(medians[True] / medians[False], 3),
    }  # fmt: skip


async def steps(url: str, rounds: int, short: int, long: int) -> dict[str, float]:
    """The same for the atomic step alone, where no protocol hides a difference."""
    async with open_redis(url) as redis:
        sessions = Sessions(Documents(redis, Keys(load_settings().buckets)))
        times: dict[int, list[float]] = {short: [], long: []}
        for count in (short, long):
            place = session_place(Scope("bench", "steps", "bench", f"of {count}"))
            await sessions.open(place, now=1, request=Request(f"open {count}", "f"), archived_version=0)
            for _ in range(count):
                await sessions.append(place, [_text()], now=1, request=_request())
        for number in range(rounds):
            for count in (short, long) if number % 2 else (long, short):
                place = session_place(Scope("bench", "steps", "bench", f"of {count}"))
                request, text = _request(), _text()
                times[count].append(
                    await milliseconds(lambda: sessions.append(place, [text], now=1, request=request))  # noqa: B023
                )
    medians = {count: statistics.median(some) for count, some in times.items()}
    return {
        "short_ms": round(medians[short], 3), "long_ms": round(medians[long], 3),
        "ratio": round(medians[long] / medians[short], 3),
    }  # fmt: skip


def _text() -> bytes:
    return json.dumps({**message(), "at": 1}).encode()


def _request() -> Request:
    return Request(f"step {next(_numbers)}", "f")


async def writers(memory: MemoryClient, each: int) -> float:
    """Appends a second to one session by many writers at once, all of which arrive."""
    session = memory.working("shared")

    async def write() -> None:
        for _ in range(each):
            await session.append(message())

    started = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    rate = WRITERS * each / (time.perf_counter() - started)
    assert (await session.window(1)).total == WRITERS * each, "an acknowledged append is missing"
    return rate


async def rehydrated(url: str, session: WorkingMemory) -> float:
    """How long the first look at an expired session takes, once the archive has it."""
    await session.close(durability="archived")
    async with open_redis(url) as redis:
        async for key in redis.scan_iter(match="aether:memory:working:*:long"):
            await redis.delete(key)
    return await milliseconds(session.rehydrate)


async def sessions(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    rounds = arguments.rounds
    async with connect(url, tenant="bench", project="sessions", agent="bench") as memory:
        short = await filled(memory, "short", arguments.short)
        long = await filled(memory, "long", arguments.long)
        results: dict[str, Any] = {
            "append": await by_turns(short, long, rounds, lambda one: one.append(message())),
            "set_variable": await by_turns(short, long, rounds, lambda one: one.set("at", next(_numbers))),
            "window_of_20": await by_turns(short, long, rounds, lambda one: one.window(20)),
            "checkpoint": await by_turns(short, long, min(rounds, 100), lambda one: one.checkpoint("bench")),
        }
        [taken, *_] = await long.checkpoints()
        results["rollback_long_ms"] = round(await milliseconds(lambda: long.rollback(taken.number)), 1)
        results["rehydrate_long_ms"] = round(await rehydrated(url, long), 1)
        results[f"appends_per_second_of_{WRITERS}_writers"] = round(await writers(memory, arguments.appends))
    return results


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    async with running(embedder=arguments.embedder) as parts:
        alone = await steps(parts.url, arguments.rounds, arguments.short, arguments.long)
        results = {"append_step": alone, **await sessions(parts.url, arguments)}
    ratios = (results["append"]["ratio"], results["append_step"]["ratio"])
    return {**results, "append_within_promise": max(ratios) <= PROMISED_RATIO}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--short", type=int, default=20)
    parser.add_argument("--long", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--appends", type=int, default=100, help=f"of each of {WRITERS} writers to one session")
    parser.add_argument("--embedder", choices=("auto", "none"), default="auto")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
