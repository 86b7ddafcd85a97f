"""Works of many callers share turns, and nothing else: neither results, nor failures, nor cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from memoryd.errors import HotUnavailable, MemorydError
from memoryd.together import Together


class Turns:
    """Notes the turns, holds each until it may go on, and fails on odd numbers or, where `away`, on all."""

    def __init__(self, *, away: bool = False) -> None:
        self.seen: list[list[int]] = []
        self.go_on = asyncio.Event()
        self._away = away

    async def __call__(self, works: Sequence[int]) -> list[int]:
        self.seen.append(list(works))
        await self.go_on.wait()
        if self._away:
            raise HotUnavailable("gone")
        if any(one % 2 for one in works):
            raise MemorydError(f"{works} has an odd one")
        return [10 * one for one in works]


async def _started(together: Together[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    async def call(number: int) -> int:
        return await together(number)

    tasks = [asyncio.create_task(call(one)) for one in numbers]
    await asyncio.sleep(0)  # each is waiting
    return tasks


async def test_what_comes_while_a_turn_is_under_way_goes_together_into_the_next() -> None:
    """In order, `at_most` at a time, and each caller gets its own result."""
    turns = Turns()
    together: Together[int, int] = Together(turns, at_most=3)

    tasks = await _started(together, [2])
    await asyncio.sleep(0)  # its turn has begun
    tasks += await _started(together, [4, 6, 8, 10])
    turns.go_on.set()

    assert await asyncio.gather(*tasks) == [20, 40, 60, 80, 100]
    assert turns.seen == [[2], [4, 6, 8], [10]]


async def test_a_refused_work_takes_no_other_with_it() -> None:
    """The turn is done again, one by one."""
    turns = Turns()
    turns.go_on.set()
    tasks = await _started(Together(turns, at_most=8), [2, 3, 4])

    first, refused, last = await asyncio.gather(*tasks, return_exceptions=True)

    assert (first, last) == (20, 40)
    assert isinstance(refused, MemorydError)
    assert str(refused) == "[3] has an odd one"


async def test_a_server_that_is_away_is_not_asked_again_for_each() -> None:
    """All of a turn are told at once."""
    turns = Turns(away=True)
    turns.go_on.set()
    tasks = await _started(Together(turns, at_most=8), [2, 4])

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(one, HotUnavailable) for one in results)
    assert turns.seen == [[2, 4]]


async def test_a_caller_who_gives_up_hinders_nobody() -> None:
    """Its work is done all the same; who comes later has a turn, too."""
    turns = Turns()
    together: Together[int, int] = Together(turns, at_most=8)
    gives_up, waits = await _started(together, [2, 4])
    await asyncio.sleep(0)

    gives_up.cancel()
    turns.go_on.set()

    assert await waits == 40
    with pytest.raises(asyncio.CancelledError):
        await gives_up
    assert await together(6) == 60
    assert turns.seen == [[2, 4], [6]]
