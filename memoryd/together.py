"""Small works of many callers in few turns: what comes while a turn is under way goes together into the next one.

Nobody waits for others to come. A caller who is alone has a turn of its own at once; the busier it is, the more share one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from memoryd.errors import HotUnavailable

Work = TypeVar("Work")
Result = TypeVar("Result")


class Together(Generic[Work, Result]):
    """Does works in turns of `at_most`, in the order in which they came. `do` gives a result for each, or raises.

    Where Redis refuses a turn it is done again one by one, so that nobody has another's failure: a work must bear to be repeated.
    """

    def __init__(self, do: Callable[[Sequence[Work]], Awaitable[Sequence[Result]]], *, at_most: int) -> None:
        self._do = do
        self._at_most = at_most
        self._waiting: deque[tuple[Work, asyncio.Future[Result]]] = deque()
        self._turns: asyncio.Task[None] | None = None

    async def __call__(self, work: Work) -> Result:
        """The result of one work. A caller who gives up leaves it to be done."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((work, future))
        if self._turns is None:
            self._turns = loop.create_task(self._take_turns(), name="turns")
        return await future

    async def _take_turns(self) -> None:
        some: list[tuple[Work, asyncio.Future[Result]]] = []
        try:
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
                await self._turn(some)
        finally:  # also where it is cancelled, as a loop does that ends: nobody must wait for ever
            self._turns = None
            for _, future in (*some, *self._waiting):
                future.cancel()
            self._waiting.clear()

    async def _turn(self, some: Sequence[tuple[Work, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._do([work for work, _ in some])
        except Exception as error:
            if len(some) > 1 and not isinstance(error, HotUnavailable):
                for one in some:
                    await self._turn([one])
                return
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(some, results, strict=True):
            if not future.done():
                future.set_result(result)
