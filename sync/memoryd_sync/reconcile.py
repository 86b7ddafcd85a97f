"""Reconciling: does Redis hold what MongoDB holds? Compares every memory of both in batches, and mends what differs.

It reads each side once, in the order that each side gives, and holds one batch in memory. What is still on its way
through the journal looks like a difference; so differences are looked at again before they are reported or mended.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from memoryd import keys as names
from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document
from memoryd.archive.store import Archive
from memoryd.hot import scripts
from memoryd.hot.client import entry_order, hot_errors
from memoryd.hot.codec import MEMORY_FIELDS, read_memory
from memoryd.hot.journal import LOST
from memoryd.hot.lookups import key_batches
from memoryd.hot.projecting import raise_version
from memoryd.hot.records import Records
from memoryd.keys import KINDS, Keys, kind_of
from memoryd.limits import FOLLOW_BATCH_MAX
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.record import Tombstone, seal
from memoryd.model.scope import Scope
from memoryd_sync.place import compared_with
from memoryd_sync.projector import Projector, cause_of
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span

BATCH = 500  # memories that are compared at a time: about 2 MB of usual ones
NOT_WHOLE = (KeyError, ValueError, TypeError, OverflowError)  # what building a memory raises where there is none
DIFFERENCES_MAX = 100_000  # kept for the report and the mending; more are counted, and found by the next run


class Kind(StrEnum):
    """How a memory differs, named by the side that lacks something."""

    ARCHIVE_LACKS = "archive lacks it"
    ARCHIVE_BEHIND = "archive holds an older version"
    ARCHIVE_LACKS_VECTOR = "archive lacks its vector"
    ARCHIVE_LACKS_FEEDBACK = "archive lacks feedback on it"
    ARCHIVE_LACKS_HISTORY = "archive lacks this version in its history"
    ARCHIVE_NOT_FORGOTTEN = "forgotten in Redis, alive in the archive"
    HOT_LACKS = "Redis lacks it"
    HOT_BEHIND = "Redis holds an older version"
    HOT_LACKS_VECTOR = "Redis lacks its vector"
    HOT_LACKS_FEEDBACK = "Redis lacks feedback on it"
    HOT_NOT_FORGOTTEN = "forgotten in the archive, alive in Redis"
    HOT_NOT_DELETED = "deleted in the archive by somebody, alive in Redis"
    CONTENT = "same version, other content"

    @property
    def hot_is_right(self) -> bool:
        """Whether the archive is to be mended from Redis."""
        return self.name.startswith("ARCHIVE")


@dataclass(frozen=True)
class Place:
    """Where a memory belongs."""

    memory_id: str
    scope: Scope
    memory_type: MemoryType


@dataclass(frozen=True)
class Difference:
    """One memory that the two stores do not tell the same story about."""

    place: Place
    kind: Kind


@dataclass
class Comparison:
    """The outcome: counts, digests a bucket, and the differences."""

    hot: int = 0
    archived: int = 0
    away: int = 0
    """Those of the archived that are in their tier's only place, and in no digest."""
    differences: list[Difference] = field(default_factory=list)
    differing: int = 0
    digests: dict[str, list[int]] = field(default_factory=dict)

    def add(self, difference: Difference) -> None:
        """One more difference."""
        self.differing += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(difference)

    def digest(self, bucket: str, side: int, memory_id: str, version: int, memory_seal: str) -> None:
        """Takes a memory into its bucket's digest: a sum, because the two sides come in different orders."""
        whole = hashlib.sha256(f"{memory_id}:{version}:{memory_seal}".encode()).digest()
        sums = self.digests.setdefault(bucket, [0, 0])
        sums[side] = (sums[side] + int.from_bytes(whole[:16], "big")) % 2**128


@dataclass(frozen=True)
class _Hot:
    """What Redis holds of a memory."""

    memory: Memory
    seal: str
    """Of a light record the archive's, from when its content was left there."""
    has_vector: bool
    unarchived: Sequence[str] = ()
    """Those of its journal entries that the archiver had not done."""


Progress = Callable[[int], None]


class Reconciler:
    """Compares and mends one Redis and the archive. `projector` is the follower's way into Redis."""

    def __init__(self, records: Records, archive: Archive, projector: Projector) -> None:
        self._records = records
        self._archive = archive
        self._projector = projector
        self._unreadable: set[str] = set()
        """Ids of records that are no whole memory: neither there nor missing. See `sound`."""

    async def compare(self, *, progress: Progress = lambda _: None) -> Comparison:
        """Every memory of both sides, once."""
        comparison = Comparison()
        self._unreadable.clear()
        async for batch in self._hot_batches():
            await self._compare_hot(batch, comparison)
            progress(len(batch))
        async for documents in self._archive.batches({"seal": {"$exists": True}}, BATCH, _SUMMARY):
            await self._compare_archived(documents, comparison)
            progress(len(documents))
        return comparison

    async def still_differing(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those that differ also now, with their present kind."""
        fresh = Comparison()
        for start in range(0, len(differences), BATCH):
            places = [one.place for one in differences[start : start + BATCH]]
            hot = await self._hot_of(places)
            documents = await self._documents([one.memory_id for one in places])
            await self._compare_hot(list(hot.values()), fresh)
            await self._compare_archived(list(documents.values()), fresh)
        return list({one.place.memory_id: one for one in fresh.differences}.values())

    async def mend(self, differences: Sequence[Difference], *, progress: Progress = lambda _: None) -> None:
        """Brings the side that is behind up to the other; what goes to the archive goes through the journal."""
        for start in range(0, len(differences), FOLLOW_BATCH_MAX):
            some = differences[start : start + FOLLOW_BATCH_MAX]
            await rejournal(self._records, [one.place for one in some if one.kind.hot_is_right])
            await self._mend_hot([one for one in some if not one.kind.hot_is_right])
            for one in some:
                if one.kind is Kind.HOT_NOT_DELETED:
                    await self._projector.forget_deleted(one.place.memory_id)
            progress(len(some))

    async def _mend_hot(self, differences: Sequence[Difference]) -> None:
        documents = {one["_id"]: one for one in await self._whole([one.place.memory_id for one in differences])}
        await self._projector.apply_all(list(documents.values()))
        # Both sealed, both of one version, and different: Redis's is kept above, the archive's in the history.
        places = [one.place for one in differences if one.kind is Kind.CONTENT and one.place.memory_id in documents]
        for memory_id, hot in (await self._hot_of(places)).items():
            document = documents[memory_id]
            if hot.seal != document.get("seal"):
                above, cause = int(document["version"]), cause_of(document)
                await raise_version(self._records, hot.memory, archived_version=above, traceparent=cause)

    async def _whole(self, memory_ids: Sequence[str]) -> list[Document]:
        query = {"_id": {"$in": list(memory_ids)}}
        return [one async for documents in self._archive.batches(query, FOLLOW_BATCH_MAX) for one in documents]

    # --- Redis's side ---------------------------------------------------------------------------------------------

    async def _hot_batches(self) -> AsyncIterator[list[_Hot]]:
        for kind in KINDS:
            with hot_errors("reconcile"):
                async for some in key_batches(self._records.redis, f"{names.memories(kind)}*", BATCH, count=BATCH):
                    yield await self._read(some)

    async def _hot_of(self, places: Sequence[Place]) -> dict[str, _Hot]:
        keys = [self._records.keys.memory(kind_of(one.memory_type), one.scope, one.memory_id) for one in places]
        return {one.memory.id: one for one in await self._read(keys)}

    async def _read(self, keys: Sequence[str]) -> list[_Hot]:
        names = self._records.keys
        buckets = [names.bucket(key.rpartition(":")[2]) for key in keys]
        with hot_errors("reconcile"):
            async with self._records.redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, [*MEMORY_FIELDS, *_BOOKKEEPING])
                for bucket in dict.fromkeys(buckets):
                    pipe.hget(names.place(bucket), "archive")
                answers = values_of(await pipe.execute(raise_on_error=False))
        places = dict(zip(dict.fromkeys(buckets), map(_to_order, answers[len(keys) :]), strict=True))
        found = []
        for key, row, bucket in zip(keys, answers, buckets, strict=False):
            if row is None or row[0] is not None:
                try:
                    found.append(_to_hot(row, places[bucket]))
                except NOT_WHOLE:
                    self._unreadable.add(key.rpartition(":")[2])
        return found

    async def _compare_hot(self, batch: Sequence[_Hot], comparison: Comparison) -> None:
        """Compares what Redis holds with what the archive holds of it."""
        documents = await self._documents([one.memory.id for one in batch])
        history = await self._history([one.memory for one in batch])
        absent = [one for one in batch if one.memory.id not in documents and _version_id(one.memory) in history]
        deleted = await self._deleted(absent) if absent else set()
        for one in batch:
            memory, own = one.memory, one.seal
            comparison.hot += 1
            comparison.digest(self._records.keys.bucket(memory.id), 0, memory.id, memory.version, own)
            kind = _difference(one, own, documents.get(memory.id), history)
            if kind is Kind.ARCHIVE_LACKS and memory.id in deleted:
                kind = Kind.HOT_NOT_DELETED
            if kind is not None:
                comparison.add(Difference(Place(memory.id, memory.scope, memory.memory_type), kind))

    async def _deleted(self, absent: Sequence[_Hot]) -> set[str]:
        """Those whose document somebody has deleted: the history has them, they were archived, and the collection that
        they are missing in is the one that they were in. (Of a collection that was dropped, or of an older backup, none.)

        Asked after the documents were looked for, so that none is on its way.
        """
        known = await compared_with(self._records.redis)
        if not known or known != await self._archive.identity():
            return set()
        return {one.memory.id for one in absent if not await self._on_its_way(one)}

    async def _on_its_way(self, one: _Hot) -> bool:
        """Whether the archiver had something left to do when Redis was read that gives a lost document back. What else it has to
        do does not: the history has this version, so the document was there."""
        journal = self._records.keys.journal(self._records.keys.bucket(one.memory.id))
        with hot_errors("reconcile"):
            for entry in one.unarchived:
                rows: Any = await self._records.redis.xrange(journal, min=entry, max=entry)
                if not rows or rows[0][1].get(b"known") == LOST.encode():
                    return True
        return False

    # --- the archive's side ---------------------------------------------------------------------------------------

    async def _documents(self, memory_ids: Sequence[str]) -> dict[str, Document]:
        with archive_errors("reconcile"):
            found = self._archive.memories.find({"_id": {"$in": list(memory_ids)}}, _SUMMARY)
            return {one["_id"]: one async for one in found}

    async def _history(self, memories: Sequence[Memory]) -> set[str]:
        wanted = [_version_id(one) for one in memories]
        with archive_errors("reconcile"):
            found = self._archive.versions.find({"_id": {"$in": wanted}}, {"_id": 1})
            return {one["_id"] async for one in found}

    async def _compare_archived(self, documents: Sequence[Document], comparison: Comparison) -> None:
        """Finds what only the archive has; what both have was compared from Redis's side."""
        places = {one["_id"]: place for one in documents if not one.get("tombstone") and (place := _place(one))}
        living = [one for one in documents if one["_id"] in places and one["_id"] not in self._unreadable]
        hot = await self._hot_of(list(places.values()))
        stones = await self._records.tombstones.of([one for one in places if one not in hot])
        for document in living:
            memory_id, version = document["_id"], int(document["version"])
            comparison.archived += 1
            missing = None if memory_id in hot else _why_missing(document, stones.get(memory_id))
            if missing is Kind.HOT_LACKS and document.get("tier") == Tier.ARCHIVE:
                comparison.away += 1  # where it belongs
                continue
            comparison.digest(self._records.keys.bucket(memory_id), 1, memory_id, version, document["seal"])
            if missing is not None:
                comparison.add(Difference(places[memory_id], missing))


def _why_missing(document: Document, stone: Tombstone | None) -> Kind:
    forgotten = stone is not None and stone.version >= int(document["version"])
    return Kind.ARCHIVE_NOT_FORGOTTEN if forgotten else Kind.HOT_LACKS


async def rejournal(records: Records, places: Sequence[Place]) -> int:
    """Writes memories, or their tombstones, into the journal again; returns how many entries that took."""
    if not places:
        return 0
    with linked_span(telemetry.FOLLOW, [], {telemetry.BATCH_SIZE: len(places)}), hot_errors("rejournal"):
        calls = [(_journal_keys(records.keys, place), [inject()]) for place in places]
        return sum(map(int, await scripts.rejournal.many(records.redis, calls)))


def _journal_keys(keys: Keys, place: Place) -> list[str]:
    record = keys.memory(kind_of(place.memory_type), place.scope, place.memory_id)
    return [record, keys.journal(keys.bucket(place.memory_id)), keys.tombstone(place.memory_id)]


_BOOKKEEPING = ("seal", "entries", "pending")
_SUMMARY: dict[str, Any] = {
    "version": 1, "seal": 1, "tombstone": 1, "feedback": 1, "embedding_model": 1, "tenant": 1, "project": 1, "agent_id": 1,
    "session_id": 1, "memory_type": 1, "tier": 1,
}  # fmt: skip


def _place(document: Document) -> Place | None:
    """None where it says none: see `sound`."""
    try:
        int(document["version"])
        scope = Scope(document["tenant"], document["project"], document["agent_id"], document["session_id"])
        return Place(document["_id"], scope, MemoryType(document["memory_type"])) if document["seal"] else None
    except NOT_WHOLE:
        return None


def values_of(answers: Sequence[Any]) -> list[Any]:
    """Redis's answers; None where a key holds something else than a hash. Raises what else Redis refused."""
    for one in answers:
        if isinstance(one, Exception) and "WRONGTYPE" not in str(one):
            raise one
    return [None if isinstance(one, Exception) else one for one in answers]


def _to_hot(row: Sequence[bytes | None], archived: tuple[int, int]) -> _Hot:
    sealed, entries, pending = row[-len(_BOOKKEEPING) :]
    unarchived = [one for one in (entries or b"").decode().split(",") if one and entry_order(one) > archived]
    memory = read_memory(row[: len(MEMORY_FIELDS)])
    return _Hot(memory, (sealed or b"").decode() or seal(memory), has_vector=pending != b"1", unarchived=unarchived)


def _to_order(place: bytes | None) -> tuple[int, int]:
    return entry_order((place or b"0-0").decode())


def _difference(one: _Hot, own_seal: str, document: Document | None, history: set[str]) -> Kind | None:
    """How Redis's memory and the archive's document differ, if they do."""
    version = one.memory.version
    if document is None:
        return Kind.ARCHIVE_LACKS
    archived = int(document.get("version", 0))
    if document.get("tombstone"):
        return Kind.HOT_NOT_FORGOTTEN if archived >= version else Kind.ARCHIVE_BEHIND
    if archived != version:
        return Kind.ARCHIVE_BEHIND if archived < version else Kind.HOT_BEHIND
    if document.get("seal") != own_seal:
        return Kind.CONTENT
    if one.has_vector != bool(document.get("embedding_model")):
        return Kind.ARCHIVE_LACKS_VECTOR if one.has_vector else Kind.HOT_LACKS_VECTOR
    said, said_there = one.memory.feedback.count if one.memory.feedback else 0, _said(document)
    if said != said_there:
        return Kind.ARCHIVE_LACKS_FEEDBACK if said > said_there else Kind.HOT_LACKS_FEEDBACK
    if _version_id(one.memory) not in history:
        return Kind.ARCHIVE_LACKS_HISTORY
    return None


def _version_id(memory: Memory) -> str:
    return f"{memory.id}:{memory.version}"


def _said(document: Document) -> int:
    return int((document.get("feedback") or {}).get("count", 0))
