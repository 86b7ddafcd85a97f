"""Waiting for what happens by itself, with words for what never did."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60.0  # what happens takes milliseconds; a machine that does other things may stand still for many seconds


async def eventually(condition: Callable[[], Any], *, within_seconds: float = PATIENCE_SECONDS, what: str = "") -> Any:
    """The first true answer of `condition`; an AssertionError that says what never happened. It looks once more when the time is
    up: perhaps nobody has looked since it happened."""
    deadline = time.monotonic() + within_seconds
    late = False
    while not late:
        late = time.monotonic() >= deadline
        answer = condition()
        last = await answer if inspect.isawaitable(answer) else answer
        if last:
            return last
        await asyncio.sleep(0.02)
    raise AssertionError(f"never happened within {within_seconds:g} s: {what or condition} (last answer: {last!r})")


async def settles(check: Callable[[], Any]) -> None:
    """Repeats what asserts until it passes: for what another task writes a moment after the answer. Its last failure is raised."""
    failure: AssertionError | None = None

    async def passes() -> bool:
        nonlocal failure
        try:
            done = check()
            if inspect.isawaitable(done):
                await done
        except AssertionError as error:
            failure = error
            return False
        return True

    try:
        await eventually(passes)
    except AssertionError as never:
        raise failure or never from None
