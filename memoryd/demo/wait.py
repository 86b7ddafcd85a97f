"""Waiting for what happens by itself, with words for what never did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from memoryd.errors import MemorydError
from memoryd.retry import heed_cancellation

LOOK_SECONDS = 0.02

T = TypeVar("T")


class NeverHappened(MemorydError):
    """Something that must happen by itself did not happen in time."""

    code = "never_happened"
    hint = "run it again with --keep DIR; what the servers, the daemon and sync said is then in DIR/logs"


async def until(look: Callable[[], Awaitable[T | None]], what: str, *, within_seconds: float = 60.0) -> T:
    """The first answer of `look` that is not None. Raises NeverHappened."""
    deadline = asyncio.get_running_loop().time() + within_seconds
    while (found := await look()) is None:
        heed_cancellation()
        if asyncio.get_running_loop().time() > deadline:
            raise NeverHappened(f"within {within_seconds:g} s this did not happen: {what}")
        await asyncio.sleep(LOOK_SECONDS)
    return found
