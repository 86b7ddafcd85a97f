"""Memories of the tier `long` by their words: MongoDB's text index over the very terms that Redis compares (`model.terms`).

The archiver writes them beside such a memory's content, so both stores agree on what a word is, and a search brings them for
the ranking, which scores them as it scores what is hot. A term has letters and digits only: nothing that a caller writes can
become an operator of `$text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memoryd.archive.codec import Document
from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.hot.clauses import Filters
from memoryd.keys import kind_of
from memoryd.limits import CANDIDATES_MAX, SEARCH_TIMEOUT_SECONDS
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.question import Narrowing
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, tell


@dataclass
class Worded:
    """What was found by words."""

    terms: dict[str, str] = field(default_factory=dict)
    """By id."""
    kinds: dict[str, str] = field(default_factory=dict)
    counted: dict[str, int] | None = None
    """In how many memories each term is, where more have one than were brought; None: the terms of what came tell it."""


@inside(telemetry.SEARCH_LONG)
async def by_words(archive: Archive, scope: Scope, filters: Filters, terms: Sequence[str]) -> Worded:
    """The scope's memories of the tier `long` that have one of the terms, at most as many as one search in Redis brings.

    One round trip. Metadata and an event's details are not looked at here: Redis has these filters, and is asked for every
    memory that comes. Raises ArchiveUnavailable, also when it takes too long.
    """
    with archive.asking("recall"):
        cursor = await archive.memories.aggregate(_pipeline(scope, filters, terms), maxTimeMS=int(SEARCH_TIMEOUT_SECONDS * 1000))
        [answer] = await cursor.to_list(None)
    best = answer["best"]
    tell({telemetry.CANDIDATES: len(best)})
    counted = {one["_id"]: int(one["count"]) for one in answer["counts"]}
    return Worded(
        {one["_id"]: one["terms"] for one in best},
        {one["_id"]: kind_of(MemoryType(one["memory_type"])) for one in best},
        counted if len(best) == CANDIDATES_MAX else None,
    )


def _pipeline(scope: Scope, filters: Filters, terms: Sequence[str]) -> list[Document]:
    asked: Document = {"$literal": list(terms)}
    return [
        {"$match": {"$text": {"$search": " ".join(terms)}, **within(scope, filters, Tier.LONG), **narrowed(filters.among)}},
        {"$project": {"terms": 1, "memory_type": 1, "score": {"$meta": "textScore"}}},
        {
            "$facet": {
                "best": [{"$sort": {"score": -1, "_id": 1}}, {"$limit": CANDIDATES_MAX}],
                "counts": [
                    {"$project": {"term": {"$setIntersection": [{"$split": ["$terms", " "]}, asked]}}},
                    {"$unwind": "$term"},
                    {"$group": {"_id": "$term", "count": {"$sum": 1}}},
                ],
            }
        },
    ]


def within(scope: Scope, filters: Filters, *tiers: Tier) -> Document:
    """The query that keeps to a scope, and to some tiers."""
    among = tiers[0] if len(tiers) == 1 else {"$in": list(tiers)}  # one alone: as the partial index of words has it
    query: Document = {"tenant": scope.tenant, "project": scope.project, "tier": among}
    if scope.agent:
        names = ("agent_id", "shared_with") if filters.shared else ("agent_id",)
        query["$or"] = [{name: scope.agent} for name in names]
    if scope.session:
        query["session_id"] = scope.session
    return query


def narrowed(among: Narrowing) -> Document:
    """The filters that MongoDB can be asked for."""
    query: Document = {}
    if among.types:
        query["memory_type"] = {"$in": list(among.types)}
    if among.tags:
        query["tags"] = {"$in": list(among.tags)}
    if among.valid_before is not None:
        query["valid_from"] = {"$lt": to_microseconds(among.valid_before)}
    recorded: dict[str, Any] = {"$gte": among.recorded_since, "$lt": among.recorded_before}
    if times := {name: to_microseconds(moment) for name, moment in recorded.items() if moment is not None}:
        query["recorded_at"] = times
    return query
