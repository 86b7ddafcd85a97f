"""Questions to which nothing was found: an agent's newest, for a month. Redis alone has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.clock import from_microseconds
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.keys import Keys, request_digest
from memoryd.limits import GAPS_MAX, GAPS_TTL_SECONDS
from memoryd.model.introspection import Gap
from memoryd.model.scope import Scope

SCAN = 1000  # keys of one look: a millisecond of Redis


class Gaps:
    """The gaps of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def note(self, scope: Scope, query: str, now: int) -> None:
        """One more question of the scope's that found nothing."""
        about = msgspec.json.encode({"query": query, "session": scope.session})
        digest = request_digest(f"{scope.session}\0{query}")
        with hot_errors("note a gap"):
            await scripts.gap(self._redis, [self._keys.gaps(scope)], [digest, about, now, GAPS_MAX, GAPS_TTL_SECONDS])

    async def of(self, scope: Scope) -> list[Gap]:
        """The scope's gaps, the newest first."""
        with hot_errors("look at gaps"):
            found = [_gap(raw) for key in await self._places(scope) for raw in await self._redis.hvals(key)]
        inside = [one for one in found if scope.session in ("", one.session)]
        return sorted(inside, key=lambda one: (one.last_at, one.query), reverse=True)

    async def drop(self, scope: Scope, meant: Callable[[Gap], bool], *, dry_run: bool = False) -> int:
        """Removes those of the scope's that are meant; how many. With `dry_run` it only counts them."""
        count = 0
        with hot_errors("drop gaps"):
            for key in await self._places(scope):
                gaps = {digest: _gap(raw) for digest, raw in (await self._redis.hgetall(key)).items()}
                gone = [digest for digest, gap in gaps.items() if scope.session in ("", gap.session) and meant(gap)]
                count += len(gone)
                if gone and not dry_run:
                    await self._redis.hdel(key, *gone)
        return count

    async def _places(self, scope: Scope) -> list[str]:
        """The agent's place; those of all agents when the scope names none."""
        if scope.agent:
            return [self._keys.gaps(scope)]
        pattern = self._keys.gaps_of_all(scope)
        return [key.decode() async for key in self._redis.scan_iter(match=pattern, count=SCAN)]


def _gap(raw: bytes) -> Gap:
    values = msgspec.json.decode(raw)
    first, last = (from_microseconds(int(values[name])) for name in ("first_at", "last_at"))
    return Gap(query=values["query"], times=int(values["times"]), first_at=first, last_at=last, session=values["session"])
