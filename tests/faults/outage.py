"""`python -m tests.faults.outage --rate 500 --away 60 --seed 1`: stores at a steady rate while MongoDB is away.

MongoDB is killed; in the middle of its absence Redis is restarted, once in order and once after a SIGKILL. The load is an
open loop: a store begins when it is due, however late the others are, and is repeated with its request id when Redis or the
daemons say that they are away. Nobody may see an error that is not a restart of Redis; when MongoDB is back the journals
drain, and both stores hold every acknowledged memory once, with equal digests.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from memoryd import MemoryClient, connect
from memoryd.errors import HotUnavailable, MemorydError, NoAnswer
from memoryd.keys import REQUESTS
from memoryd.model.results import Stored
from tests.faults.failover import SHAPE
from tests.faults.lab import Lab
from tests.faults.measure import Times, machine, say, tell
from tests.faults.run import differences
from tests.waiting import eventually

CLIENTS = 8
CALM_SECONDS = 10.0  # of load before MongoDB goes and after it is back
BEHIND_SECONDS = 20.0  # of load that may be unanswered; a machine that is further behind cannot offer the rate
RESTART_SECONDS = 8.0  # a restart of Redis is felt: until the daemons, who ask every 2 s at most, have found it again
DRAIN_SECONDS = 300.0


@dataclass
class Phase:
    """One part of the story: what was answered in it, and what was said to callers."""

    name: str
    began: float
    stores: Times
    errors: Counter[str] = field(default_factory=Counter)


@dataclass
class Load:
    """Stores at a rate, and what came of them. `acknowledged` has the content by id."""

    rate: float
    name: str
    batch: int = 1
    phases: list[Phase] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    offered: int = 0
    held_back: int = 0
    wrong: list[str] = field(default_factory=list)
    given_up: bool = False
    """Whether the story has ended before its time: then nobody waits for what was not acknowledged."""
    _restarted: float = float("-inf")
    _restarting: bool = False
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def enter(self, name: str) -> None:
        """A new phase begins."""
        self.phases.append(Phase(name, time.monotonic(), Times(name)))

    def redis_goes(self) -> None:
        """From now on, and for RESTART_SECONDS after it is back, errors are expected."""
        self._restarting = True

    def redis_is_back(self) -> None:
        """It answers again."""
        self._restarting, self._restarted = False, time.monotonic()

    async def run(self, clients: list[MemoryClient], enough: asyncio.Event) -> None:
        """Begins a store whenever one is due, until it is enough; then waits for the last answers."""
        began = time.monotonic()
        while not enough.is_set():
            due = int((time.monotonic() - began) * self.rate) - self.offered - self.held_back
            room = int(self.rate * BEHIND_SECONDS) - len(self._running) * self.batch
            self.held_back += max(0, due - room)
            for _ in range(min(due, room) // self.batch):
                first = self.offered + 1
                self.offered += self.batch
                task = asyncio.create_task(self._store(clients[first // self.batch % len(clients)], first))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            await asyncio.sleep(0.002)
        await asyncio.gather(*self._running)

    async def _store(self, client: MemoryClient, first: int) -> None:
        phase = self.phases[-1]
        items = [self._item(number) for number in range(first, first + self.batch)]
        with phase.stores.one():
            while not self.given_up:
                try:
                    kept = await client.store_many(items, request_id=f"{self.name}-{first}")
                    answers = [one for one in kept if isinstance(one, Stored)]
                    if len(answers) == len(items):
                        self.acknowledged |= {one.id: str(item["content"]) for one, item in zip(answers, items, strict=True)}
                        return
                    raise next(one for one in kept if isinstance(one, MemorydError))
                except MemorydError as error:
                    self._note(error)
                    await asyncio.sleep(0.1)

    def _item(self, number: int) -> dict[str, Any]:
        content = f"Agent {number % 7} of {self.name} saw event {number} on its way."
        return {"content": content, "type": "fact" if number % 2 else "episodic"}

    def _note(self, error: MemorydError) -> None:
        self.phases[-1].errors[error.code] += 1
        felt = self._restarting or time.monotonic() - self._restarted < RESTART_SECONDS
        if not (felt and isinstance(error, HotUnavailable | NoAnswer)):
            self.wrong.append(f"{self.phases[-1].name}: a writer was told {error.code}: {error.message}")


async def outage(lab: Lab, load: Load, away: float, calm: float = CALM_SECONDS) -> float:
    """The story; returns how long the journals took to drain after MongoDB was back."""
    enough = asyncio.Event()
    async with AsyncExitStack() as stack:
        clients = [connect(lab.redis_url, tenant=load.name, project="lab", agent="a") for _ in range(CLIENTS)]
        opened = [await stack.enter_async_context(one) for one in clients]
        load.enter("calm")
        running = asyncio.create_task(load.run(opened, enough))
        try:
            await asyncio.sleep(calm)
            load.enter("MongoDB is away")
            [member] = lab.mongo_set.members
            member.kill()
            await asyncio.sleep(away / 3)
            await _restart(lab, load, "Redis is restarted in order", in_order=True)
            await asyncio.sleep(away / 3)
            await _restart(lab, load, "Redis is killed and started", in_order=False)
            await asyncio.sleep(away / 3)
            load.enter("MongoDB is back")
            await member.start()
            back = time.monotonic()
            await asyncio.sleep(calm)
        except BaseException:
            load.given_up = True
            raise
        finally:
            enough.set()
            await running
    await eventually(lambda: _drained(lab), within_seconds=DRAIN_SECONDS, what="the journals have drained")
    drained = time.monotonic() - back
    load.wrong += await _told(lab, load)
    return drained


async def _restart(lab: Lab, load: Load, name: str, *, in_order: bool) -> None:
    load.enter(name)
    load.redis_goes()
    await (lab.redis_server.stop() if in_order else asyncio.to_thread(lab.redis_server.kill))
    await lab.redis_server.start()
    load.redis_is_back()


async def _drained(lab: Lab) -> bool:
    streams = [REQUESTS, *map(lab.keys.journal, lab.keys.all_buckets())]
    return not any([await lab.redis.xlen(stream) for stream in streams])


async def _told(lab: Lab, load: Load) -> list[str]:
    """Whether both stores tell one story, and that story is what was acknowledged."""
    wrong = list(lab.trouble)
    wrong += await differences(lab)
    here = {key.decode().rpartition(":")[2] async for key in lab.redis.scan_iter(match="aether:memory:*", count=1000)}
    there: dict[str, str] = {}
    mine: dict[str, Any] = {"tenant": load.name}
    async for document in lab.archive.memories.find(mine, {"content": 1}):
        there[document["_id"]] = document["content"]
    wrong += [f"lost in Redis: {one}" for one in load.acknowledged.keys() - here]
    wrong += [f"lost in MongoDB: {one}" for one in load.acknowledged.keys() - there.keys()]
    wrong += [f"not acknowledged: {one}" for one in there.keys() - load.acknowledged.keys()]
    wrong += [f"changed: {one}" for one, content in load.acknowledged.items() if there.get(one, content) != content]
    versions = await lab.archive.versions.count_documents(mine)
    return wrong + ([] if versions == len(there) else [f"{versions} versions of {len(there)} memories"])


async def _main(options: argparse.Namespace) -> int:
    say(f"seed {options.seed}; {machine()}")
    async with Lab(SHAPE) as lab:
        load = Load(options.rate, f"outage-{options.seed}", options.batch)
        began = time.monotonic()
        drained = await outage(lab, load, options.away)
        sent: dict[str, Any] = await lab.redis.xinfo_stream(REQUESTS)
    ends = [phase.began for phase in load.phases[1:]] + [load.phases[-1].began + CALM_SECONDS]
    for phase, end in zip(load.phases, ends, strict=True):
        begun = len(phase.stores.milliseconds)
        rate = begun * load.batch / (end - phase.began)
        say(f"{rate:.0f} stores/s begun; {phase.stores}; told: {dict(phase.errors) or 'no error'}")
    say(f"{len(load.acknowledged)} acknowledged of {load.offered} offered, {load.held_back} held back by a machine too slow")
    say(f"{sent['entries-added'] - load.offered // load.batch} requests were sent again with their id")
    say(f"drained {drained:.1f} s after MongoDB was back; {time.monotonic() - began:.0f} s in all")
    return tell(load.wrong)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.outage", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--rate", type=float, default=500.0, help="stores a second")
    parser.add_argument("--batch", type=int, default=1, help="stores of one request; one by one they cost this machine more")
    parser.add_argument("--away", type=float, default=60.0, help="seconds without MongoDB")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    sys.exit(asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    main()
