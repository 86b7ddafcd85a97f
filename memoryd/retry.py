"""The one policy for a server that is away: go on trying, say so once, never give up what is in a stream."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

from memoryd.errors import ArchiveUnavailable, HotUnavailable, HotUnprepared, Overloaded
from memoryd_telemetry.logs import get_logger

T = TypeVar("T")

PAUSE_SECONDS_MIN = 0.05
CANCELLED_SECONDS = 1.0  # who has not ended by then has perhaps not heard it
PAUSE_SECONDS_MAX = 2.0  # how long after a server's return its daemon may still wait


async def persistently(
    step: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    doing: str,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Repeats `step` until told to stop; waits with a growing, jittered pause while a server is away or full.

    `prepare` mends a Redis that was emptied under us.
    Everything that is not a server's absence is raised: it ends the daemon, which is better than losing memories.
    """
    log = get_logger("memoryd.retry")  # here: a client ends its tasks by this module too, and has no structlog
    pause = PAUSE_SECONDS_MIN
    while not stop.is_set():
        heed_cancellation()
        try:
            await step()
        except (HotUnavailable, ArchiveUnavailable, Overloaded) as error:
            if pause == PAUSE_SECONDS_MIN:
                log.warning("server.away", doing=doing, code=error.code)
            await wait_for_stop(stop, pause * random.uniform(0.7, 1.3))
            pause = min(PAUSE_SECONDS_MAX, pause * 2)
            if isinstance(error, HotUnprepared) and prepare is not None:
                with contextlib.suppress(HotUnavailable):
                    await prepare()
        else:
            if pause > PAUSE_SECONDS_MIN:
                log.info("server.back", doing=doing)
            pause = PAUSE_SECONDS_MIN


def heed_cancellation() -> None:
    """Ends a loop whose cancellation was swallowed on the way: PyMongo's network layer does that now and then.

    Else the half that is left of a dying daemon would go on for ever, and nobody would start a whole one.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def heedful_sleep(seconds: float) -> None:
    """Sleeps between two looks at what others do. Who is cancelled already does not sleep."""
    heed_cancellation()
    await asyncio.sleep(seconds)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task until it is gone, because a cancellation may be swallowed on the way. What it has raised, it has raised."""
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=CANCELLED_SECONDS)
    if not task.cancelled():
        task.exception()  # looked at, or asyncio complains


async def finish(task: asyncio.Task[Any]) -> None:
    """Cancels a task until it is gone; what it died of before is raised."""
    await end(task)
    if not task.cancelled():
        task.result()


async def all_ended(works: Iterable[Awaitable[T]]) -> list[T]:
    """What works that go on side by side have given. The first failure is raised when all have ended: none is left on its way."""
    ended = await asyncio.gather(*works, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return cast("list[T]", ended)


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one leaves at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def wait_for_stop(stop: asyncio.Event, seconds: float) -> bool:
    """Waits at most `seconds`; True as soon as it is time to stop. Who is cancelled already does not wait."""
    heed_cancellation()
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def work(
    step: Callable[[], Awaitable[None]],
    leave: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    doing: str,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """A follower's life: `step` persistently until told to stop, then `leave`.

    What cannot be handed over because Redis is away is taken over by the others after a while.
    """
    await persistently(step, stop, doing=doing, prepare=prepare)
    with contextlib.suppress(HotUnavailable, Overloaded):
        await leave()
