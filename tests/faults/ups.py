"""`python -m tests.faults.ups --kills 20 --seed 1`: the process group of `memoryd up` is killed, again and again.

It dies at any moment, also while it starts, with agents writing; then it is started on the same data. In the end every
write that was acknowledged with `fsync` is there, in both stores. A seed replays when it dies and what is written; what
happens between is real time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from memoryd import MemoryClient, connect
from memoryd.config import load_settings
from memoryd.errors import HotUnavailable, MemorydError, NoAnswer, NotFound
from tests.faults.measure import machine, say, tell
from tests.ups import alive, up
from tests.waiting import eventually

CLIENTS = 4
STARTING_SHARE = 0.25  # of the kills meet it while it starts
STARTING_SECONDS = (0.2, 2.5)
WORKING_SECONDS = (0.1, 1.5)
DRAIN_SECONDS = 180.0


@dataclass
class Ups:
    """What was done, and what was wrong in the end."""

    kills: int = 0
    while_starting: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


async def kill_again_and_again(data: Path, cache: Path, kills: int, seed: int) -> Ups:
    """Kills it so often, starts it once more, and looks for everything that was acknowledged."""
    chance, outcome = random.Random(f"{seed}:ups"), Ups()
    for _ in range(kills):
        if chance.random() < STARTING_SHARE:
            await _killed_while_starting(data, cache, chance.uniform(*STARTING_SECONDS))
            outcome.while_starting += 1
        else:
            await _killed_at_work(data, cache, chance.uniform(*WORKING_SECONDS), outcome)
        outcome.kills += 1
    async with up(cache, data) as running, connect(running.redis, tenant="acme") as memory:
        await _look(memory, outcome)
        if code := await running.ends(signal.SIGTERM):
            outcome.wrong.append(f"it ended with {code}")
    return outcome


async def _killed_while_starting(data: Path, cache: Path, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), up(cache, data):  # which kills all that it has started, when it is left
            await asyncio.sleep(seconds)


async def _killed_at_work(data: Path, cache: Path, seconds: float, outcome: Ups) -> None:
    async with up(cache, data) as running, connect(running.redis, tenant="acme") as memory:
        writing = [asyncio.create_task(_write(memory, f"{outcome.kills}-{number}", outcome)) for number in range(CLIENTS)]
        await asyncio.sleep(seconds)
        os.killpg(running.process.pid, signal.SIGKILL)
        for one in writing:
            one.cancel()
        await asyncio.wait(writing)
        await eventually(lambda: not any(map(alive, running.pids)), what="its parts have ended too")


async def _write(memory: MemoryClient, name: str, outcome: Ups) -> None:
    count = 0
    with contextlib.suppress(HotUnavailable, NoAnswer):
        while True:
            count += 1
            content = f"Write {count} of {name}."
            kept = await memory.store(content, type="episodic", durability="fsync")
            outcome.acknowledged[kept.id] = content


async def _look(memory: MemoryClient, outcome: Ups) -> None:
    for memory_id, content in outcome.acknowledged.items():
        try:
            if (await memory.get(memory_id)).content != content:
                outcome.wrong.append(f"{memory_id} says something else")
        except NotFound:
            outcome.wrong.append(f"{memory_id} is lost")

    async def archived() -> bool:
        try:
            stats = await memory.stats()
        except MemorydError:
            return False
        return not stats.archive_backlog and stats.archive.memories == stats.memories

    await eventually(archived, within_seconds=DRAIN_SECONDS, what="both stores have the same number of memories")
    stats = await memory.stats()
    if stats.dead_letters:
        outcome.wrong.append(f"{stats.dead_letters} dead letters")
    if stats.memories < len(outcome.acknowledged):
        outcome.wrong.append(f"{len(outcome.acknowledged)} were acknowledged, {stats.memories} are there")


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.ups", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, help="when it dies (default: a random one)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"seed {seed}; {machine()}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="memoryd-ups-") as folder:
        outcome = asyncio.run(kill_again_and_again(Path(folder) / "data", load_settings().cache_dir, options.kills, seed))
    say(f"killed {outcome.kills} times, {outcome.while_starting} of them while it started, in {time.monotonic() - started:.0f} s")
    say(f"{len(outcome.acknowledged)} writes acknowledged with fsync")
    sys.exit(tell(outcome.wrong))


if __name__ == "__main__":
    main()
