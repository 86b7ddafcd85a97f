"""The follower's place in the change stream, kept in the Redis that it fills.

It belongs there: a Redis that loses its last second loses the place of that second too, and a Redis that was emptied
has no place, so that it is filled from the beginning. Beside it stands which collection this Redis was compared with
whole: what is missing there later was taken out by somebody. What is missing in another collection was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from bson import json_util
from redis.asyncio import Redis

from memoryd.clock import Clock, to_microseconds
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors, run_of
from memoryd.hot.lease import Lease
from memoryd.keys import FOLLOWER_LEASE, FOLLOWER_PLACE


@dataclass(frozen=True)
class Place:
    """A resume token, and when it was saved (microseconds since 1970)."""

    token: Mapping[str, Any]
    saved_at: int


class Places:
    """Loads and saves the place; only the holder of the lease can save."""

    def __init__(self, redis: Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._run = ""

    async def load(self) -> Place | None:
        """Where to go on, None at the beginning. What is saved from now on counts for this run of Redis only."""
        self._run = await run_of(self._redis)
        with hot_errors("load the follower's place"):
            raw = cast("dict[bytes, bytes]", await self._redis.hgetall(FOLLOWER_PLACE))
        return Place(json_util.loads(raw[b"token"].decode()), int(raw[b"saved_at"])) if b"token" in raw else None

    async def save(self, token: Mapping[str, Any], lease: Lease, *, compared_with: str = "") -> bool:
        """Saves the place after its effects, and after a whole comparison which collection that was with.

        False when the lease has passed on, or Redis was restarted since `load`.
        """
        keys = [FOLLOWER_PLACE, FOLLOWER_LEASE]
        with hot_errors("save the follower's place"):
            saved = await scripts.save_place(
                self._redis, keys,
                [lease.holder, json_util.dumps(token), to_microseconds(self._clock.now()), self._run, compared_with],
            )  # fmt: skip
        return bool(saved)

    async def drop(self, why: str) -> None:
        """Forgets the place, so that the next start copies everything, and notes why (`look` tells it)."""
        now = to_microseconds(self._clock.now())
        with hot_errors("drop the follower's place"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hdel(FOLLOWER_PLACE, "token", "saved_at")
                pipe.hset(FOLLOWER_PLACE, mapping={"lost_at": now, "lost_why": why})
                await pipe.execute()


@dataclass(frozen=True)
class Beside:
    """The resume token, as MongoDB writes it; when the place was lost last and why, and when both stores were last compared
    whole (microseconds since 1970)."""

    token: str = ""
    lost_at: int | None = None
    why: str = ""
    compared_at: int | None = None


async def look(redis: Redis) -> Beside:
    """The place for people, with what stands beside it. Raises HotUnavailable."""
    with hot_errors("look at the follower's place"):
        raw = cast("dict[bytes, bytes]", await redis.hgetall(FOLLOWER_PLACE))
    lost, compared = raw.get(b"lost_at"), raw.get(b"compared_at")
    return Beside(
        token=str(json_util.loads(raw[b"token"].decode()).get("_data", "")) if b"token" in raw else "",
        lost_at=int(lost) if lost else None, why=raw.get(b"lost_why", b"").decode(),
        compared_at=int(compared) if compared else None,
    )  # fmt: skip


async def compared_with(redis: Redis) -> str:
    """The identity of the collection that this Redis was last compared with whole; empty before the first time."""
    with hot_errors("look at the follower's place"):
        known = cast("bytes | None", await redis.hget(FOLLOWER_PLACE, "collection"))
    return (known or b"").decode()
