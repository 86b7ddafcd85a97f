"""`python -m tests.faults.probes --probes 20000 --seed 1`: read your writes, also across a daemon failover.

After each store, `get` must see the memory and `recall` must find it, best of all by its words, in the next breath; every
tenth store waits until it is searchable, and must be best of all by its meaning. Meanwhile the two daemons are killed in turns.
A seed replays what is stored, by whom and when a daemon dies; what happens between is real time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from memoryd import MemoryClient, connect
from memoryd.errors import HotUnavailable, NoAnswer, NotFound, NotSearchable
from memoryd.model.results import Recalled
from tests.faults.failover import SHAPE, failing_over
from tests.faults.lab import Lab
from tests.faults.measure import Times, machine, say, tell

T = TypeVar("T")

CLIENTS = 12
BY_MEANING_EVERY = 10
ALIKE = 0.999  # the cosine of what is equal, up to rounding
TYPES = ("fact", "episodic", "semantic", "procedural")
FILLER = "the agent noticed that a user of the small blue house likes to walk along the river in the morning"


@dataclass
class Outcome:
    """What the probes saw."""

    probes: int = 0
    kills: int = 0
    asked_again: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)
    stores: Times = field(default_factory=lambda: Times("store"))
    waits: Times = field(default_factory=lambda: Times("store until searchable"))
    gets: Times = field(default_factory=lambda: Times("get"))
    recalls: Times = field(default_factory=lambda: Times("recall"))


class Prober:
    """One agent. It stores with one client and reads with another, so that any daemon may answer either."""

    def __init__(self, writer: MemoryClient, reader: MemoryClient, name: str, outcome: Outcome) -> None:
        self._writer = writer
        self._reader = reader
        self._name = name
        self._chance = random.Random(name)
        self._outcome = outcome

    async def probe(self, number: int) -> None:
        """One store, and what is seen of it at once."""
        outcome, by_meaning = self._outcome, number % BY_MEANING_EVERY == 0
        word = f"w{random.Random(f'{self._name} {number}').getrandbits(64):016x}"
        content = " ".join([*self._chance.sample(FILLER.split(), 12), word])
        request, kind = f"{self._name}-{number}", self._chance.choice(TYPES)
        wait = "searchable" if by_meaning else None
        with (outcome.waits if by_meaning else outcome.stores).one():
            kept = await self._answer(lambda: self._writer.store(content, type=kind, wait=wait, request_id=request))
        with outcome.gets.one():
            try:
                if (await self._answer(lambda: self._reader.get(kept.id))).content != content:
                    outcome.misses.append(f"{request}: get sees something else at {kept.id}")
            except NotFound:
                outcome.misses.append(f"{request}: get does not see {kept.id}")
        with outcome.recalls.one():
            # Two hits: vectors that are hashes make some stranger the best by meaning when one asks for a word.
            found = await self._answer(lambda: self._recall(content if by_meaning else word))
        part = "meaning" if by_meaning else "words"
        if not any(hit.memory.id == kept.id and hit.why[part].value > (ALIKE if by_meaning else 0) for hit in found):
            seen = [f"{hit.memory.id} {hit.why}" for hit in found]
            outcome.misses.append(f"{request}: {kept.id} is not found by {part}: {seen} {found.degraded}")
        outcome.probes += 1
        if outcome.probes % 2000 == 0:
            say(f"{outcome.probes} probes, {len(outcome.misses)} misses")

    async def _recall(self, query: str) -> Recalled:
        """What is found once everything was looked at: a busy Redis cuts a search short, and the answer says so."""
        while (found := await self._reader.recall(query, limit=2)).degraded:
            self._outcome.asked_again[found.degraded] += 1
        return found

    async def _answer(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer, asked for again while none comes: what a killed daemon had in hand is on its way to another."""
        while True:
            try:
                return await call()
            except (NoAnswer, HotUnavailable, NotSearchable) as error:
                self._outcome.asked_again[error.code] += 1


async def probe(lab: Lab, count: int, seed: int, *, pause: tuple[float, float] = (2.0, 6.0)) -> Outcome:
    """`count` probes on a laboratory of SHAPE."""
    outcome, numbers = Outcome(), iter(range(count))
    async with AsyncExitStack() as stack:
        probers = []
        for number in range(CLIENTS):
            tenant, agent = f"probes-{seed}", f"agent-{number % 4}"
            clients = [connect(lab.redis_url, tenant=tenant, project="lab", agent=agent) for _ in range(2)]
            writer, reader = [await stack.enter_async_context(one) for one in clients]
            probers.append(Prober(writer, reader, f"{seed}-{number}", outcome))

        async def work(prober: Prober) -> None:
            for number in numbers:
                await prober.probe(number)

        async with failing_over(lab, random.Random(f"{seed} kills"), pause) as killed:
            await asyncio.gather(*map(work, probers))
    outcome.kills = len(killed)
    outcome.misses += lab.trouble
    return outcome


async def _main(options: argparse.Namespace) -> int:
    say(f"seed {options.seed}; {machine()}")
    async with Lab(SHAPE) as lab:
        started = time.monotonic()
        outcome = await probe(lab, options.probes, options.seed)
        seconds = time.monotonic() - started
    say(f"{outcome.probes} probes in {seconds:.0f} s ({outcome.probes / seconds:.0f}/s) across {outcome.kills} daemon kills")
    for times in (outcome.stores, outcome.waits, outcome.gets, outcome.recalls):
        say(times)
    say(f"asked again: {dict(outcome.asked_again) or 'nothing'}")
    return tell(outcome.misses)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.probes", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--probes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    sys.exit(asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    main()
