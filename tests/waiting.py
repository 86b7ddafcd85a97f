"""Waiting for what happens by itself, with words for what never did."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(condition: Callable[[], Any], *, within_seconds: float = 10, what: str = "") -> Any:
    """The first true answer of `condition`; an AssertionError that says what never happened."""
    deadline = time.monotonic() + within_seconds
    last = None
    while time.monotonic() < deadline:
        answer = condition()
        last = await answer if inspect.isawaitable(answer) else answer
        if last:
            return last
        await asyncio.sleep(0.02)
    raise AssertionError(f"never happened within {within_seconds:g} s: {what or condition} (last answer: {last!r})")
