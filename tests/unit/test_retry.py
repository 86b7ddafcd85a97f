"""What ends does end, although a cancellation may be swallowed on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import pytest

from memoryd import retry
from memoryd.durability import outwaited


async def swallow() -> None:
    """Waits, and takes a cancellation for its own end."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)


@pytest.mark.parametrize("ending", [retry.end, retry.finish])
async def test_a_task_that_swallows_a_cancellation_is_ended(
    ending: Callable[[asyncio.Task[None]], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has perhaps gone on to its next wait, which nobody would end."""
    monkeypatch.setattr(retry, "CANCELLED_SECONDS", 0.01)

    async def work() -> None:
        for _ in range(3):
            await swallow()
        await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await ending(task)
    assert task.cancelled()


async def test_what_a_task_died_of_before_its_end_was_wanted_is_raised() -> None:
    """And a task that was done well is done well."""

    async def work(zero: int) -> None:
        _ = 1 // zero

    dead, done = asyncio.create_task(work(0)), asyncio.create_task(work(1))
    await asyncio.wait((dead, done))
    with pytest.raises(ZeroDivisionError):
        await retry.finish(dead)
    await retry.finish(done)


async def test_who_waits_for_others_is_ended_although_the_asking_swallowed_it() -> None:
    """It would ask on until its time is up."""

    async def left(waiting: Mapping[int, int]) -> Mapping[int, int]:
        asked.append(1)
        if len(asked) > 1:
            return {}
        await swallow()
        return waiting

    asked: list[int] = []
    task = asyncio.create_task(outwaited({1: 1}, left, 3600))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
