"""Searches for candidates: they bring the stamps of briefs as one list, and briefs only where one is not known here.

A result of its own for each candidate, even an empty one, costs Redis and its client more than the search (measured: 355 of
them 4 to 5 ms, their stamps in one list 1 ms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd import keys as names
from memoryd.hot.briefs import LIGHT_BRIEF, Brief, Briefs, light_brief, to_brief
from memoryd.hot.client import hot_errors
from memoryd.limits import LISTED_MAX, UNKNOWN_FEW_MAX
from memoryd.model.scope import Scope, to_tag


@dataclass(frozen=True)
class Met:
    """What one query has found: candidates, and how near each is to the question's vector where that was asked for, by id."""

    briefs: Sequence[Brief] = ()
    similarity: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """What to look for in the index of a kind, and how many candidates it brings at most: the newest, or the nearest."""

    kind: str
    text: str
    arguments: Sequence[Any]
    most: int
    nearest: bool = False

    def for_stamps(self) -> list[Any]:
        """The command whose answer is one row: the stamps in one list, the distances in another, in the same order.

        A sample that has room for all is all of them as they came. TOLIST compares what it lists, and needs the two in one
        text (measured: of 419 nearest 1.5 ms of Redis instead of 2.1).
        """
        newest = [] if self.nearest else ["SORTBY", 2, "@created_at", "DESC", "MAX", self.most]
        distances = _all("@distance", "distances") if self.nearest else []
        listed = ["GROUPBY", 0, *_all("@stamp", "stamps"), *distances, "REDUCE", "COUNT", 0, "AS", "count"]
        return ["FT.AGGREGATE", names.index(self.kind), self.text, *self.arguments, *newest, *listed, "DIALECT", 2]

    def for_briefs(self) -> list[Any]:
        """The same search, whose answer has the briefs."""
        fields = ["stamp", "brief", *(["distance"] if self.nearest else [])]
        order = ["SORTBY", "distance"] if self.nearest else ["SORTBY", "created_at", "DESC"]
        return ["FT.SEARCH", names.index(self.kind), self.text, *self.arguments, "RETURN", len(fields), *fields, *order,
                "LIMIT", 0, self.most, "DIALECT", 2]  # fmt: skip

    def for_briefs_of(self, stamps: Sequence[int]) -> list[Any]:
        """The same search, whose answer has the briefs of those with these stamps alone."""
        these = "||".join(f"@stamp=={one}" for one in stamps)
        return ["FT.AGGREGATE", names.index(self.kind), self.text, *self.arguments, "FILTER", these,
                "LOAD", 3, "@__key", "@stamp", "@brief", "LIMIT", 0, len(stamps), "DIALECT", 2]  # fmt: skip

    def for_distances(self) -> list[Any]:
        """The same search for the nearest, whose answer has their keys and distances alone."""
        return ["FT.SEARCH", names.index(self.kind), self.text, *self.arguments, "RETURN", 1, "distance", "SORTBY", "distance",
                "LIMIT", 0, self.most, "DIALECT", 2]  # fmt: skip


class Finder:
    """Reads the answers to queries over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._briefs = Briefs()

    async def read(self, scope: Scope, queries: Sequence[Query], answers: Sequence[Any]) -> list[Met]:
        """What each query has found; `answers` are those to their `for_stamps`. One more round trip if any is not known here.

        Raises HotUnavailable.
        """
        self._briefs.grow_old()
        asked = list(zip(queries, answers, strict=True))
        found = [self._known(scope, query, answer) for query, answer in asked]
        for most in (UNKNOWN_FEW_MAX, 0):  # a few are read alone; where one of them has changed in between, all are
            if unknown := [at for at, one in enumerate(found) if one is None]:
                few = [self._unknown(scope, *asked[at], most) for at in unknown]
                rows = await self._briefs_of([(queries[at], stamps) for at, stamps in zip(unknown, few, strict=True)])
                light = await self._light(rows)
                for at, stamps, some in zip(unknown, few, rows, strict=True):
                    met = self._learn(scope, queries[at], some, light)
                    found[at] = self._known(scope, *asked[at]) if stamps else met
        return [one or Met() for one in found]

    async def _briefs_of(self, asked: Sequence[tuple[Query, Sequence[int]]]) -> list[list[Any]]:
        """The rows with the briefs of what each query finds, or of those with these stamps, if any; in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for query, stamps in asked:
                pipe.execute_command(*(query.for_briefs_of(stamps) if stamps else query.for_briefs()))
            with hot_errors("recall"):
                answers = await pipe.execute()
        return [
            [_as_found(row) if stamps else row for row in answer[b"results"]]
            for (_, stamps), answer in zip(asked, answers, strict=True)
        ]

    async def _light(self, rows: Sequence[Sequence[Any]]) -> Mapping[bytes, bytes]:
        """The briefs of the records that have none in the rows, because they are light: by key, in one round trip."""
        keys = {one[b"id"]: None for some in rows for one in some if _lacks_brief(one)}
        if not keys:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, LIGHT_BRIEF)
            with hot_errors("recall"):
                found = await pipe.execute()
        return {key: light_brief(row) for key, row in zip(keys, found, strict=True) if any(one is not None for one in row)}

    def _unknown(self, scope: Scope, query: Query, answer: Any, most: int) -> list[int]:
        """The stamps of an answer that are not known here, if they are so few."""
        listed = _listed(query, answer)
        unknown = self._briefs.unknown(_place(scope, query), listed[0]) if listed and most else []
        return [int(one) for one in unknown] if len(unknown) <= most else []

    def _known(self, scope: Scope, query: Query, answer: Any) -> Met | None:
        """None when one of them is not known."""
        listed = _listed(query, answer)
        briefs = self._briefs.known(_place(scope, query), listed[0]) if listed else None
        if not listed or briefs is None or not query.nearest:
            return Met(briefs) if briefs is not None else None
        near = zip(briefs, map(float, listed[1]), strict=True)
        return Met(briefs, {brief.memory_id: 1.0 - distance for brief, distance in near})

    def _learn(self, scope: Scope, query: Query, rows: Sequence[Any], light: Mapping[bytes, bytes]) -> Met:
        place, briefs, similarity = _place(scope, query), list[Brief](), dict[str, float]()
        for one in rows:
            # A search that was cut short leaves empty places, and who is gone since has no fields.
            fields = one.get(b"extra_attributes") or {}
            if text := fields.get(b"brief") or light.get(one[b"id"]):
                brief = to_brief(one[b"id"][-names.ID_CHARS:].decode(), query.kind, text.decode())
                if stamp := fields.get(b"stamp"):  # what an earlier memoryd wrote has none, and is read each time
                    self._briefs.put(place, stamp, brief)
                briefs.append(brief)
                if b"distance" in fields:
                    similarity[brief.memory_id] = 1.0 - float(fields[b"distance"])
        return Met(briefs, similarity)


def _listed(query: Query, answer: Any) -> tuple[Sequence[bytes], Sequence[bytes]] | None:
    """The stamps and distances of an answer; None when they are not those of everything that was found."""
    if isinstance(answer, ResponseError):  # one of them has no stamp; if it is refused for another reason, it is again
        return None
    rows = answer[b"results"]
    fields = (rows[0].get(b"extra_attributes") or {}) if rows else {}  # a search that was cut short leaves empty places
    stamps, distances, count = fields.get(b"stamps") or (), fields.get(b"distances") or (), int(fields.get(b"count", 0))
    # One has no stamp: an earlier memoryd wrote it. Or two have the same, or there were more than a sample takes.
    if len(set(stamps)) < count or (query.nearest and len(distances) < count):
        return None
    return stamps, distances


def _as_found(row: Any) -> dict[bytes, Any]:
    """A row of an aggregation as a search has it."""
    fields = row.get(b"extra_attributes") or {}
    return {b"id": fields.get(b"__key"), b"extra_attributes": fields}


def _lacks_brief(one: Any) -> bool:
    fields = one.get(b"extra_attributes")
    return bool(fields) and b"brief" not in fields


def _all(field: str, name: str) -> list[Any]:
    return ["REDUCE", "RANDOM_SAMPLE", 2, field, LISTED_MAX, "AS", name]


def _place(scope: Scope, query: Query) -> str:
    return f"{query.kind} {to_tag(scope.tenant)} {to_tag(scope.project)}"
