"""`python -m tests.faults.reconnects --reconnects 200 --seed 1`: an agent whose connection is cut again and again.

It listens with `events(after=place)` and saves the place of each event that it has handled. Each time its connection is
cut; sometimes it listens on for a while, then it comes back as a new client with the place that it has saved. Now and then
it dies after an event and before the save, and is told that event again. Writers write meanwhile, and the daemons are
killed in turns. In the end it has handled every event of its scope, each once, and each memory's in their order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memoryd import MemoryClient, connect
from memoryd.errors import HotUnavailable, MemorydError, NoAnswer
from memoryd.model.events import Event
from memoryd.model.scope import Scope
from tests.faults.failover import SHAPE, failing_over
from tests.faults.lab import Lab
from tests.faults.measure import machine, say, tell
from tests.faults.proxy import Link, Proxy
from tests.waiting import eventually

T = TypeVar("T")

WRITERS = 4  # the first one writes for another agent, whose events are not to be heard
PACE_SECONDS = 0.03
END_SECONDS = 120  # so long the last events may be on their way

Change = tuple[str, str, int]
"""A memory's id, what happened to it, and its version then."""


@dataclass
class Agent:
    """What it has handled, and the place that it has saved."""

    place: str
    chance: random.Random
    handled: list[Event] = field(default_factory=list)
    deaths: int = 0

    async def listen(self, url: str, scope: Scope) -> None:
        """One life: until it is cancelled, or dies by chance after an event that it has not saved."""
        async with _client(url, scope) as memory, aclosing(memory.events(after=self.place)) as events:
            async for event in events:
                if self.chance.random() < 0.005:
                    self.deaths += 1
                    return
                self.handled.append(event)
                self.place = event.place


@dataclass
class Outcome:
    """What happened, and what the agent made of it."""

    agent: Agent
    reconnects: int = 0
    killed: int = 0
    changes: list[Change] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def judge(self, kept: set[str]) -> None:
        """Notes what was missed, told twice, out of order or to the wrong one. `kept` is where the events are kept."""
        handled = self.agent.handled
        told = {(event.id, event.op, event.version) for event in handled}
        self.wrong += [f"missed: {change}" for change in self.changes if change not in told]
        self.wrong += [f"missed: {at}" for at in kept - {event.at for event in handled}]
        times = Counter(event.at for event in handled)
        self.wrong += [f"told {count} times: {at}" for at, count in times.items() if count > 1]
        self.wrong += [f"another agent's: {event.id}" for event in handled if event.id in self.foreign]
        versions: dict[str, int] = {}
        for event in handled:
            if event.version < versions.get(event.id, 0):
                self.wrong.append(f"out of order: {event.id} {event.op} {event.version}")
            versions[event.id] = event.version


def _client(url: str, scope: Scope) -> MemoryClient:
    return connect(url, tenant=scope.tenant, project=scope.project, agent=scope.agent)


async def _write(client: MemoryClient, name: str, done: Callable[[Change], None], enough: asyncio.Event) -> None:
    """Stores, changes and forgets, and notes what was acknowledged."""
    chance, number = random.Random(name), 0
    while not enough.is_set():
        number += 1
        kind = chance.choice(("fact", "episodic"))
        kept = await _answer(lambda: client.store(f"{name} saw {number}.", type=kind, request_id=f"{name}-{number}"))  # noqa: B023
        done((kept.id, "stored", kept.version))
        if chance.random() < 0.3:
            kept = await _answer(
                lambda: client.update(kept.id, content=f"{name} saw {number} well.", request_id=f"{name}-{number}-u")  # noqa: B023
            )
            done((kept.id, "updated", kept.version))
        if chance.random() < 0.2:
            receipt = await _answer(lambda: client.forget(kept.id, request_id=f"{name}-{number}-f"))  # noqa: B023
            done((receipt.id, "forgotten", receipt.version))
        await asyncio.sleep(PACE_SECONDS)


async def _answer(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        with suppress(NoAnswer, HotUnavailable):
            return await call()


async def reconnect(lab: Lab, count: int, seed: int, *, pause: tuple[float, float] = (4.0, 10.0)) -> Outcome:
    """`count` lives of one agent on a laboratory of SHAPE."""
    scope, chance, enough = Scope(f"reconnects-{seed}", "lab", "a"), random.Random(seed), asyncio.Event()
    async with AsyncExitStack() as stack:
        proxy = Proxy(lab.redis_server.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        first = await stack.enter_async_context(_client(lab.redis_url, scope))
        outcome = Outcome(Agent(await first.place(), random.Random(f"{seed} agent")))
        works = []
        for number in range(WRITERS):
            other = Scope(scope.tenant, scope.project, "b" if number == 0 else "a")
            client = await stack.enter_async_context(_client(lab.redis_url, other))
            note = outcome.changes.append if number else lambda change: outcome.foreign.add(change[0])
            works.append(_write(client, f"writer {seed} {number}", note, enough))
        async with failing_over(lab, random.Random(f"{seed} kills"), pause) as killed:
            writing = asyncio.gather(*works)
            url = f"redis://127.0.0.1:{proxy.port}"
            for _ in range(count):
                await _life(outcome, url, scope, proxy, chance)
            enough.set()
            await writing
        outcome.killed = len(killed)
        await _to_the_end(lab, outcome, url, scope)
    outcome.judge(await _kept(lab, scope))
    outcome.wrong += lab.trouble
    return outcome


async def _life(outcome: Outcome, url: str, scope: Scope, proxy: Proxy, chance: random.Random) -> None:
    """From one connection to the next: it is cut, and perhaps listens on for a while."""
    life = asyncio.create_task(outcome.agent.listen(url, scope))
    outcome.reconnects += 1
    await asyncio.wait([life], timeout=chance.uniform(0.05, 0.6))
    proxy.each(chance.choice((Link.close, Link.reset)))
    if chance.random() < 0.5:
        await asyncio.wait([life], timeout=chance.uniform(0.0, 1.0))
    life.cancel()
    try:
        await life
    except (asyncio.CancelledError, NoAnswer, HotUnavailable):
        pass  # it was to end, or was cut before it had begun to listen
    except MemorydError as error:
        outcome.wrong.append(f"{error.code}: {error.message}")
    await asyncio.sleep(chance.choice((0, 0, 0, chance.uniform(0, 1.5))))


async def _to_the_end(lab: Lab, outcome: Outcome, url: str, scope: Scope) -> None:
    """The last life lasts until everything is handled; what is missing then is missing for good."""
    until = time.monotonic() + END_SECONDS

    async def all_handled() -> bool:
        kept = await _kept(lab, scope)
        return len(kept) == len({event.at for event in outcome.agent.handled} & kept) and not await _pending(lab)

    while time.monotonic() < until:
        life = asyncio.create_task(outcome.agent.listen(url, scope))
        with suppress(AssertionError):
            await eventually(all_handled, within_seconds=5)
            until = 0
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life


async def _pending(lab: Lab) -> bool:
    """Whether a memory still waits for its vector: its event is yet to come."""
    journals = [lab.keys.journal(bucket) for bucket in lab.keys.all_buckets()]
    return any([await lab.redis.xlen(journal) for journal in journals])


async def _kept(lab: Lab, scope: Scope) -> set[str]:
    """Where all events of the agent are kept, read past memoryd."""
    redis: Any = lab.redis
    kept = set()
    for bucket in lab.keys.all_buckets():
        for entry, fields in await redis.xrange(lab.keys.kept_events(bucket, scope)):
            if fields[b"agent"] == scope.agent.encode():
                kept.add(f"{bucket}-{entry.decode()}")
    return kept


async def _main(options: argparse.Namespace) -> int:
    say(f"seed {options.seed}; {machine()}")
    async with Lab(SHAPE) as lab:
        started = time.monotonic()
        outcome = await reconnect(lab, options.reconnects, options.seed)
        seconds = time.monotonic() - started
    say(
        f"{outcome.reconnects} reconnects in {seconds:.0f} s across {outcome.killed} daemon kills, "
        f"{outcome.agent.deaths} deaths before a save"
    )
    say(f"{len(outcome.changes)} acknowledged changes, {len(outcome.agent.handled)} events handled")
    return tell(outcome.wrong)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.reconnects", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--reconnects", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    sys.exit(asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    main()
