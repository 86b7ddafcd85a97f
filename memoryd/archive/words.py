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
    quoted: set[str] = field(default_factory=set)
    """Those whose content is the question to the letter."""
    counted: dict[str, int] | None = None
    """In how many memories each term is, where more have one than were brought; None: the terms of what came tell it."""


@inside(telemetry.SEARCH_LONG)
async def by_words(archive: Archive, scope: Scope, filters: Filters, terms: Sequence[str], content_hash: str) -> Worded:
    """The scope's memories of the tier `long` that have one of the terms, at most as many as one search in Redis brings, and what
    has exactly this content.

    One round trip, and one that counts the terms where more have one of them. Metadata and an event's details are not looked at
    here: Redis has these filters, and is asked for every memory that comes. Raises ArchiveUnavailable, also when it takes too long.
    """
    best = await _asked(archive, _best(scope, filters, terms, content_hash))
    tell({telemetry.CANDIDATES: len(best)})
    crowded = bool(terms) and len(best) == CANDIDATES_MAX
    return Worded(
        {one["_id"]: one["terms"] for one in best},
        {one["_id"]: kind_of(MemoryType(one["memory_type"])) for one in best},
        {one["_id"] for one in best if one["quoted"]},
        {one["_id"]: int(one["count"]) for one in await _asked(archive, _counts(scope, filters, terms))} if crowded else None,
    )


async def _asked(archive: Archive, pipeline: list[Document]) -> list[Document]:
    with archive.asking("recall"):
        cursor = await archive.memories.aggregate(
            pipeline, maxTimeMS=int(SEARCH_TIMEOUT_SECONDS * 1000), batchSize=CANDIDATES_MAX + 1
        )
        return list(await cursor.to_list(None))


def _best(scope: Scope, filters: Filters, terms: Sequence[str], content_hash: str) -> list[Document]:
    """What is the question to the letter has its terms as well; a question without any is only looked for as it stands."""
    quoted: Document = {"$eq": ["$content_hash", content_hash]}
    score: Any = {"$meta": "textScore"} if terms else {"$literal": 0}
    return [
        _matched(scope, filters, {"$text": {"$search": " ".join(terms)}} if terms else {"content_hash": content_hash}),
        {"$project": {"terms": 1, "memory_type": 1, "quoted": quoted, "score": score}},
        {"$sort": {"quoted": -1, "score": -1, "_id": 1}},
        {"$limit": CANDIDATES_MAX},
    ]


def _counts(scope: Scope, filters: Filters, terms: Sequence[str]) -> list[Document]:
    asked: Document = {"$literal": list(terms)}
    return [
        _matched(scope, filters, {"$text": {"$search": " ".join(terms)}}),
        {"$project": {"term": {"$setIntersection": [{"$split": ["$terms", " "]}, asked]}}},
        {"$unwind": "$term"},
        {"$group": {"_id": "$term", "count": {"$sum": 1}}},
    ]


def _matched(scope: Scope, filters: Filters, by: Document) -> Document:
    return {"$match": {**by, **within(scope, filters, Tier.LONG), **narrowed(filters.among)}}


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
