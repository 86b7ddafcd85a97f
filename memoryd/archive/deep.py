"""What is not in Redis by meaning, and by a whole text: an exact scan over the vectors of a scope, some at a time, within bounds
of memory and time. That is the tier `archive`, and every tier while an emptied Redis is being filled. MongoDB narrows by scope
and filters, and cosines are computed here. In a large scope an index may say which vectors to look at (`vector_search`).

What is nearest comes with its content and becomes a candidate like any other: ranked by the same signals, by the same scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from memoryd.archive.codec import Document
from memoryd.archive.store import Archive
from memoryd.archive.words import narrowed, within
from memoryd.clock import to_microseconds
from memoryd.hot.briefs import Brief, numbered
from memoryd.hot.clauses import Filters
from memoryd.hot.rows import Candidates
from memoryd.hot.search import QueryVector
from memoryd.keys import kind_of
from memoryd.limits import CANDIDATES_MAX, DEEP_BATCH_MAX, DEEP_SECONDS_MAX, SCANNED_MEMORIES_MAX
from memoryd.model.facets import facets_of
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.question import Narrowing
from memoryd.model.scope import Scope, to_tag
from memoryd.model.speech import speaker_of
from memoryd.model.terms import terms_of
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, tell

ARCHIVE = "archive"
_WANTED = {"embedding": 1, "embedding_model": 1, "content_hash": 1, "memory_type": 1, "valid_from": 1, "valid_until": 1}
_HEAD = 2  # bytes of a BSON vector before its numbers


@dataclass
class Deep(Candidates):
    """What a scan found."""

    looked_at: int = 0
    """Memories that pass the filters; where an index was asked, at least so many."""
    quoted: set[str] = field(default_factory=set)
    """Whose text is the question, to the letter."""
    cut: bool = False
    """Whether the time was over before the end."""


@dataclass
class _Look:
    """What came of looking at memories."""

    best: list[tuple[float, str]] = field(default_factory=list)
    looked_at: int = 0
    quoted: set[str] = field(default_factory=set)
    cut: bool = False


@inside(telemetry.SEARCH_ARCHIVE)
async def nearest(
    archive: Archive, scope: Scope, filters: Filters, vector: QueryVector | None, content_hash: str, *,
    tiers: Collection[Tier], seconds: float | None,
) -> Deep:  # fmt: skip
    """The memories of the scope, of these tiers, that are nearest to a vector, and those whose text is the question's. Raises
    ArchiveUnavailable."""
    end = asyncio.get_running_loop().time() + (DEEP_SECONDS_MAX if seconds is None else min(seconds, DEEP_SECONDS_MAX))
    query = {**within(scope, filters, *tiers), **narrowed(filters.among)}
    look = partial(_looked, archive, filters.among, vector, content_hash, end)
    with archive.asking("recall"):
        indexed = set(tiers) == {Tier.ARCHIVE} and _asks_mongo_all(filters.among)
        proposed = await archive.vector_search.proposed(scope, query, vector, end) if vector and indexed else None
        found = await look({**query, "_id": {"$in": proposed}}) if proposed else _Look()
        if by_index := len(found.best) == CANDIDATES_MAX:
            same = await look({**query, "content_hash": content_hash})
            found = _Look(found.best, SCANNED_MEMORIES_MAX, found.quoted | same.quoted, found.cut or same.cut)
        else:
            if proposed is not None:
                archive.vector_search.in_vain(scope)
            found = await look(query)
    deep = Deep(looked_at=found.looked_at, quoted=found.quoted, cut=found.cut)
    likeness = {memory_id: value for value, memory_id in found.best}
    for memory in (await archive.contents(sorted(likeness.keys() | found.quoted))).values():
        if memory.tier in tiers and memory.seen_from(scope):
            deep.rows[memory.id] = _brief(memory)
            if memory.id in likeness:
                deep.similarity[memory.id] = likeness[memory.id]
    tell({
        telemetry.SEARCHED: deep.looked_at, telemetry.SEARCHED_BY: "index" if by_index else "scan",
        telemetry.CANDIDATES: len(deep.rows), **telemetry.range_of(likeness.values()),
    })  # fmt: skip
    return deep


async def _looked(
    archive: Archive, among: Narrowing, vector: QueryVector | None, content_hash: str, end: float, query: Document
) -> _Look:
    """What matches a query, looked at until the end or until the time is over."""
    found = _Look()
    fields = {**_WANTED, "metadata": 1} if among.metadata else _WANTED
    cursor = archive.memories.find(query, fields, batch_size=DEEP_BATCH_MAX)
    try:
        while documents := await cursor.to_list(DEEP_BATCH_MAX):
            passing = [one for one in documents if _passes(one, among)]
            found.looked_at += len(passing)
            found.quoted |= {one["_id"] for one in passing if one["content_hash"] == content_hash}
            if vector:
                found.best = await asyncio.to_thread(_best, found.best, passing, vector)
            if asyncio.get_running_loop().time() > end:
                found.cut = True
                break
    finally:
        await cursor.close()
    return found


def _best(best: list[tuple[float, str]], documents: Sequence[Document], vector: QueryVector) -> list[tuple[float, str]]:
    """The nearest of what was best so far and of these; ties by id."""
    asked = np.frombuffer(vector.vector, dtype="<f4")
    for size, kind in ((1, "i1"), (4, "<f4")):  # a byte a dimension in the tier archive, a float in the others
        some = [one for one in documents if _fits(one, vector.model, size * len(asked))]
        if some:
            numbers = np.frombuffer(b"".join(bytes(one["embedding"])[_HEAD:] for one in some), dtype=kind)
            table = numbers.reshape(len(some), -1).astype("<f4")
            sizes = np.linalg.norm(table, axis=1) * (float(np.linalg.norm(asked)) or 1.0)
            cosines = (table @ asked) / np.maximum(sizes, 1e-9)
            best = [*best, *zip(cosines.tolist(), (one["_id"] for one in some), strict=True)]
    return sorted(best, key=lambda one: (-one[0], one[1]))[:CANDIDATES_MAX]


def _fits(document: Document, model: str, size: int) -> bool:
    """Whether it has a vector of this model, of so many bytes."""
    return document["embedding_model"] == model and len(bytes(document.get("embedding") or b"")) == _HEAD + size


def _asks_mongo_all(among: Narrowing) -> bool:
    """Whether `_passes` has nothing to add: else the nearest that an index proposes might all fail it."""
    return among.valid_since is None and not among.metadata


def _passes(document: Document, among: Narrowing) -> bool:
    """What MongoDB was not asked: as `Clause.true_since` and the index's facets have it."""
    if among.valid_since is not None:
        since, until = to_microseconds(among.valid_since), document.get("valid_until")
        moment = document["memory_type"] == MemoryType.EPISODIC
        if not (until > since if until is not None else not moment or document["valid_from"] >= since):
            return False
    has = set(facets_of(document["metadata"]).split(",")) if among.metadata else set()
    return all(has & set(wanted) for wanted in among.facets())


def _brief(memory: Memory) -> Brief:
    session = (to_tag(memory.agent_id), to_tag(memory.session_id)) if memory.session_id else ("", "")
    terms = terms_of(memory.content, memory.metadata)
    return Brief(
        memory.id, kind_of(memory.memory_type), terms, speaker_of(memory.metadata), session, memory.follows, memory.importance,
        to_microseconds(memory.valid_from), memory.feedback, numbered(terms), tier=ARCHIVE,
    )  # fmt: skip


def asked_for(among: Narrowing, *, deep: bool, filling: bool) -> list[Tier]:
    """In which tiers a question is looked for here: a deep one in the archive, any in the others while Redis is being filled."""
    tiers = [*([Tier.ARCHIVE] if deep else []), *([Tier.SHORT, Tier.LONG] if filling else [])]
    return [one for one in tiers if not among.tiers or one in among.tiers]
