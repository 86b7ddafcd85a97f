"""The right to be the one process of a fleet that does something; the others stand by and take over when it lapses."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd.hot import scripts
from memoryd.hot.client import hot_errors


class Lease:
    """Held by name and fence; each new holder gets a higher fence, so that an old one can be told apart.

    `key` is where it stands, `fence_key` where its fences are counted, `what` what it is called when Redis is away.
    """

    def __init__(self, redis: Redis, name: str, *, key: str, fence_key: str, seconds: float, what: str) -> None:
        self._redis = redis
        self._name = name
        self._keys = [key, fence_key]
        self._ttl_ms = int(seconds * 1000)
        self._what = what
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
        self._fence = await self._ask(self._ttl_ms)
        return self._fence is not None

    async def renew(self) -> bool:
        """Renews the lease; False when it is not ours any more: it has lapsed, or Redis was emptied with all in it."""
        self._fence = await self._ask(self._ttl_ms, only_renew=True)
        return self._fence is not None

    async def give_back(self) -> None:
        """Lets the next one begin at once."""
        await self._ask(0)
        self._fence = None

    async def _ask(self, ttl_ms: int, *, only_renew: bool = False) -> int | None:
        fence = "" if self._fence is None else self._fence
        with hot_errors(self._what):
            answer = await scripts.lease(self._redis, self._keys, [self._name, fence, ttl_ms, int(only_renew)])
        return int(answer) if answer else None
