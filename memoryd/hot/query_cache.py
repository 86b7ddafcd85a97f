"""Questions that are asked again and again within a moment are answered from memory, until anything in the project changes.

What is kept is an order of ids and numbers, in this process; the memories are read anew for each answer, so no copy of one
outlives it. Whether something has changed is told by the project's kept events: each atomic step that stores, changes, moves,
embeds, judges or forgets a memory adds to them. A question that is asked once costs nothing; asked twice, one round trip.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd.hot.client import hot_errors
from memoryd.hot.pages import Order
from memoryd.keys import Keys
from memoryd.limits import QUERY_CACHE_MAX, QUERY_CACHE_SECONDS
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.tracing import tell

Generation = tuple[bytes, ...]


@dataclass(frozen=True)
class Kept:
    """An order, of which state of the project it is, and when it was made (seconds of the loop)."""

    order: Order
    generation: Generation
    made_at: float


class QueryCache:
    """The latest questions of this daemon; those asked more than once have their order here."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._known: OrderedDict[tuple[Scope, str], Kept | None] = OrderedDict()

    async def order(self, scope: Scope, asked: str, make: Callable[[], Awaitable[Order]]) -> Order:
        """The order that `make` would make now, which is made where it is not known. `asked` is everything that it depends on,
        but for the memories and the time. What is not whole is not kept."""
        key = (scope, asked)
        if key not in self._known:
            self._note(key, None)
            return await make()
        generation = await self._generation(scope)  # before the search: what is written meanwhile makes a later one
        kept, now = self._known.get(key), asyncio.get_running_loop().time()
        hit = kept is not None and kept.generation == generation and now - kept.made_at < QUERY_CACHE_SECONDS
        outcome = "hit" if hit else "miss"
        measure(telemetry.QUERY_CACHE_LOOKS, 1, {telemetry.OUTCOME: outcome})
        tell({telemetry.QUERY_CACHE: outcome})
        if kept is not None and hit:
            self._known.move_to_end(key)
            return kept.order
        order = await make()
        self._note(key, None if order.degraded or order.missing else Kept(order, generation, now))
        return order

    def _note(self, key: tuple[Scope, str], kept: Kept | None) -> None:
        self._known[key] = kept
        self._known.move_to_end(key)
        if len(self._known) > QUERY_CACHE_MAX:
            self._known.popitem(last=False)

    async def _generation(self, scope: Scope) -> Generation:
        """The last event of the project in each bucket. One round trip."""
        with hot_errors("recall"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for bucket in self._keys.all_buckets():
                    pipe.xrevrange(self._keys.kept_events(bucket, scope), count=1)
                last: list[Any] = await pipe.execute()
        return tuple(entries[0][0] if entries else b"" for entries in last)
