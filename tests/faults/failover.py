"""Daemons that die in turns under agents that go on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.faults.lab import Lab
from tests.faults.plan import Shape

SHAPE = Shape(aof="everysec", members=1, daemons=2, syncs=1)


@asynccontextmanager
async def failing_over(lab: Lab, chance: random.Random, pause: tuple[float, float]) -> AsyncIterator[list[str]]:
    """SIGKILLs the daemons in turns, each once the other one serves again; the list names those that were killed."""
    killed: list[str] = []

    async def kill() -> None:
        while True:
            await asyncio.sleep(chance.uniform(*pause))
            name = lab.named("daemon", len(killed))
            lab.kill(name)
            killed.append(name)
            await asyncio.sleep(chance.uniform(0, 0.5))
            lab.bring_back(name)
            await lab.all_ready()

    killing = asyncio.create_task(kill(), name="kill daemons")
    try:
        yield killed
    finally:
        killing.cancel()
        await asyncio.wait([killing])
        await lab.heal()
