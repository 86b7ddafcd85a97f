"""Whether the daemon and sync stay as small as they were: memory over a long mixed run on a store that does not grow.

    python -m bench.soak [--seconds 600] [--clients 4] [--kept 300] [--embedder hashed] [--json FILE]

Clients in a closed loop store, read, change, recall and forget, each with at most `--kept` memories that live: what is there stays
the same, and what grows is a leak. Every so often it is noted what the processes hold in memory (RSS). The first third warms up:
pools, caches and allocators grow to what the load asks for. Growth is the middle of the last third over the middle of the second.
Redis's own memory is told beside it, as are the operations, and how the rate of the last third stands to that of the second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench import harness, load
from bench.harness import Running, promise, running, spread
from memoryd import MemoryClient, connect

GROWTH_MAX = 1.05  # of the resident memory, from the second third to the last
LOOKS = 60
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
STEPS = {"store": 30, "get": 25, "recall": 15, "update": 10}


async def mixed(url: str, seconds: float, clients: int, kept: int, seed: int) -> list[tuple[float, str]]:
    """The load, in the generator: what was done, and how many seconds after the beginning."""
    began, done = time.monotonic(), list[tuple[float, str]]()

    async def client(number: int) -> None:
        chance, alive, count = random.Random(f"{seed} {number}"), list[str](), 0
        async with connect(url, tenant="bench", project="soak", agent=f"agent{number}") as memory:
            while time.monotonic() - began < seconds:
                [step] = chance.choices(list(STEPS), list(STEPS.values()))
                step = "forget" if len(alive) >= kept else step if alive else "store"
                count += 1
                await _step(memory, step, chance, alive, f"{number}-{count}")
                done.append((time.monotonic() - began, step))

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(client(number))
    return done


async def _step(memory: MemoryClient, step: str, chance: random.Random, alive: list[str], name: str) -> None:
    text = f"Agent {name} saw bird {name} on its way to place {chance.randrange(31)}."
    match step:
        case "store":
            alive.append((await memory.store(text, type="episodic")).id)
        case "get":
            await memory.get(chance.choice(alive))
        case "recall":
            await memory.recall(f"Who saw a bird at place {chance.randrange(31)}?", limit=5)
        case "update":
            await memory.update(chance.choice(alive), content=text)
        case "forget":
            await memory.forget(alive.pop(chance.randrange(len(alive))))


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    seconds = arguments.seconds
    async with running(embedder=arguments.embedder) as parts, load.generator() as generate:
        await parts.followed()
        asked = (parts.url, seconds, arguments.clients, arguments.kept, arguments.seed)
        working: asyncio.Future[Any] = asyncio.ensure_future(generate(mixed, *asked))
        looks = await _watched(parts, working, seconds)
        done = await working
        versions = await parts.versions()
    thirds = {name: [_middle(looks, name, third, seconds) for third in (1, 2)] for name in looks[0][1]}
    rates = [sum(seconds * third / 3 <= at < seconds * (third + 1) / 3 for at, _ in done) * 3 / seconds for third in (1, 2)]
    return {
        "servers": versions, "operations": dict(Counter(step for _, step in done)),
        "megabytes": {name: {"second_third": second, "last_third": last} for name, (second, last) in thirds.items()},
        "per_second": {"second_third": round(rates[0], 1), "last_third": round(rates[1], 1)},
        "promises": [
            promise(f"{name}: resident memory after a soak, of that in its middle", _growth(*thirds[name]), most=GROWTH_MAX)
            for name in ("daemon", "sync")
        ],
    }  # fmt: skip


async def _watched(parts: Running, working: asyncio.Future[Any], seconds: float) -> list[tuple[float, dict[str, float]]]:
    """What everything holds, in megabytes, look by look, until the work ends."""
    began, looks = time.monotonic(), list[tuple[float, dict[str, float]]]()
    while not working.done():
        await asyncio.wait([working], timeout=seconds / LOOKS)
        redis: Any = await parts.redis.info("memory")
        held = {"daemon": resident_mb(parts.daemon), "sync": resident_mb(parts.sync), "Redis": redis["used_memory"] / 2**20}
        looks.append((time.monotonic() - began, held))
    return looks


def resident_mb(process: Any) -> float:
    """What a process holds in memory."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE_MB


def _middle(looks: list[tuple[float, dict[str, float]]], name: str, third: int, seconds: float) -> float:
    inside = [held[name] for at, held in looks if seconds * third / 3 <= at < seconds * (third + 1) / 3]
    return round(statistics.median(inside or [looks[-1][1][name]]), 1)


def _growth(second: float, last: float) -> dict[str, float]:
    return spread([last / second])


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kept", type=int, default=300, help="memories of a client that live")
    parser.add_argument("--embedder", default="hashed", help="hashed (takes no time), auto or none")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
