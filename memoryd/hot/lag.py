"""How far behind the journal's followers and the follower of MongoDB are, as Redis knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.clock import SystemClock, to_microseconds
from memoryd.hot.client import entry_order, hot_errors
from memoryd.hot.journal import GROUPS, backlogs
from memoryd.keys import Keys


class Lag(msgspec.Struct, frozen=True):
    """What one follower has still to do in one bucket's journal."""

    bucket: str
    follower: str
    entries: int
    seconds: float
    """The age of the oldest entry that it has not done."""


class Following(msgspec.Struct, frozen=True):
    """Who follows MongoDB's changes, and since when the place in them has not moved."""

    holder: str
    """Empty when nobody holds the lease."""
    place_age_seconds: float | None
    """How long ago the place was saved; None before the first time."""


async def lags(redis: Redis, keys: Keys) -> list[Lag]:
    """Of each follower in each bucket that has a journal. Raises HotUnavailable."""
    journals = [keys.journal(bucket) for bucket in keys.all_buckets()]
    return [
        lag
        for bucket, journal, backlog in zip(keys.all_buckets(), journals, await backlogs(redis, journals), strict=True)
        for lag in await _of_bucket(redis, bucket, journal, backlog)
    ]


def behind(found: Sequence[Lag], follower: str) -> tuple[int, float]:
    """How many entries a follower is behind in all buckets, and for how many seconds the oldest of them waits."""
    mine = [one for one in found if one.follower == follower]
    return sum(one.entries for one in mine), max((one.seconds for one in mine), default=0.0)


async def following(redis: Redis) -> Following:
    """The state of the follower of MongoDB. Raises HotUnavailable."""
    client: Any = redis
    with hot_errors("look at the follower"):
        async with client.pipeline(transaction=False) as pipe:
            pipe.get(names.FOLLOWER_LEASE)
            pipe.hget(names.FOLLOWER_PLACE, "saved_at")
            holder, saved_at = await pipe.execute()
    now = to_microseconds(SystemClock().now())
    return Following((holder or b"").decode(), round((now - int(saved_at)) / 1e6, 3) if saved_at else None)


async def _of_bucket(redis: Redis, bucket: str, journal: str, backlog: dict[str, int]) -> list[Lag]:
    found = []
    with hot_errors("look at the journal"):
        groups: list[Any] = await redis.xinfo_groups(journal) if any(backlog.values()) else []
        ages = {group["name"].decode(): group for group in groups}
        for name in GROUPS:
            if entries := backlog.get(name, 0):
                found.append(Lag(bucket, name, entries, await _age(redis, journal, ages[name])))
            elif name in backlog:
                found.append(Lag(bucket, name, 0, 0.0))
    return found


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
    return round(age_of(oldest), 3)


def age_of(entry_id: bytes) -> float:
    """How long ago an entry of a stream was added, in seconds."""
    return max(0.0, time.time() - entry_order(entry_id.decode())[0] / 1000)
