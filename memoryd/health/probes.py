"""The probes: each does what the service does with that part, as little of it as tells whether it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pymongo
from redis.asyncio import Redis

from memoryd.archive.store import Archive
from memoryd.embed.cache import EmbeddingCache
from memoryd.health.report import Probe
from memoryd.hot.client import hot_errors
from memoryd.hot.headroom import memory_share
from memoryd.hot.journal import GROUPS
from memoryd.hot.lag import behind, following, lags
from memoryd.keys import REQUESTS, Keys
from memoryd.limits import (
    HEALTH_EMBED_SECONDS,
    HEALTH_LAG_SECONDS,
    HEALTH_PROBE_SECONDS,
    REDIS_MEMORY_PERCENT_MAX,
)
from memoryd_schemas.indexes import KINDS, alias_of

REDIS = "redis"
REDIS_AWAY, REDIS_REFUSES, REDIS_FULL, INDEXES_MISSING = "redis away", "redis takes no writes", "redis full", "indexes missing"
ARCHIVE_AWAY, EMBEDDER_AWAY, FOLLOWER_AWAY = "archive away", "embedder away", "follower away"
FOLLOWER_BEHIND = "follower behind"
BEHIND = {"embed": "embedding behind", "archive": "archiver behind"}


def redis_answers(redis: Redis) -> Probe:
    """Redis, which nothing works without."""

    async def look() -> str:
        with hot_errors("ask"):
            await redis.echo("?")  # not PING: who cannot write its file refuses that
        return ""

    return Probe(REDIS, REDIS_AWAY, look, needed=True)


def redis_takes_writes(redis: Redis) -> Probe:
    """Whether it takes what changes something: not when its disk fails, as a replica, or without replicas that it must have."""

    async def look() -> str:
        with hot_errors("write"):
            await redis.xdel(REQUESTS, "0-0")  # refused like every write, also when there is nothing to delete, as here
        return ""

    return Probe("redis's writes", REDIS_REFUSES, look, needed=True, through=REDIS)


def redis_has_room(redis: Redis) -> Probe:
    """Its memory: a full one takes no new memories, and serves those that it has."""

    async def look() -> str:
        percent = 100 * await memory_share(redis)
        most = REDIS_MEMORY_PERCENT_MAX
        return f"uses {percent:.0f} % of its maxmemory; writes are refused from {most} % on" if percent > most else ""

    return Probe("redis's memory", REDIS_FULL, look, through=REDIS)


def indexes_there(redis: Redis) -> Probe:
    """The search indexes, under the names that queries use."""

    async def look() -> str:
        client: Any = redis
        with hot_errors("look at the indexes"):
            for kind in KINDS:
                await client.execute_command("FT.SEARCH", alias_of(kind), "*", "LIMIT", 0, 0, "TIMEOUT", 500, "DIALECT", 2)
        return ""

    return Probe("indexes", INDEXES_MISSING, look, needed=True, through=REDIS)


def archive_answers(archive: Archive, *, needed: bool = False) -> Probe:
    """MongoDB's primary."""

    async def look() -> str:
        with pymongo.timeout(HEALTH_PROBE_SECONDS * 0.8):  # so that it is the driver who says what is wrong
            await archive.ping()
        return ""

    return Probe("mongodb", ARCHIVE_AWAY, look, needed=needed)


def embedder_answers(cache: EmbeddingCache) -> Probe:
    """The model that is read, by one word. What has worked is believed for a while: an endpoint may cost money."""
    worked_until = 0.0

    async def look() -> str:
        nonlocal worked_until
        if time.monotonic() >= worked_until:
            await cache.embedder.embed(["health"])
            worked_until = time.monotonic() + HEALTH_EMBED_SECONDS
        return ""

    return Probe("embedder", EMBEDDER_AWAY, look)


def followers_keep_up(redis: Redis, keys: Keys) -> list[Probe]:
    """The followers of the journal, and the follower of MongoDB."""

    def journal(group: str) -> Probe:
        async def look() -> str:
            entries, seconds = behind(await lags(redis, keys), group)
            return f"{entries} entries behind, the oldest for {seconds:.0f} s" if seconds > HEALTH_LAG_SECONDS else ""

        return Probe(f"follower {group}", BEHIND[group], look, through=REDIS)

    async def held() -> str:
        return "" if (await following(redis)).holder else "no sync service holds the lease of the follower"

    async def follows() -> str:
        now = await following(redis)
        age = now.place_age_seconds
        if now.holder and age is not None and age > HEALTH_LAG_SECONDS:
            return f"its place in MongoDB's changes was saved {age:.0f} s ago"
        return ""

    return [
        *map(journal, GROUPS),
        Probe("follower's lease", FOLLOWER_AWAY, held, through=REDIS),
        Probe("follower", FOLLOWER_BEHIND, follows, through=REDIS),
    ]


def prepared(done: asyncio.Event) -> Probe:
    """Whether a process has brought its stores up to date once."""

    async def look() -> str:
        return "" if done.is_set() else "the stores are not prepared yet"

    return Probe("preparation", "starting", look, needed=True)


def of_daemon(redis: Redis, archive: Archive, keys: Keys, cache: EmbeddingCache | None) -> Sequence[Probe]:
    """What a daemon stands on; `cache` is in front of its model, None without one."""
    model = [embedder_answers(cache)] if cache else []
    return [
        redis_answers(redis), redis_takes_writes(redis), indexes_there(redis), redis_has_room(redis), archive_answers(archive),
        *model, *followers_keep_up(redis, keys),
    ]  # fmt: skip


def of_sync(redis: Redis, archive: Archive, keys: Keys, done: asyncio.Event) -> Sequence[Probe]:
    """What the sync service stands on; it can do nothing without either store."""
    return [
        redis_answers(redis), redis_takes_writes(redis), archive_answers(archive, needed=True), prepared(done),
        *followers_keep_up(redis, keys),
    ]  # fmt: skip
