"""What remains in Redis of memories that were forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.hot.client import hot_errors
from memoryd.keys import Keys
from memoryd.model.record import Tombstone
from memoryd.model.scope import Scope, from_tag


class Tombstones:
    """The tombstones of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def versions(self, memory_ids: Sequence[str]) -> dict[str, int]:
        """Those of the memories that were forgotten, each with the version of its tombstone."""
        return {memory_id: stone.version for memory_id, stone in (await self.of(memory_ids)).items()}

    async def of(self, memory_ids: Sequence[str]) -> dict[str, Tombstone]:
        """What remains here of those of the memories that were forgotten, in one round trip. A later life may follow."""
        with hot_errors("get"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for memory_id in memory_ids:
                    pipe.get(self._keys.tombstone(memory_id))
                stones = await pipe.execute()
        found = zip(memory_ids, stones, strict=True)
        return {memory_id: read_tombstone(raw) for memory_id, raw in found if raw}

    async def inside(self, scope: Scope, memory_id: str) -> Tombstone | None:
        """What remains here of a memory that this scope held."""
        with hot_errors("get"):
            raw: Any = await self._redis.get(self._keys.tombstone(memory_id))
        if raw is None:
            return None
        stone = read_tombstone(raw)
        return stone if scope.holds(stone.scope) else None


def rename(stone: Tombstone, by: Callable[[str], str]) -> Tombstone:
    """The tombstone with its names as tags (`to_tag`), as scripts copy them from records, or back (`from_tag`)."""
    names_ = {field: by(getattr(stone, field)) for field in ("tenant", "project", "agent_id", "session_id")}
    return msgspec.structs.replace(stone, **names_)


def read_tombstone(raw: bytes) -> Tombstone:
    """A tombstone as its key holds it."""
    return rename(msgspec.json.decode(raw, type=Tombstone, strict=False), from_tag)
