"""The driver's own waits: a caller who gives up while MongoDB is away must not lock the others out."""

from __future__ import annotations

import asyncio

from pymongo.lock import _async_cond_wait, _async_create_condition, _async_create_lock

from memoryd.archive.driver import mend_waits
from tests.waiting import eventually


async def test_who_gives_up_waiting_for_a_server_leaves_no_lock_behind() -> None:
    """Cancelled just when its wait is over and somebody else has the lock, as under many callers with time limits."""
    mend_waits()
    lock = _async_create_lock()
    condition = _async_create_condition(lock)
    waits, let_go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        async with lock:
            waits.set()
            await _async_cond_wait(condition, 0.01)

    async def hold() -> None:
        async with lock:
            await let_go.wait()

    waiting = asyncio.create_task(wait())
    await waits.wait()
    holding = asyncio.create_task(hold())
    await asyncio.sleep(0.05)  # the time limit of the wait is over, and it wants the lock back
    waiting.cancel()
    let_go.set()
    await asyncio.wait((waiting, holding), timeout=60)

    assert waiting.cancelled()
    assert holding.exception() is None
    await eventually(lambda: not lock.locked(), what="the lock is free")
