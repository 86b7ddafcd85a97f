"""What is needed of the driver's inside: on Python 3.11, so that a caller who gives up leaves nothing locked; and to take what
it has read already without waiting."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

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


def at_hand(stream: Any) -> bool:
    """Whether an open change stream has read a change that it has not given yet: then the next is had without a round trip.

    PyMongo does not tell. Where another version of it keeps that elsewhere, nothing is at hand, and asking costs a task.
    """
    has_next = getattr(getattr(stream, "_cursor", None), "_has_next", None)
    return has_next is not None and bool(has_next())


async def _wait_for(awaited: Awaitable[Answer], seconds: float | None) -> Answer:
    async with asyncio.timeout(seconds):
        return await awaited
