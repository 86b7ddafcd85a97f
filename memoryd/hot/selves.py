"""What Redis knows of an agent while the archive does not answer: counts and samples of what lives here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.clock import to_microseconds
from memoryd.hot import counting
from memoryd.hot.answers import id_of, whole
from memoryd.hot.clauses import Clause, Filters, scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.model.episode import EpisodeFilter
from memoryd.model.introspection import AGES, OLDER, Counts, Event
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope, from_tag

EVENT_FIELDS = ("event_type", "source_tool", "outcome", "error_kind", "latency_us", "valid_from")


class HotSelf:
    """The agents of one Redis."""

    name = "hot"

    def __init__(self, redis: Redis, records: Records) -> None:
        self._redis: Any = redis
        self._records = records

    async def counts(self, scope: Scope, now: datetime) -> Counts:
        """How many memories the scope has here, by type, tier and age."""
        found = await counting.count(self._records.redis, scope)
        counts = Counts()
        counts.by_type.update(found.by_type)
        counts.by_tier.update(found.by_tier)
        younger = 0
        for name, age in AGES.items():
            total = await self._younger(scope, to_microseconds(now - age) + 1)
            counts.by_age[name] = total - younger
            younger = total
        counts.by_age[OLDER] = sum(found.by_type.values()) - younger
        counts.by_age = +counts.by_age  # those that there are
        return counts

    async def newest(self, scope: Scope, limit: int) -> list[Memory]:
        """The memories that were stored last."""
        found = await self._sorted(scope, "created_at", "DESC", limit)
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)[:limit]

    async def oldest(self, scope: Scope) -> list[Memory]:
        """The memory that was stored first."""
        return sorted(await self._sorted(scope, "created_at", "ASC", 1), key=lambda one: one.created_at)[:1]

    async def most_used(self, scope: Scope, limit: int) -> list[Memory]:
        """The memories that were stored again most often."""
        found = [one for one in await self._sorted(scope, "access_count", "DESC", limit) if one.access_count]
        return sorted(found, key=lambda one: (-one.access_count, one.id))[:limit]

    async def events(self, scope: Scope, since: int, limit: int) -> list[Event]:
        """The newest events of the scope's logs that happened since a time in microseconds."""
        clause = scope_clause(scope, Filters(episodes=EpisodeFilter(since=since)))
        load = ["@__key", *(f"@{name}" for name in EVENT_FIELDS)]
        query = ["FT.AGGREGATE", names.index("episodic"), str(clause), *clause.arguments(), "LOAD", len(load), *load,
                 "SORTBY", 2, "@valid_from", "DESC", "MAX", limit, "LIMIT", 0, limit, "DIALECT", 2]  # fmt: skip
        with hot_errors("read events"):
            answer: Any = await self._redis.execute_command(*query)
        return [_event(row[b"extra_attributes"]) for row in whole(answer, "read events")[b"results"]]

    async def _younger(self, scope: Scope, least: int) -> int:
        clauses = [scope_clause(scope) for _ in names.KINDS]
        for one in clauses:
            one.between("created_at", least, None)
        answers = await self._of_kinds(clauses, ["LIMIT", 0, 0], "count memories")
        return sum(int(one[b"total_results"]) for one in answers)

    async def _sorted(self, scope: Scope, name: str, order: str, limit: int) -> list[Memory]:
        tail = ["NOCONTENT", "SORTBY", name, order, "LIMIT", 0, limit]
        answers = await self._of_kinds([scope_clause(scope) for _ in names.KINDS], tail, "look at memories")
        ids = [id_of(row) for one in answers for row in one[b"results"]]
        return list((await self._records.get_many(scope, ids)).values()) if ids else []

    async def _of_kinds(self, clauses: Sequence[Clause], tail: Sequence[Any], doing: str) -> list[Any]:
        """The answers of all indexes to one question."""
        with hot_errors(doing):
            async with self._redis.pipeline(transaction=False) as pipe:
                for kind, clause in zip(names.KINDS, clauses, strict=True):
                    words = ["FT.SEARCH", names.index(kind), str(clause), *clause.arguments(), *tail, "DIALECT", 2]
                    pipe.execute_command(*words)
                answers = await pipe.execute()
        return [whole(one, doing) for one in answers]


def _event(fields: dict[bytes, bytes]) -> Event:
    text = {name.decode(): value.decode() for name, value in fields.items() if value is not None}
    named = {name: from_tag(text.get(name, "")) for name in ("event_type", "source_tool", "outcome", "error_kind")}
    latency = text.get("latency_us")
    return Event(
        id=text["__key"][-names.ID_CHARS:], event_type=named["event_type"], tool=named["source_tool"], outcome=named["outcome"],
        error_kind=named["error_kind"], latency_us=int(latency) if latency else None, at=int(text["valid_from"]),
    )  # fmt: skip
