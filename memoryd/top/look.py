"""Looks at a memoryd through Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.clock import SystemClock
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.lag import following, lags
from memoryd.hot.sizes import sizes
from memoryd.keys import REQUESTS, REQUESTS_GROUP, Keys
from memoryd.limits import TOP_DAEMON_SECONDS
from memoryd.top.frame import Frame, Memory
from memoryd.top.operations import operations
from memoryd.top.overheard import overhear

NO_SERIES = (
    "rates and latencies by operation: set MEMORYD_METRICS=redis for the daemon and sync (needs RedisTimeSeries); without it the "
    "verbs are a sample of the requests"
)


@dataclass(frozen=True)
class _Added:
    """How many entries the streams have had, and when."""

    requests: int
    changes: int
    at: float


class Top:
    """Looks again and again: what happens in a second is the difference between two looks."""

    def __init__(self, redis: Redis, blocking: Redis, keys: Keys) -> None:
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._before: _Added | None = None

    async def frame(self, seconds: float) -> Frame:
        """Listens for a while, then looks. Raises HotUnavailable."""
        before = self._before or await self._added()
        overheard = await overhear(self._blocking, seconds)
        now = self._before = await self._added()
        passed = now.at - before.at
        commands, memory = await self._server()
        known = await operations(self._redis)
        found = await sizes(self._redis, self._keys)
        waiting, daemons = await self._service()
        return Frame(
            at=SystemClock().now(), seconds=round(passed, 3), daemons=daemons,
            requests_per_second=round((now.requests - before.requests) / passed, 2),
            changes_per_second=round((now.changes - before.changes) / passed, 2),
            commands_per_second=commands, requests_waiting=waiting, operations=known, overheard=overheard,
            tiers={str(tier): count for tier, count in found.by_tier.items()}, pending=found.pending,
            followers=await lags(self._redis, self._keys), following=await following(self._redis),
            dead_letters=found.dead_letters, memory=memory, not_kept=[NO_SERIES] if known is None else [],
        )  # fmt: skip

    async def _added(self) -> _Added:
        journals = [self._keys.journal(bucket) for bucket in self._keys.all_buckets()]
        with hot_errors("count what is added"):
            answers = await scripts.added.many(self._redis, [([stream], []) for stream in (REQUESTS, *journals)])
        requests, *changes = map(int, answers)
        return _Added(requests, sum(changes), time.monotonic())

    async def _server(self) -> tuple[int, Memory]:
        """How many commands Redis carries out in a second, and its memory."""
        with hot_errors("look at Redis"):
            stats, memory = await self._redis.info("stats"), await self._redis.info("memory")
        used, limit = int(memory["used_memory"]), int(memory["maxmemory"])
        counted = used - int(memory["mem_not_counted_for_evict"])  # as when Redis refuses writes
        return int(stats["instantaneous_ops_per_sec"]), Memory(
            used, limit, round(counted / limit, 4) if limit else 0.0, float(memory["mem_fragmentation_ratio"])
        )

    async def _service(self) -> tuple[int, int]:
        """How many requests wait, and how many daemons ask for them."""
        client: Any = self._redis
        with hot_errors("look at the requests"):
            waiting = await client.xlen(REQUESTS)
            try:
                consumers = await client.xinfo_consumers(REQUESTS, REQUESTS_GROUP)
            except ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error):
                    raise
                consumers = []  # no daemon has ever been here
        return int(waiting), sum(one["idle"] < TOP_DAEMON_SECONDS * 1000 for one in consumers)
