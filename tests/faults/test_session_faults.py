"""A session that was killed at any point opens with everything acknowledged, and rolls back to any checkpoint."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from memoryd.hot.client import open_redis
from memoryd.protocol.sessions import WorkingMemory
from tests.faults.session_agent import SESSION, digest
from tests.faults.test_durability_levels import Whole, whole, without
from tests.waiting import eventually

__all__ = ["whole"]  # the fixture: real servers, real processes


@dataclass
class Told:
    """What agents said was acknowledged."""

    remarks: list[int] = field(default_factory=list)
    checkpoints: dict[int, str] = field(default_factory=dict)

    def hear(self, line: bytes) -> None:
        said: dict[str, Any] = json.loads(line)
        if "remark" in said:
            self.remarks.append(said["remark"])
        else:
            self.checkpoints[said["checkpoint"]] = said["digest"]


@asynccontextmanager
async def agent(whole: Whole, told: Told, first: int) -> AsyncIterator[None]:
    """An agent's process for the length of the block; at its end SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.session_agent", whole.servers.redis_url, str(first),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines = process.stdout

    async def listen() -> None:
        async for line in lines:
            if line.endswith(b"\n"):
                told.hear(line)

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        process.kill()
        await process.wait()
        await listening


async def until(told: Told, remarks: int) -> None:
    """Waits until so many are acknowledged."""
    await eventually(lambda: len(told.remarks) >= remarks, within_seconds=120, what=f"{remarks} remarks are acknowledged")


async def expired(whole: Whole) -> None:
    """What Redis does after an hour without use."""
    async with open_redis(whole.servers.redis_url) as redis:
        async for key in redis.scan_iter(match="aether:memory:working:*"):
            await redis.delete(key)


async def test_a_killed_session_opens_with_all_of_it_and_rolls_back_to_any_checkpoint(whole: Whole) -> None:
    """The daemon is killed under an agent at work, then sync, then the agent; another agent goes on; then Redis loses it."""
    told = Told()
    async with agent(whole, told, 0):
        await until(told, 12)
        async with without(whole.daemon):
            pass
        await until(told, 25)
        async with without(whole.sync):
            await until(told, 40)
    async with whole.connect() as memory:
        session = memory.working(SESSION)
        await holds(session, told)
        last = (await session.window(1)).messages[0].number
    async with agent(whole, told, last + 1):
        await until(told, len(told.remarks) + 15)
        whole.daemon.kill()
    await whole.daemon.start()

    async with whole.connect(timeout_seconds=60) as memory:
        session = memory.working(SESSION)
        await holds(session, told)
        await rolls_back(session, told)
        await expired(whole)
        assert (await session.rehydrate()).source == "archive"
        await holds(session, told)
        await rolls_back(session, told)


async def holds(session: WorkingMemory, told: Told) -> None:
    """All that was acknowledged is there, in order, once; and of each agent that died perhaps the one under way."""
    contents = [one.content for one in (await session.window(4000)).messages]
    assert contents == [f"remark {number}" for number in range(len(contents))]
    assert set(told.remarks) <= set(range(len(contents)))
    assert len(contents) - len(told.remarks) <= 2


async def rolls_back(session: WorkingMemory, told: Told) -> None:
    """To each checkpoint exactly, and each rollback can be undone exactly."""
    assert len(told.checkpoints) >= 4
    now = await digest(session)
    for number, wanted in list(told.checkpoints.items())[-4:]:  # each rollback makes one, and the oldest of them go
        back = await session.rollback(number)
        assert await digest(session) == wanted
        await session.rollback(back.undo)
        assert await digest(session) == now
