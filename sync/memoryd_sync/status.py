"""How far sync is: lag a bucket and follower, the place in the change stream, and how long MongoDB remembers it."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.oplog import oplog_window
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock, to_microseconds
from memoryd.errors import MemorydError
from memoryd.hot.client import hot_errors
from memoryd.hot.lag import Lag, following, lags
from memoryd.keys import Keys
from memoryd_sync.place import look


class SyncStatus(msgspec.Struct, frozen=True):
    """The state of sync of one Redis."""

    lags: list[Lag]
    dead_letters: int
    lease_holder: str
    place_age_seconds: float | None
    """How long ago the place in the change stream was saved; None before the first time."""
    place: str
    """The resume token, as MongoDB writes it; empty before the first time."""
    oplog_window_seconds: float | None
    """How far back MongoDB's oplog reaches; None when MongoDB cannot be asked."""
    compared_age_seconds: float | None
    """How long ago the follower has compared both stores whole; None before the first time."""
    gap_age_seconds: float | None
    """How long ago the place was lost last; None when it never was. Later than the comparison: it is still being mended."""
    gap_why: str


async def status(redis: Redis, archive: Archive, keys: Keys) -> SyncStatus:
    """The state of sync now. Raises HotUnavailable; MongoDB may be away."""
    follower, place = await following(redis), await look(redis)
    now = to_microseconds(SystemClock().now())
    with hot_errors("status"):
        dead = await redis.xlen(names.DEAD_LETTERS)
    return SyncStatus(
        lags=await lags(redis, keys),
        dead_letters=dead,
        lease_holder=follower.holder,
        place=place.token,
        place_age_seconds=follower.place_age_seconds,
        gap_age_seconds=_since(place.lost_at, now),
        gap_why=place.why,
        compared_age_seconds=_since(place.compared_at, now),
        oplog_window_seconds=await _oplog_window(archive),
    )


def _since(moment: int | None, now: int) -> float | None:
    return None if moment is None else round((now - moment) / 1e6, 3)


async def _oplog_window(archive: Archive) -> float | None:
    try:
        return await oplog_window(archive)
    except MemorydError:
        return None
