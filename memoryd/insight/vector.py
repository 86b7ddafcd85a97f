"""The vector of a memory, for the query of what is like it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import NotFound
from memoryd.hot.clauses import scope_clause
from memoryd.hot.client import hot_errors
from memoryd.model.ids import check_id
from memoryd.model.scope import Scope


async def vector_of(redis: Redis, scope: Scope, memory_id: str) -> bytes | None:
    """The vector as Redis has it, whatever session the memory is of; None while it has none. Raises NotFound, HotUnavailable."""
    check_id("id", memory_id)
    of_agent = replace(scope, session="")
    for kind in names.KINDS:
        clause = scope_clause(of_agent)
        clause.tag("id", [memory_id])
        query = ["FT.SEARCH", names.index(kind), str(clause), *clause.arguments(), "RETURN", 1, "embedding", "DIALECT", 2]
        with hot_errors("look for the memory"):
            answer: Any = await redis.execute_command(*query)  # type: ignore[no-untyped-call]
        for row in answer[b"results"]:
            vector: bytes | None = row[b"extra_attributes"].get(b"embedding")
            return vector
    raise NotFound(f"{memory_id}: Redis holds no such memory of this scope", id=memory_id)
