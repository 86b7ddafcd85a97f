"""Ids that the indexes know, found by what is exactly so: for whom it matters which memories there are, not which are best."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.clock import to_microseconds
from memoryd.hot.answers import id_of, rows_of_each, whole
from memoryd.hot.clauses import NAMED_MAX, Clause, Filters, kinds_of, scope_clause
from memoryd.hot.client import hot_errors
from memoryd.limits import FORGET_PLAN_MAX
from memoryd.model.episode import EpisodeFilter
from memoryd.model.memory import Tier
from memoryd.model.scope import Scope


async def key_batches(redis: Redis, match: str, size: int, *, count: int, kind: str | None = None) -> AsyncIterator[list[str]]:
    """The keys of a pattern, and of a kind of value where one is named, so many at a time; `count` are looked at in one step."""
    batch: list[str] = []
    async for key in redis.scan_iter(match=match, count=count, _type=kind):
        batch.append(key.decode())
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def matching_ids(redis: Redis, scope: Scope, filters: Filters, most: int) -> list[str]:
    """The ids of the scope's memories that pass the filters, as far as indexed; at most `most` of each kind. Raises
    Overloaded."""
    return await _ids(redis, [_all_of(names.index(kind), scope_clause(scope, filters), most) for kind in kinds_of(filters)])


async def happened(redis: Redis, scope: Scope, since: datetime, before: datetime, most: int) -> list[str]:
    """The ids of the scope's memories that became true in this time, as far as indexed; at most `most` of each kind. Raises
    Overloaded."""
    clause = scope_clause(scope)
    clause.between("valid_from", to_microseconds(since), to_microseconds(before) - 1)
    return await _ids(redis, [_all_of(names.index(kind), clause, most) for kind in names.KINDS])


async def naming(redis: Redis, scope: Scope, field: str, memory_ids: Sequence[str]) -> set[str]:
    """The ids of the scope's memories whose `derived_from` or `related` names one of these, as far as indexed."""
    queries = []
    for start in range(0, len(memory_ids), NAMED_MAX):
        for kind in names.KINDS:
            clause = scope_clause(scope)
            clause.tag(field, memory_ids[start : start + NAMED_MAX])
            queries.append(_all_of(names.index(kind), clause))
    return set(await _ids(redis, queries))


async def saying(redis: Redis, scope: Scope, content_hash: str, count: int) -> list[str]:
    """The ids of the scope's memories with this content, as far as indexed; a few."""
    queries = []
    for kind in names.KINDS:
        clause = scope_clause(scope)
        clause.tag("content_hash", [content_hash])
        queries.append(_all_of(names.index(kind), clause, count))
    return (await _ids(redis, queries))[:count]


async def newest_events(redis: Redis, scope: Scope, wanted: EpisodeFilter, count: int) -> list[str]:
    """The ids of the scope's newest events that fit and live here."""
    clause = scope_clause(scope, Filters(episodes=wanted))
    query = ["FT.SEARCH", names.index("episodic"), str(clause), *clause.arguments(), "NOCONTENT",
             "SORTBY", "valid_from", "DESC", "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip
    with hot_errors("search episodes"):
        answer: Any = await redis.execute_command(*query)  # type: ignore[no-untyped-call]
    return [id_of(row) for row in whole(answer, "search episodes")[b"results"]]


async def indexed(redis: Redis, kind: str, memory_ids: Sequence[str]) -> set[str]:
    """Those of the memories that the index of a kind has, whoever's: for the daemon's own work, never for a caller."""
    queries = []
    for start in range(0, len(memory_ids), NAMED_MAX):
        clause = Clause()
        clause.tag("id", memory_ids[start : start + NAMED_MAX])
        queries.append(_all_of(names.index(kind), clause, NAMED_MAX))
    return set(await _ids(redis, queries))


async def in_tier(redis: Redis, tier: Tier, count: int) -> list[str]:
    """The keys of some records of a tier, whoever's: for the daemon's own work, never for a caller."""
    found: list[str] = []
    with hot_errors("look at a tier"):
        for kind in names.KINDS:
            clause = Clause()
            clause.tag("tier", [tier])
            answer: Any = await redis.execute_command(  # type: ignore[no-untyped-call]
                "FT.SEARCH", names.index(kind), str(clause), *clause.arguments(), "NOCONTENT", "LIMIT", 0, count,
                "DIALECT", 2,
            )  # fmt: skip
            found += [row[b"id"].decode() for row in answer[b"results"]]
    return found


async def _ids(redis: Redis, queries: Iterable[list[Any]]) -> list[str]:
    """The ids that queries without contents find, in one round trip. Raises Overloaded."""
    return [id_of(row) for rows in await rows_of_each(redis, queries) for row in rows]


def _all_of(index: str, clause: Clause, count: int = FORGET_PLAN_MAX + 1) -> list[Any]:
    return ["FT.SEARCH", index, str(clause), *clause.arguments(), "NOCONTENT", "LIMIT", 0, count, "DIALECT", 2]
