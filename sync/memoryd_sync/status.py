"""How far sync is: lag a bucket and follower, the place in the change stream, and how long MongoDB remembers it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.store import Archive, archive_errors
from memoryd.clock import SystemClock, to_microseconds
from memoryd.errors import MemorydError
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import GROUPS, backlogs, entry_order
from memoryd.keys import Keys
from memoryd_sync.place import Places, last_gap


class Lag(msgspec.Struct, frozen=True):
    """What one follower has still to do in one bucket's journal."""

    bucket: str
    follower: str
    entries: int
    seconds: float
    """The age of the oldest entry that it has not done."""


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
    lags = [one for bucket in keys.all_buckets() for one in await _lags(redis, keys, bucket)]
    place, gap = await Places(redis, SystemClock()).load(), await last_gap(redis)
    now = to_microseconds(SystemClock().now())
    with hot_errors("status"):
        holder = await redis.get(names.FOLLOWER_LEASE) or b""
        dead = await redis.xlen(names.DEAD_LETTERS)
    return SyncStatus(
        lags=lags,
        dead_letters=dead,
        place=str(place.token.get("_data", "")) if place else "",
        gap_age_seconds=_since(gap.lost_at, now),
        gap_why=gap.why,
        compared_age_seconds=_since(gap.compared_at, now),
        lease_holder=holder.decode() if isinstance(holder, bytes) else holder,
        place_age_seconds=_since(place.saved_at if place else None, now),
        oplog_window_seconds=await _oplog_window(archive),
    )


def _since(moment: int | None, now: int) -> float | None:
    return None if moment is None else round((now - moment) / 1e6, 3)


async def _lags(redis: Redis, keys: Keys, bucket: str) -> list[Lag]:
    journal: str = keys.journal(bucket)
    with hot_errors("status"):
        [backlog] = await backlogs(redis, [journal])
        groups: list[Any] = await redis.xinfo_groups(journal) if backlog else []
        lags = []
        for group in groups:
            name = group["name"].decode()
            if name in GROUPS:
                entries = backlog.get(name, 0)
                lags.append(Lag(bucket, name, entries, await _age(redis, journal, group) if entries else 0.0))
    return lags


async def _age(redis: Redis, journal: str, group: dict[str, Any]) -> float:
    """Seconds since the oldest entry that the group has not done."""
    if group["pending"]:
        pending: Any = await redis.xpending(journal, group["name"])
        oldest = pending["min"]
    else:
        later: Any = await redis.xrange(journal, min=b"(" + group["last-delivered-id"], count=1)
        oldest = later[0][0] if later else None
    if not oldest:
        return 0.0
    return round(max(0.0, time.time() - entry_order(oldest.decode())[0] / 1000), 3)


async def _oplog_window(archive: Archive) -> float | None:
    oplog = archive.database.client["local"]["oplog.rs"]
    try:
        with archive_errors("status"):
            first = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
            last = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", -1)])
    except MemorydError:
        return None
    return float(last["ts"].time - first["ts"].time) if first and last else None
