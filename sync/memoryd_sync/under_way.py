"""Batches of changes under way: one is made ready while the stores have the one before."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memoryd.retry import end

Change = Mapping[str, Any]

TOGETHER_MAX = 2  # one is made ready while the stores have the other: a third would wait for either


@dataclass(frozen=True)
class _Batch:
    work: asyncio.Task[None]
    of: frozenset[str]
    deletes: bool
    token: Any


class UnderWay:
    """Two batches at most, none of which tells of a document that the other tells of, or of a deletion: each is applied after
    all that came before it and has to do with it. `token` is where to go on when all up to there is applied."""

    def __init__(self, apply: Callable[[Sequence[Change]], Coroutine[Any, Any, None]], token: Any) -> None:
        self.token = token
        self._apply = apply
        self._batches: deque[_Batch] = deque()

    async def begin(self, changes: Sequence[Change], token: Any) -> None:
        """Has these applied, as soon as they may be; `token` comes behind them. Raises what an earlier batch has failed with."""
        of = frozenset(str(one["documentKey"]["_id"]) for one in changes)
        deletes = any(one["operationType"] == "delete" for one in changes)
        while self._batches and (len(self._batches) == TOGETHER_MAX or deletes or self._meets(of)):
            await self._first_done()
        work = asyncio.create_task(self._apply(changes), name="changes")
        self._batches.append(_Batch(work, of, deletes, token))

    def _meets(self, of: frozenset[str]) -> bool:
        return any(one.deletes or one.of & of for one in self._batches)

    async def done(self) -> None:
        """Returns when all are applied. Raises what one of them has failed with."""
        while self._batches:
            await self._first_done()

    async def _first_done(self) -> None:
        await self._batches[0].work
        self.token = self._batches.popleft().token

    async def close(self) -> None:
        """Ends what is still under way: it comes again."""
        for one in self._batches:
            await end(one.work)
