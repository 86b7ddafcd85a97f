"""Tells the metrics how much the journal's followers have still to do."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from memoryd.hot.journal import GROUPS, backlogs
from memoryd.keys import Keys
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure

LOOK_SECONDS = 5.0  # metrics leave once a minute


async def watch(redis: Redis, keys: Keys, stop: asyncio.Event) -> None:
    """Looks once, then waits a while. Raises HotUnavailable."""
    found = await backlogs(redis, [keys.journal(bucket) for bucket in keys.all_buckets()])
    for group in GROUPS:
        measure(telemetry.JOURNAL_BACKLOG, sum(one.get(group, 0) for one in found), {telemetry.FOLLOWER: group})
    await wait_for_stop(stop, LOOK_SECONDS)
