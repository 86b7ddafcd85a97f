"""What the driver needs on Python 3.11 so that a caller who gives up leaves nothing locked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pymongo.lock

Answer = TypeVar("Answer")


def mend_waits() -> None:
    """Gives PyMongo the `wait_for` of Python 3.12. May be repeated.

    That of 3.11 awaits in a task of its own, and who is cancelled while the time limit ends that task leaves it behind: it
    takes the lock of the client's topology, which nobody then releases, and whatever asks MongoDB through this client waits
    for ever, also to close it. A time limit around a recall or a health probe is enough while MongoDB is away.
    """
    if sys.version_info < (3, 12):
        pymongo.lock.wait_for = _wait_for  # type: ignore[attr-defined, assignment]


async def _wait_for(awaited: Awaitable[Answer], seconds: float | None) -> Answer:
    async with asyncio.timeout(seconds):
        return await awaited
