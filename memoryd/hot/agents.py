"""What Redis alone knows of agents: which of them changed last, and when each was last heard of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot.answers import whole
from memoryd.hot.clauses import scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.documents import decoded
from memoryd.keys import Keys
from memoryd.limits import HEARTBEAT_KEPT_SECONDS
from memoryd.model.agent import agent_place
from memoryd.model.document import Document
from memoryd.model.scope import Scope, from_tag


class HotAgents:
    """The agents of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def beat(self, scope: Scope, at: int, ttl_seconds: int) -> None:
        """Notes that an agent was heard of at a time in microseconds, and when it should be again."""
        with hot_errors("note a heartbeat"):
            await self._redis.set(self._keys.alive(scope), f"{at}:{at + ttl_seconds * 1_000_000}", ex=HEARTBEAT_KEPT_SECONDS)

    async def heard(self, scopes: Sequence[Scope]) -> list[tuple[int, int] | None]:
        """When each agent was last heard of, and when it is overdue; None for one of which nothing is known."""
        with hot_errors("look for heartbeats"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for scope in scopes:
                    pipe.get(self._keys.alive(scope))
                rows = await pipe.execute() if scopes else []
        found: list[tuple[int, int] | None] = []
        for row in rows:
            at, _, until = (row or b"").decode().partition(":")
            found.append((int(at), int(until)) if row else None)
        return found

    async def silence(self, scope: Scope) -> None:
        """Forgets when an agent was heard of."""
        with hot_errors("forget a heartbeat"):
            await self._redis.delete(self._keys.alive(scope))

    async def newest(self, scope: Scope, count: int) -> list[Document]:
        """The states of the scope's agents that are here, those that changed last first."""
        clause = scope_clause(Scope(scope.tenant, scope.project, scope.agent))
        query = ["FT.SEARCH", names.index("agent_state"), str(clause), *clause.arguments(), "RETURN", 1, "$",
                 "SORTBY", "updated_at", "DESC", "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip
        with hot_errors("list agents"):
            answer: Any = await self._redis.execute_command(*query)
        rows = [row[b"extra_attributes"] for row in whole(answer, "list agents")[b"results"]]
        return [_document(row[b"$"]) for row in rows if b"$" in row]


def _document(raw: bytes) -> Document:
    place = msgspec.json.decode(raw)
    scope = Scope(*(from_tag(place[name]) for name in ("tenant", "project", "agent_id")))
    return decoded(agent_place(scope), raw)
