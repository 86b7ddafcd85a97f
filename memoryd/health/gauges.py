"""Tells the metrics how much there is in Redis, and whether the archive is left alone."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from memoryd.archive.store import Archive
from memoryd.hot.sizes import sizes
from memoryd.keys import Keys
from memoryd.limits import METRICS_LOOK_SECONDS
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


async def look_at_stores(redis: Redis, archive: Archive, keys: Keys, stop: asyncio.Event) -> None:
    """Looks once, then waits a while. Raises HotUnavailable."""
    archive.breaker.tell()
    found = await sizes(redis, keys)
    for tier, count in found.by_tier.items():
        measure(telemetry.MEMORIES, count, {telemetry.TIER: str(tier)})
    if found.pending is not None:
        measure(telemetry.MEMORIES_PENDING, found.pending)
    measure(telemetry.HOT_BYTES, found.bytes)
    measure(telemetry.DEAD_LETTERS_WAITING, found.dead_letters)
    for name, fill in found.filters.items():
        measure(telemetry.FILTER_FILL, fill, {telemetry.FILTER: name})
    await wait_for_stop(stop, METRICS_LOOK_SECONDS)
