"""The archive's writes and reads. Every write is conditional on a lower stored version, so repeating it is harmless."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pymongo
from bson.errors import BSONError
from bson.timestamp import Timestamp
from pymongo import AsyncMongoClient, DeleteMany, InsertOne, ReplaceOne, UpdateMany
from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from memoryd.archive.batch import Batch, Operation, Vector, attach, judge, touch, up_to
from memoryd.archive.codec import Document, completed, from_bson_vector, to_record
from memoryd.archive.driver import mend_waits
from memoryd.archive.packing import PACKED, Packing
from memoryd.breaker import Breaker
from memoryd.clock import EPOCH, to_microseconds
from memoryd.errors import ArchiveUnavailable, MemorydError
from memoryd.limits import ARCHIVE_ANSWER_SECONDS
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import Record, seal
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

DUPLICATE_KEY = 11000
# The server's state is the reason, not what was asked: it is going away, is no longer primary, has no majority, no time, no
# room on its disk, or has lost a cursor or its session by a restart (PyMongo then asks on without one: PYTHON-5436). The
# same succeeds later, or on the next one.
NOT_NOW = frozenset({
    6, 7, 24, 43, 50, 64, 89, 91, 100, 112, 133, 134, 189, 202, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436,
    14031, 50736, 50737, 50738,
})  # fmt: skip
NOT_ALLOWED = frozenset({13, 18})  # nor is it the reason when we may not write at all
NAMED_MAX = 1_000  # ids that one query looks for
# A write counts when a majority has it in its journal: it survives the loss of any one server.
MAJORITY = WriteConcern(w="majority", j=True, wtimeout=10_000)



def open_mongo(url: str) -> AsyncMongoClient[Document]:
    """A client that gives up on an absent server after 2 s: its callers have a backlog or a degraded answer."""
    mend_waits()
    return AsyncMongoClient(
        url, serverSelectionTimeoutMS=2_000, connectTimeoutMS=2_000, socketTimeoutMS=20_000, maxPoolSize=32
    )


class ArchiveRefused(MemorydError):
    """MongoDB answers, and refuses this."""

    @property
    def for_its_content(self) -> bool:
        """Whether another document might be taken."""
        return self.details["mongo_code"] not in NOT_ALLOWED


@contextmanager
def archive_errors(doing: str) -> Iterator[None]:
    """Turns the driver's errors into ours. Their own text may quote documents."""
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout) as error:
        raise ArchiveUnavailable(f"{doing}: MongoDB does not answer ({type(error).__name__})") from error
    except (PyMongoError, BSONError) as error:
        code = _code_of(error)
        if code in NOT_NOW:
            raise ArchiveUnavailable(f"{doing}: MongoDB cannot do it now (code {code})") from error
        what = f"{doing}: MongoDB refused ({type(error).__name__}, code {code})"
        raise ArchiveRefused(what, mongo_code=code) from error


def _code_of(error: Exception) -> int | None:
    """MongoDB's code; of a bulk write the first write's, because its own says only that it was one."""
    if isinstance(error, BulkWriteError):
        codes: list[int] = [one["code"] for one in error.details["writeErrors"] if one["code"] != DUPLICATE_KEY]
        return codes[0]
    return getattr(error, "code", None)


class Archive:
    """The archive of one database."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self.memories = database.get_collection(
            "memories", write_concern=MAJORITY, read_concern=ReadConcern("majority")
        )
        self.versions = database.get_collection("versions", write_concern=MAJORITY)
        self.database = database
        self.packing = Packing(self)
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
            found = self.memories.find({**_living(scope), "content_hash": content_hash}, {"version": 1}).limit(count)
            return {one["_id"]: int(one["version"]) async for one in found}

    async def count(self, scope: Scope) -> int:
        """How many memories the scope holds in the archive."""
        with self.asking("stats"):
            return await self.memories.count_documents(_living(scope))

    async def ids_after(self, scope: Scope, after: str, count: int, *, types: Sequence[str]) -> list[str]:
        """The ids of the scope's memories of these types that are not of the tier archive: the first ones after an id."""
        query = {**_living(scope), "memory_type": {"$in": list(types)}, "tier": {"$ne": Tier.ARCHIVE}, "_id": {"$gt": after}}
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
                self.memories.find(_living(scope), {"embedding": 0}).sort("recorded_at", 1).allow_disk_use(True)
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
        query = _living(scope)
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
            query = {**_living(scope), **_naming(field, some)}
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

    async def past(self, memory_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The versions that the history holds of the memories."""
        with archive_errors("read"):
            found = self.versions.find({"memory_id": {"$in": list(memory_ids)}}, {"memory_id": 1, "version": 1})
            return [(one["memory_id"], int(one["version"])) async for one in found]

    async def past_made_of(self, scope: Scope, memory_ids: Sequence[str]) -> list[Document]:
        """The versions in the project's history that were made of the memories: whose, of what, and when."""
        query = {"tenant": scope.tenant, "project": scope.project, **_naming("derived_from", memory_ids)}
        wanted = {"memory_id": 1, "version": 1, "derived_from": 1, "recorded_at": 1}
        with archive_errors("read"):
            return [one async for one in self.versions.find(query, wanted)]

    async def drop_versions(self, version_ids: Sequence[str]) -> None:
        """Removes these documents from the history."""
        with archive_errors("forget"):
            await write_unordered(self.versions, [DeleteMany({"_id": {"$in": list(version_ids)}})] if version_ids else [])

    async def count_versions(self, memory_ids: Sequence[str]) -> int:
        """How many versions of these memories the history holds."""
        with self.asking("forget"):
            return await self.versions.count_documents({"memory_id": {"$in": list(memory_ids)}})

    async def write(self, batch: Batch) -> list[str]:
        """Writes a batch; returns the ids whose current document was refused because the archive holds another.

        Current documents go first: once a tombstone stands, no older version can come after it. A version that was
        inserted beside a tombstone from another archiver is removed again, so nothing forgotten stays.
        """
        with archive_errors("archive"):
            refused = await self._write_current(batch.current, batch.known)
            await self._write_versions(list(batch.versions.values()))
            await self.bury_past({one["memory_id"] for one in batch.versions.values()} | set(batch.forgotten))
            # A memory that was stored again after its forget has a tombstone no more; its old versions go all the same.
            await write_unordered(self.versions, up_to(batch.forgotten))
            await self._write_vectors(batch.vectors)
            await self._unhear(list(batch.forgotten))
            await write_unordered(self.memories, [touch(one) for one in batch.touches])
            await write_unordered(self.memories, [judge(one) for one in batch.verdicts])
        return refused

    async def _write_current(self, documents: Mapping[str, Document], known: Mapping[str, bool]) -> list[str]:
        # A tombstone also goes over an equal version: forgetting wins.
        operations: list[Operation] = [
            ReplaceOne(
                {"_id": one["_id"], "version": {"$lte" if one.get("tombstone") else "$lt": one["version"]}},
                one,
                upsert=not known.get(one["_id"], False),
            )
            for one in documents.values()
        ]
        duplicates = await write_unordered(self.memories, operations)
        ids = list(documents)
        return [ids[index] for index in duplicates]

    async def _write_versions(self, documents: Sequence[Document]) -> None:
        """Inserts each once. A number that another Redis has given to another change is kept beside that one."""
        known = await write_unordered(self.versions, [InsertOne(one) for one in documents])
        if known:
            twins = {one["_id"]: one for one in (documents[index] for index in known)}
            found = self.versions.find({"_id": {"$in": list(twins)}}, {"seal": 1})
            others = [twins[other["_id"]] async for other in found if other.get("seal") != twins[other["_id"]]["seal"]]
            await self._write_beside(others)

    async def _write_beside(self, documents: Sequence[Document]) -> None:
        beside = [InsertOne[Document]({**one, "_id": f"{one['_id']}:{one['seal'][:16]}"}) for one in documents]
        await write_unordered(self.versions, beside)

    async def bury_past(self, memory_ids: Iterable[str]) -> None:
        """Removes what the history holds of those of the memories that have a tombstone."""
        stones = self.memories.find({"_id": {"$in": list(memory_ids)}, "tombstone": True}, {"version": 1})
        await write_unordered(self.versions, up_to({one["_id"]: one["version"] async for one in stones}))

    async def _write_vectors(self, vectors: Sequence[Vector]) -> None:
        await write_unordered(self.memories, [attach("_id", one) for one in vectors])
        await write_unordered(self.versions, [attach("memory_id", one) for one in vectors])

    async def _unhear(self, forgotten: Sequence[str]) -> None:
        """Takes the vectors of archived events that followed what is forgotten: they have a trace of it, and nobody makes
        new ones there."""
        heard = {"follows": {"$in": forgotten}, "tier": "archive"}
        gone = {"$unset": {"embedding": ""}, "$set": {"embedding_model": ""}}
        if forgotten and (ids := [one["_id"] async for one in self.memories.find(heard, {"_id": 1})]):
            await write_unordered(self.versions, [UpdateMany({"memory_id": {"$in": ids}}, gone)])
            await write_unordered(self.memories, [UpdateMany({"_id": {"$in": ids}, **heard}, gone)])

    async def archived_before(self, documents: Sequence[Document]) -> list[str]:
        """The ids of those documents that the history has as they are. It comes second: they were in `memories` then."""
        wanted = {f"{one['_id']}:{one['version']}": one for one in documents}
        with archive_errors("archive"):
            found = self.versions.find({"_id": {"$in": list(wanted)}}, {"seal": 1})
            same = [wanted[one["_id"]] async for one in found if one.get("seal") == wanted[one["_id"]]["seal"]]
        return [one["_id"] for one in same]

    async def unseen(self, versions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those versions of memories that have not been archived."""
        wanted = {f"{memory_id}:{version}": (memory_id, version) for memory_id, version in versions}
        with archive_errors("archive"):
            async for document in self.versions.find({"_id": {"$in": list(wanted)}}, {"_id": 1}):
                del wanted[document["_id"]]
        return set(wanted.values())

    async def keep_edit(self, document: Document) -> None:
        """Adds to the history what a person wrote and nobody has followed; its number may be another's as well."""
        with archive_errors("archive"):
            await self._write_beside([_version_of(document, "updated")])

    async def replace(self, many: Sequence[tuple[Document, Document]]) -> list[bool]:
        """Puts a document in the place of each that matches; whether it stands there now. The others have changed meanwhile."""
        with archive_errors("replace"):
            matched, _ = await _write(self.memories, [ReplaceOne(match, document) for match, document in many])
            if matched == len(many):
                return [True] * len(many)
            wanted = {"_id": {"$in": [document["_id"] for _, document in many]}}
            # Another sync may have put the same content there, with the same version, at its own time.
            found = self.memories.find(wanted, dict.fromkeys(WRITTEN_AS, 1))
            there = {one["_id"]: [one.get(name) for name in WRITTEN_AS] async for one in found}
        return [there.get(one["_id"]) == [one[name] for name in WRITTEN_AS] for _, one in many]

    async def keep_adopted(self, documents: Sequence[Document]) -> list[str]:
        """Adds to the history what somebody else wrote, as it stands now; those of its versions that stood there already."""
        versions = [_version_of(one, "updated") for one in documents]
        with archive_errors("keep"):
            known = await write_unordered(self.versions, [InsertOne(one) for one in versions])
            await self.bury_past([one["_id"] for one in documents])  # it may have been forgotten since
        return [versions[index]["_id"] for index in known]

    async def buried_since(self, moment: Timestamp) -> AsyncIterator[dict[str, int]]:
        """The memories whose tombstones have been written since then, some at a time, with the versions that they forget."""
        query = {"tombstone": True, "archived": {"$gte": moment}}
        async for documents in self.batches(query, NAMED_MAX, {"version": 1}):
            yield {one["_id"]: int(one["version"]) for one in documents}

    async def forget_versions(self, forgotten: Mapping[str, int]) -> None:
        """Removes what `versions` holds of memories up to the versions at which they were forgotten."""
        with archive_errors("archive"):
            await write_unordered(self.versions, up_to(forgotten))


WRITTEN_AS = ("version", "seal", "recorded_at")  # who wrote a document, and nobody else, has written these together
LIVING: Document = {"tombstone": {"$ne": True}, "seal": {"$exists": True}}


def _version_of(document: Document, op: str) -> Document:
    """A document as the history keeps it."""
    return {**document, "_id": f"{document['_id']}:{document['version']}", "memory_id": document["_id"], "op": op}


def _living(scope: Scope) -> Document:
    """Matches the scope's memories that are not forgotten. One that a person has just inserted is none before sync took it."""
    query: Document = {"tenant": scope.tenant, "project": scope.project, **LIVING}
    if scope.agent:
        query["agent_id"] = scope.agent
    if scope.session:
        query["session_id"] = scope.session
    return query


def _naming(field: str, memory_ids: Sequence[str]) -> Document:
    # The second condition is that of the partial indexes.
    return {field: {"$in": list(memory_ids)}, f"{field}.0": {"$exists": True}}


def _left_out(with_text: bool) -> Document:
    return {"embedding": 0} if with_text else {"embedding": 0, "content": 0, PACKED: 0, "metadata": 0}


def whole(document: Document) -> Memory:
    """The memory of a living document, of which text may be left out; what a person has unset is as for a new one."""
    try:
        return to_record({"content": "", "metadata": {}, **document}).memory
    except KeyError:
        return to_record(completed({"content": "", "metadata": {}, "version": 1, **document}, EPOCH)).memory


async def write_unordered(collection: Any, operations: Sequence[Operation]) -> list[int]:
    """One unordered bulk write; returns the indexes that met an equal or higher version. Other errors are raised.

    Of two archivers that write two versions of what is not there yet, both find nothing lower and both insert: the higher
    one may be refused beside a lower. So what was refused is written once more, over what is there by then.
    """
    refused = await _write_once(collection, operations)
    again = [index for index in refused if isinstance(operations[index], ReplaceOne)]
    twice = await _write_once(collection, [operations[index] for index in again])
    gone_in = set(again) - {again[index] for index in twice}
    return [index for index in refused if index not in gone_in]


async def _write_once(collection: Any, operations: Sequence[Operation]) -> list[int]:
    return (await _write(collection, operations))[1] if operations else []


async def _write(collection: Any, operations: Sequence[Operation]) -> tuple[int, list[int]]:
    """How many documents it has met, and the indexes of what was refused as a duplicate."""
    try:
        done = await collection.bulk_write(operations, ordered=False)
    except BulkWriteError as error:
        failures = error.details.get("writeErrors", [])
        codes = {one["code"] for one in failures} - {DUPLICATE_KEY}
        if error.details.get("writeConcernErrors") or codes & NOT_NOW:
            raise ArchiveUnavailable("archive: MongoDB has not confirmed the write to a majority") from error
        if codes:
            raise
        return int(error.details["nMatched"]), [int(one["index"]) for one in failures]
    return int(done.matched_count), []
