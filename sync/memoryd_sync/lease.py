"""The right to be the one active follower of a Redis; the others stand by and take over when it lapses."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.keys import FOLLOWER_FENCE, FOLLOWER_LEASE
from memoryd.limits import LEASE_SECONDS

RENEW_SECONDS = LEASE_SECONDS / 4  # three renewals may fail before another takes over


class Lease:
    """Held by name and fence; each new holder gets a higher fence, so that an old one can be told apart."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._fence: int | None = None

    @property
    def holder(self) -> str:
        """What the lease's key holds while it is ours."""
        return f"{self._name}:{self.fence}"

    @property
    def fence(self) -> int:
        """Higher than every earlier holder's; 0 while the lease is not held."""
        return self._fence or 0

    async def hold(self) -> bool:
        """Takes or renews the lease; True while it is ours."""
        self._fence = await self._ask(int(LEASE_SECONDS * 1000))
        return self._fence is not None

    async def renew(self) -> bool:
        """Renews the lease; False when it is not ours any more: it has lapsed, or Redis was emptied with all in it."""
        self._fence = await self._ask(int(LEASE_SECONDS * 1000), only_renew=True)
        return self._fence is not None

    async def give_back(self) -> None:
        """Lets the next follower begin at once."""
        await self._ask(0)
        self._fence = None

    async def _ask(self, ttl_ms: int, *, only_renew: bool = False) -> int | None:
        fence = "" if self._fence is None else self._fence
        with hot_errors("follower's lease"):
            answer = await scripts.lease(
                self._redis, [FOLLOWER_LEASE, FOLLOWER_FENCE], [self._name, fence, ttl_ms, int(only_renew)]
            )
        return int(answer) if answer else None
