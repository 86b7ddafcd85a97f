"""The vector of a memory, for the query of what is like it."""

from __future__ import annotations

from typing import Any, cast

from msgspec.structs import replace
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import NotFound
from memoryd.hot.clauses import scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import HALF, float32_of, to_hot_vector
from memoryd.model.ids import check_id
from memoryd.model.scope import Scope


async def vector_of(redis: Redis, scope: Scope, memory_id: str) -> tuple[bytes, bytes] | None:
    """The vector as the index has those of whole records, and as it has those of light ones, whatever session the memory is
    of; None while it has none. Raises NotFound, HotUnavailable."""
    check_id("id", memory_id)
    of_agent = replace(scope, session="")
    for kind in names.KINDS:
        clause = scope_clause(of_agent)
        clause.tag("id", [memory_id])
        query = ["FT.SEARCH", names.index(kind), str(clause), *clause.arguments(), "RETURN", 2, "embedding", "half",
                 "DIALECT", 2]  # fmt: skip
        with hot_errors("look for the memory"):
            answer: Any = await redis.execute_command(*query)  # type: ignore[no-untyped-call]
            datatype = (await cast("Any", redis).hget(names.SCHEMA, "datatype") or b"float32").decode()
        for row in answer[b"results"]:
            fields = row[b"extra_attributes"]
            vector = float32_of(fields.get(b"embedding"), fields.get(b"half"), datatype)
            return (to_hot_vector(vector, datatype), to_hot_vector(vector, HALF)) if vector else None
    raise NotFound(f"{memory_id}: Redis holds no such memory of this scope", id=memory_id)
