"""The right to be the one active follower of a Redis."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd.hot.lease import Lease
from memoryd.keys import FOLLOWER_FENCE, FOLLOWER_LEASE
from memoryd.limits import LEASE_SECONDS

RENEW_SECONDS = LEASE_SECONDS / 4  # three renewals may fail before another takes over


def follower_lease(redis: Redis, name: str) -> Lease:
    """The follower's lease, as a process of this name asks for it."""
    return Lease(
        redis, name, key=FOLLOWER_LEASE, fence_key=FOLLOWER_FENCE, seconds=LEASE_SECONDS, what="follower's lease"
    )
