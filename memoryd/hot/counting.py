"""How many memories a scope has in Redis, as far as they are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot.answers import whole
from memoryd.hot.clauses import Clause, Filters, kinds_of, scope_clause
from memoryd.hot.client import hot_errors
from memoryd.model.scope import Scope


@dataclass
class Counts:
    """Memories of a scope in Redis."""

    by_type: dict[str, int] = field(default_factory=dict)
    by_tier: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    shared: int = 0
    """Memories of others that are shared with the scope's agent; in no other count."""

    def add(self, memory_type: str, tier: str, count: int) -> None:
        """Counts `count` more."""
        self.by_type[memory_type] = self.by_type.get(memory_type, 0) + count
        self.by_tier[tier] = self.by_tier.get(tier, 0) + count


async def count(redis: Redis, scope: Scope) -> Counts:
    """How many memories of each type the scope holds here, how many wait for their vector, how many others share."""
    counts = Counts()
    with hot_errors("stats"):
        async with redis.pipeline(transaction=False) as pipe:
            for kind in names.KINDS:
                pipe.execute_command(*_by_type_and_tier(names.index(kind), scope_clause(scope)))
                pipe.execute_command(*_waiting(names.index(kind), scope_clause(scope)))
            for kind in names.KINDS if scope.agent and not scope.session else ():
                pipe.execute_command(*_shared(names.index(kind), scope))
            answers = await pipe.execute()
    own, shared = answers[: 2 * len(names.KINDS)], answers[2 * len(names.KINDS) :]
    counts.shared = sum(int(whole(one, "stats")[b"total_results"]) for one in shared)
    for grouped, waiting_answer in zip(own[::2], own[1::2], strict=True):
        for row in whole(grouped, "stats")[b"results"]:
            values = row[b"extra_attributes"]
            counts.add(values[b"memory_type"].decode(), values[b"tier"].decode(), int(values[b"n"]))
        counts.pending += int(whole(waiting_answer, "stats")[b"total_results"])
    return counts


async def matching(redis: Redis, scope: Scope, filters: Filters, terms: Sequence[str]) -> int:
    """How many memories of the scope pass the filters here, and have one of the terms if any is given."""
    with hot_errors("count"):
        async with redis.pipeline(transaction=False) as pipe:
            for kind in kinds_of(filters):
                pipe.execute_command(*counted(names.index(kind), scope_clause(scope, filters), terms))
            answers = await pipe.execute()
    return sum(int(whole(one, "count")[b"total_results"]) for one in answers)


def counted(index: str, clause: Clause, terms: Sequence[str] = (), *, seconds: float | None = None) -> list[Any]:
    """The query whose answer says how many there are, of those that have one of the terms if any is given."""
    if terms:
        clause.words(terms)
    return ["FT.SEARCH", index, str(clause), *clause.arguments(seconds), "LIMIT", 0, 0, "DIALECT", 2]


def _by_type_and_tier(index: str, clause: Clause) -> list[Any]:
    return ["FT.AGGREGATE", index, str(clause), *clause.arguments(), "GROUPBY", 2, "@memory_type", "@tier",
            "REDUCE", "COUNT", 0, "AS", "n", "DIALECT", 2]  # fmt: skip


def _waiting(index: str, clause: Clause) -> list[Any]:
    clause.tag("pending", ["1"])
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "LIMIT", 0, 0, "DIALECT", 2]


def _shared(index: str, scope: Scope) -> list[Any]:
    clause = scope_clause(Scope(scope.tenant, scope.project))
    clause.tag("shared_with", [scope.agent])
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "LIMIT", 0, 0, "DIALECT", 2]
