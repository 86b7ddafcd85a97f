"""The memories of the archive: reads, and the writes that do not come from the journal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pymongo
from bson.timestamp import Timestamp
from pymongo import ReplaceOne
from pymongo.read_concern import ReadConcern

from memoryd.archive.bulk import write_counted
from memoryd.archive.client import MAJORITY, archive_errors
from memoryd.archive.codec import Document, from_bson_vector, to_record
from memoryd.archive.history import History
from memoryd.archive.living import LIVING, living_in, naming, whole
from memoryd.archive.packing import PACKED, Packing
from memoryd.archive.vector_search import VectorSearch
from memoryd.breaker import Breaker
from memoryd.clock import to_microseconds
from memoryd.errors import ArchiveUnavailable
from memoryd.limits import ARCHIVE_ANSWER_SECONDS
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import Record, seal
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

NAMED_MAX = 1_000  # ids that one query looks for


class Archive:
    """The archive of one database."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self.memories = database.get_collection(
            "memories", write_concern=MAJORITY, read_concern=ReadConcern("majority")
        )
        self.versions = database.get_collection("versions", write_concern=MAJORITY)
        self.database = database
        self.packing = Packing(self)
        self.history = History(self)
        self.vector_search = VectorSearch(database)
        self.breaker = Breaker(ArchiveUnavailable, store="archive")

    @contextmanager
    def asking(self, doing: str) -> Iterator[None]:
        """For what an agent waits for: fails soon when MongoDB does not answer, and at once while it is known to be away."""
        away = partial(ArchiveUnavailable, f"{doing}: MongoDB is away")
        with self.breaker.guard(away), archive_errors(doing), pymongo.timeout(ARCHIVE_ANSWER_SECONDS):
            yield

    def collection(self, name: str) -> Any:
        """A collection of documents, read and written as a majority has them."""
        return self.database.get_collection(name, write_concern=MAJORITY, read_concern=ReadConcern("majority"))

    async def ping(self) -> None:
        """Raises ArchiveUnavailable unless the server answers."""
        with archive_errors("ping"):
            await self.database.command("ping")

    async def until_a_majority_has_all(self) -> None:
        """Returns when what `memories` is read from has every write that any server had when this was called.

        A change stream that is opened without a token begins after the newest write, and reads see what a majority has: a write
        of the last milliseconds would be in neither. Raises ArchiveUnavailable.
        """
        with archive_errors("read"):
            async with self.database.client.start_session(causal_consistency=True) as session:
                await self.database.command("ping", session=session)  # tells the session how far the primary is
                await self.memories.find_one({}, {"_id": 1}, session=session)  # is answered when a majority is as far

    async def get(self, memory_id: str) -> Document | None:
        """The document of a memory or its tombstone."""
        with self.asking("get"):
            found = await self.memories.find_one({"_id": memory_id})
            return (await self.packing.opened([found]))[0] if found else None

    async def as_of(self, memory_ids: Iterable[str], moment: Timestamp) -> dict[str, Document]:
        """Those of the documents that are there, packed or not, as a majority has them at that moment or later."""
        with archive_errors("read"):
            async with self.database.client.start_session(causal_consistency=True) as session:
                session.advance_operation_time(moment)  # a new primary may know of it later than who has told of it
                found = self.memories.find({"_id": {"$in": list(memory_ids)}}, batch_size=NAMED_MAX, session=session)
                return {one["_id"]: one async for one in found}

    async def get_memory(self, scope: Scope, memory_id: str) -> Record | None:
        """The memory, if this scope holds it and it is not forgotten."""
        record = await self.visible(scope, memory_id)
        return record if record and scope.holds(record.memory.scope) else None

    async def visible(self, scope: Scope, memory_id: str) -> Record | None:
        """The same, also if another agent shares it with the scope's."""
        document = await self.get(memory_id)
        if document is None or document.get("tombstone") or "seal" not in document:
            return None
        record = to_record(document)
        return record if record.memory.seen_from(scope) else None

    async def sealed(self, memory_ids: Sequence[str]) -> AsyncIterator[Document]:
        """Those of the documents that memoryd wrote, perhaps edited since; without their vectors."""
        if memory_ids:
            with archive_errors("read"):
                wanted = {"_id": {"$in": list(memory_ids)}, "seal": {"$exists": True}}
                async for document in self.memories.find(wanted, {"embedding": 0}):
                    yield (await self.packing.opened([document]))[0]

    async def living_with(self, memory_ids: Sequence[str], content_hash: str) -> dict[str, int]:
        """Those of the memories that are not forgotten and have this content, with their versions."""
        wanted = {"_id": {"$in": list(memory_ids)}, "content_hash": content_hash, "tombstone": {"$ne": True}}
        with self.asking("get"):
            return {one["_id"]: int(one["version"]) async for one in self.memories.find(wanted, {"version": 1})}

    async def saying(self, scope: Scope, content_hash: str, count: int) -> dict[str, int]:
        """The scope's memories with this content, a few, each with its version."""
        with self.asking("seen"):
            found = self.memories.find({**living_in(scope), "content_hash": content_hash}, {"version": 1}).limit(count)
            return {one["_id"]: int(one["version"]) async for one in found}

    async def count(self, scope: Scope) -> int:
        """How many memories the scope holds in the archive."""
        with self.asking("stats"):
            return await self.memories.count_documents(living_in(scope))

    async def ids_after(self, scope: Scope, after: str, count: int, *, types: Sequence[str]) -> list[str]:
        """The ids of the scope's memories of these types that are not of the tier archive: the first ones after an id."""
        query = {**living_in(scope), "memory_type": {"$in": list(types)}, "tier": {"$ne": Tier.ARCHIVE}, "_id": {"$gt": after}}
        with archive_errors("read"):
            return [one["_id"] async for one in self.memories.find(query, {"_id": 1}).sort("_id", 1).limit(count)]

    async def projects(self) -> list[Scope]:
        """Every project that has a memory here, in order."""
        with archive_errors("read"):
            cursor = await self.memories.aggregate(
                [{"$match": LIVING}, {"$group": {"_id": {"tenant": "$tenant", "project": "$project"}}}, {"$sort": {"_id": 1}}]
            )
            return [Scope(one["_id"]["tenant"], one["_id"]["project"]) async for one in cursor]

    async def identity(self) -> str:
        """Which collection `memories` is now: one that was dropped and made again is another. Empty when there is none."""
        with archive_errors("read"):
            found = await self.database.list_collections(filter={"name": self.memories.name})
            return "".join([str(one["info"].get("uuid", "")) async for one in found])

    async def size(self) -> int:
        """About how many documents `memories` holds, tombstones included: for progress bars."""
        with archive_errors("read"):
            return await self.memories.estimated_document_count()

    async def export(self, scope: Scope) -> AsyncIterator[Memory]:
        """Every memory of the scope, oldest first, without holding them all."""
        with archive_errors("export"):
            async for document in (
                self.memories.find(living_in(scope), {"embedding": 0}).sort("recorded_at", 1).allow_disk_use(True)
            ):
                [whole] = await self.packing.opened([document])
                yield to_record(whole).memory

    async def batches(
        self, query: Document, size: int, projection: Document | None = None
    ) -> AsyncIterator[list[Document]]:
        """The documents of `memories` that match, `size` at a time; contents in the clear."""
        batch: list[Document] = []
        with archive_errors("read"):
            async for document in self.memories.find(query, projection, batch_size=size):
                batch.append(document)
                if len(batch) >= size:
                    yield await self.packing.opened(batch)
                    batch = []
            if batch:
                yield await self.packing.opened(batch)

    # --- for a forget ---------------------------------------------------------------------------------------------

    async def each(
        self,
        scope: Scope,
        *,
        types: Iterable[str] = (),
        tags: Iterable[str] = (),
        before: datetime | None = None,
        size: int,
        with_text: bool = True,
    ) -> AsyncIterator[list[Memory]]:
        """The scope's memories that may fit, `size` at a time. Without text, content and metadata are left out."""
        query = living_in(scope)
        if types:
            query["memory_type"] = {"$in": sorted(types)}
        if tags:
            query["tags"] = {"$in": sorted(tags)}
        if before is not None:
            query["created_at"] = {"$lt": to_microseconds(before)}
        async for documents in self.batches(query, size, _left_out(with_text)):
            yield [whole(one) for one in documents]

    async def living(self, memory_ids: Sequence[str], *, with_text: bool = True) -> dict[str, Memory]:
        """Those of the memories that live in the archive."""
        found: dict[str, Memory] = {}
        query = {"_id": {"$in": list(memory_ids)}, **LIVING}
        async for documents in self.batches(query, NAMED_MAX, _left_out(with_text)):
            found |= {one["_id"]: whole(one) for one in documents}
        return found

    async def records(self, memory_ids: Sequence[str]) -> dict[str, Record]:
        """Those of the memories that live in the archive, each with its vector. A document that somebody else has changed
        is left out until sync has given it a version."""
        found: dict[str, Record] = {}
        query = {"_id": {"$in": list(memory_ids)}, **LIVING}
        async for documents in self.batches(query, NAMED_MAX):
            for one in documents:
                with contextlib.suppress(KeyError, ValueError, TypeError, OverflowError):  # no whole memory of ours
                    record = to_record(one)
                    if one["seal"] == seal(record.memory):
                        found[record.memory.id] = record
        return found

    async def contents(self, memory_ids: Sequence[str]) -> dict[str, Memory]:
        """Those of the memories that live here, for somebody who waits for their content."""
        query = {"_id": {"$in": list(memory_ids)}, **LIVING}
        with self.asking("read contents"):
            found = await self.memories.find(query, {"embedding": 0}, batch_size=NAMED_MAX).to_list(None)  # one round trip
            return {one["_id"]: whole(one) for one in await self.packing.opened(found)}

    async def vectors(self, memory_ids: Sequence[str]) -> dict[str, bytes]:
        """The vectors of those of the memories that have one here, as float32."""
        found: dict[str, bytes] = {}
        query = {"_id": {"$in": list(memory_ids)}, "embedding": {"$exists": True}}
        async for documents in self.batches(query, NAMED_MAX, {"embedding": 1}):
            found |= {one["_id"]: from_bson_vector(one["embedding"]) for one in documents}
        return found

    async def naming(self, scope: Scope, field: str, memory_ids: Sequence[str]) -> set[str]:
        """The ids of the scope's living memories whose `derived_from` or `related` names one of these."""
        found: set[str] = set()
        for start in range(0, len(memory_ids), NAMED_MAX):
            some = list(memory_ids[start : start + NAMED_MAX])
            query = {**living_in(scope), **naming(field, some)}
            async for documents in self.batches(query, NAMED_MAX, {"_id": 1}):
                found |= {one["_id"] for one in documents}
        return found

    async def states(self, memory_ids: Sequence[str]) -> dict[str, Document]:
        """What the archive holds of the memories now: version, and tombstone and time where they are forgotten."""
        wanted = {"version": 1, "tombstone": 1, "forgotten_at": 1, "tenant": 1, "project": 1}
        found: dict[str, Document] = {}
        async for documents in self.batches({"_id": {"$in": list(memory_ids)}}, NAMED_MAX, wanted):
            found |= {one["_id"]: one for one in documents}
        return found

    async def replace(self, many: Sequence[tuple[Document, Document]]) -> list[bool]:
        """Puts a document in the place of each that matches; whether it stands there now. The others have changed meanwhile."""
        with archive_errors("replace"):
            matched, _ = await write_counted(self.memories, [ReplaceOne(match, document) for match, document in many])
            if matched == len(many):
                return [True] * len(many)
            wanted = {"_id": {"$in": [document["_id"] for _, document in many]}}
            # Another sync may have put the same content there, with the same version, at its own time.
            found = self.memories.find(wanted, dict.fromkeys(WRITTEN_AS, 1))
            there = {one["_id"]: [one.get(name) for name in WRITTEN_AS] async for one in found}
        return [there.get(one["_id"]) == [one[name] for name in WRITTEN_AS] for _, one in many]

    async def buried_since(self, moment: Timestamp) -> AsyncIterator[dict[str, int]]:
        """The memories whose tombstones have been written since then, some at a time, with the versions that they forget."""
        query = {"tombstone": True, "archived": {"$gte": moment}}
        async for documents in self.batches(query, NAMED_MAX, {"version": 1}):
            yield {one["_id"]: int(one["version"]) for one in documents}


WRITTEN_AS = ("version", "seal", "recorded_at")  # who wrote a document, and nobody else, has written these together


def _left_out(with_text: bool) -> Document:
    return {"embedding": 0} if with_text else {"embedding": 0, "content": 0, PACKED: 0, "metadata": 0}
