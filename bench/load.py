"""The load generator: a process of its own, in which clients work in a closed loop or at a fixed rate.

In a closed loop each client sends its next request when it has the answer to the last: it shows what is possible, and hides how
long others would have waited. At a fixed rate a request is due whether or not the last was answered, and its time counts from then.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

Call = Callable[[int, int], Awaitable[Any]]
"""What is asked, by which client and the how manieth it is."""
Generator = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Load:
    """What a number of requests took: all of them together, and the milliseconds of each."""

    seconds: float
    milliseconds: list[float]

    @property
    def rate(self) -> float:
        """How many a second."""
        return len(self.milliseconds) / self.seconds


async def closed(call: Call, count: int, clients: int) -> Load:
    """So many requests by clients that wait for their answers."""
    numbers, times = iter(range(count)), []

    async def client(name: int) -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(name, number)
            times.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for name in range(clients):
            tasks.create_task(client(name))
    return Load(time.perf_counter() - began, times)


async def at_rate(work: Callable[[int, float], Awaitable[None]], count: int, rate: float) -> float:
    """Begins so many works, of which one is due each 1 / `rate` seconds: it is given its number and when it was due, by
    `time.perf_counter`. The seconds until all were done."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(work(number, due))  # type: ignore[arg-type]
    return time.perf_counter() - began


async def paced(call: Call, count: int, rate: float, clients: int) -> Load:
    """So many requests at a rate; the clients take turns and do not wait."""
    times: list[float] = []

    async def request(number: int, due: float) -> None:
        await call(number % clients, number)
        times.append((time.perf_counter() - due) * 1000)

    return Load(await at_rate(request, count, rate), times)


@asynccontextmanager
async def generator() -> AsyncIterator[Generator]:
    """A process to whose loop `await generate(work, *arguments)` gives a coroutine function of a module; it ends with ours."""
    # Spawned: a forked one would have copies of our connections.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
        loop = asyncio.get_running_loop()

        async def generate(work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
            return await loop.run_in_executor(pool, _work, work, arguments)

        yield generate


def _work(work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        return runner.run(work(*arguments))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """The loop that the daemon takes: what generates load should take as little of the machine as it can."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop  # type: ignore[no-any-return]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
