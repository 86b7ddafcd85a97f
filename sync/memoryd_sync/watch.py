"""Tells the metrics how far sync is and how much the archive holds."""

from __future__ import annotations

import asyncio
import contextlib

from redis.asyncio import Redis

from memoryd.archive.client import ArchiveRefused, archive_errors
from memoryd.archive.oplog import oplog_window
from memoryd.archive.store import Archive
from memoryd.hot.journal import GROUPS
from memoryd.hot.lag import behind, following, lags
from memoryd.keys import Keys
from memoryd.limits import METRICS_LOOK_SECONDS
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


async def watch_redis(redis: Redis, keys: Keys, stop: asyncio.Event) -> None:
    """Looks once, then waits a while. Raises HotUnavailable."""
    found = await lags(redis, keys)
    for group in GROUPS:
        entries, seconds = behind(found, group)
        measure(telemetry.JOURNAL_BACKLOG, entries, {telemetry.FOLLOWER: group})
        measure(telemetry.JOURNAL_LAG, seconds, {telemetry.FOLLOWER: group})
    now = await following(redis)
    measure(telemetry.FOLLOWERS, int(bool(now.holder)))
    if now.place_age_seconds is not None:
        measure(telemetry.PLACE_AGE, now.place_age_seconds)
    await wait_for_stop(stop, METRICS_LOOK_SECONDS)


async def watch_archive(archive: Archive, stop: asyncio.Event) -> None:
    """The same of MongoDB: counts that it keeps itself, no search. Raises ArchiveUnavailable."""
    measure(telemetry.ARCHIVE_DOCUMENTS, await archive.size())
    with contextlib.suppress(ArchiveRefused):  # a user who may only read and write this database sees no more
        with archive_errors("look at the archive"):
            about = await archive.database.command("dbStats")
        measure(telemetry.ARCHIVE_BYTES, int(about["storageSize"]) + int(about["indexSize"]))
        window = await oplog_window(archive)
        if window is not None:
            measure(telemetry.OPLOG_WINDOW, window)
    await wait_for_stop(stop, METRICS_LOOK_SECONDS)
