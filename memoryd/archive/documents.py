"""Documents in the archive: the current one of each, and the parts of those that grow.

A document is written only over a lower version; a part is written once. So every write may be repeated, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.timestamp import Timestamp
from pymongo import DeleteMany, InsertOne, ReplaceOne

from memoryd.archive.batch import Operation
from memoryd.archive.bulk import write_unordered
from memoryd.archive.client import archive_errors
from memoryd.archive.codec import NOW, plain
from memoryd.archive.codec import Document as Bson
from memoryd.archive.store import NAMED_MAX, Archive
from memoryd.model.document import BOOKKEEPING, Document, Place, part_id
from memoryd.model.scope import Scope

# The collections that hold the parts of a collection's documents.
PARTS: Mapping[str, tuple[str, ...]] = {"sessions": ("messages", "checkpoints")}
PLACE = ("tenant", "project", "agent_id", "session_id")
OURS = frozenset({*BOOKKEEPING, *PLACE, "_id", "owner", "number", "tombstone", "ended_at", "traceparent", "archived"})


@dataclass(frozen=True)
class Part:
    """One part of a document, as the archive holds it."""

    number: int
    version: int
    body: dict[str, Any]


@dataclass
class DocumentBatch:
    """What one bulk write is to do with documents: collapsed, so that each is written once."""

    current: dict[tuple[str, str], Bson] = field(default_factory=dict)
    parts: dict[tuple[str, str], Bson] = field(default_factory=dict)
    ended: dict[str, tuple[str, int]] = field(default_factory=dict)

    def put(self, place: Place, version: int, body: Mapping[str, Any], traceparent: str) -> None:
        """A document at a version."""
        self._set(place, version, {**body, "traceparent": traceparent})

    def end(self, place: Place, version: int, ended_at: int) -> None:
        """The end of a document and of all its parts so far."""
        self._set(place, version, {"tombstone": True, "ended_at": ended_at, "archived": NOW})
        self.ended[place.id] = (place.collection, max(version, self.ended.get(place.id, ("", 0))[1]))

    def add_part(self, place: Place, number: int, version: int, body: Mapping[str, Any]) -> None:
        """A new part; `place` is its owner's, in the parts' collection."""
        self.parts.setdefault((place.collection, part_id(place.id, number)), _part(place, number, version, body))

    def drop_part(self, place: Place, number: int, version: int) -> None:
        """The end of one part, also of one that has not arrived yet."""
        self.parts[place.collection, part_id(place.id, number)] = _part(place, number, version, {"tombstone": True})

    def _set(self, place: Place, version: int, values: Mapping[str, Any]) -> None:
        key = (place.collection, place.id)
        if key not in self.current or self.current[key]["version"] <= version:
            self.current[key] = {**values, "_id": place.id, **_names(place.scope), "version": version}

    def owners(self) -> dict[str, set[str]]:
        """The documents that have parts here or are ended, by collection."""
        found: dict[str, set[str]] = {}
        for collection, many in PARTS.items():
            ids = {one["owner"] for (name, _), one in self.parts.items() if name in many}
            found[collection] = ids | {one for one, (name, _) in self.ended.items() if name == collection}
        return {collection: ids for collection, ids in found.items() if ids}


def owner_collection(collection: str) -> str:
    """The collection of the documents whose parts a collection holds; a collection of documents is its own."""
    return next((owner for owner, parts in PARTS.items() if collection in parts), collection)


class DocumentArchive:
    """The documents of an archive's database."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def get(self, place: Place) -> Document | None:
        """The document, if it lives."""
        found = await self.find(place)
        return None if found is None or found.get("tombstone") else to_document(place.collection, found)

    async def find(self, place: Place) -> Bson | None:
        """What the archive holds of a document: itself or its tombstone."""
        with self._archive.asking("get a document"):
            found: Bson | None = await self._archive.collection(place.collection).find_one({"_id": place.id})
            return found

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[Document]:
        """Those of the documents that live."""
        query = {"_id": {"$in": list(ids)}, "tombstone": {"$ne": True}}
        with self._archive.asking("get documents"):
            return [to_document(collection, one) async for one in self._archive.collection(collection).find(query)]

    async def page(self, collection: str, scope: Scope, *, after: str = "", limit: int) -> list[Document]:
        """Documents of the scope in the order of their ids, those behind the id `after`."""
        query = {**within(scope), "tombstone": {"$ne": True}, "_id": {"$gt": after}}
        with self._archive.asking("list documents"):
            found = self._archive.collection(collection).find(query).sort("_id", 1).limit(limit)
            return [to_document(collection, one) async for one in found]

    async def parts(self, collection: str, owner: str, *, first: int = 0, end: int | None = None) -> list[Part]:
        """The parts of a document with numbers from `first` up to below `end`, in order."""
        numbers = {"$gte": first} | ({} if end is None else {"$lt": end})
        query = {"owner": owner, "number": numbers, "tombstone": {"$ne": True}}
        with self._archive.asking("get parts"):
            found = self._archive.collection(collection).find(query).sort("number", 1)
            return [Part(int(one["number"]), int(one["version"]), _body(one)) async for one in found]

    async def versions(self, collection: str, ids: Sequence[str]) -> dict[str, int]:
        """The versions that the archive has of documents: each one's own, or a later one of its parts."""
        versions: dict[str, int] = {}
        with self._archive.asking("look through documents"):
            async for one in self._archive.collection(collection).find({"_id": {"$in": list(ids)}}, {"version": 1}):
                versions[one["_id"]] = int(one["version"])
            for parts in PARTS.get(collection, ()):
                newest = [
                    {"$match": {"owner": {"$in": list(ids)}}},
                    {"$group": {"_id": "$owner", "version": {"$max": "$version"}}},
                ]
                async for one in await self._archive.collection(parts).aggregate(newest):
                    if one["_id"] in versions:  # without its document it could not be brought back
                        versions[one["_id"]] = max(versions[one["_id"]], int(one["version"]))
        return versions

    async def count_parts(self, collection: str, first: Mapping[str, int]) -> dict[str, int]:
        """How many parts each document has with numbers from its `first` up; those without any are left out."""
        if not first:
            return {}
        wanted = {"$or": [{"owner": owner, "number": {"$gte": number}} for owner, number in first.items()]}
        steps = [{"$match": {**wanted, "tombstone": {"$ne": True}}}, {"$group": {"_id": "$owner", "n": {"$sum": 1}}}]
        with self._archive.asking("count parts"):
            return {one["_id"]: int(one["n"]) async for one in await self._archive.collection(collection).aggregate(steps)}

    async def write(self, batch: DocumentBatch) -> None:
        """Writes a batch. Documents go first: once a tombstone stands, a part that comes late finds it."""
        with archive_errors("archive documents"):
            await self._write({key: _replace(one) for key, one in batch.current.items()})
            await self._write({key: _insert(one) for key, one in batch.parts.items()})
            for collection, owners in batch.owners().items():
                stones = self._archive.collection(collection).find(
                    {"_id": {"$in": list(owners)}, "tombstone": True}, {"version": 1}
                )
                await self.bury_parts(collection, {one["_id"]: int(one["version"]) async for one in stones})
        for owner, (collection, version) in batch.ended.items():
            await self.bury_parts(collection, {owner: version})

    async def bury_since(self, moment: Timestamp) -> None:
        """Removes what there is of the parts of those documents whose tombstones have been written since then."""
        ended = {"tombstone": True, "archived": {"$gte": moment}}
        for collection in PARTS:
            with archive_errors("forget parts"):
                found = self._archive.collection(collection).find(ended, {"version": 1}, batch_size=NAMED_MAX)
                while stones := await found.to_list(NAMED_MAX):
                    await self.bury_parts(collection, {one["_id"]: int(one["version"]) for one in stones})

    async def bury_parts(self, collection: str, ended: Mapping[str, int]) -> None:
        """Removes the parts that each document had up to the version at which it was ended."""
        gone: list[Operation] = [
            DeleteMany({"owner": owner, "version": {"$lte": version}}) for owner, version in ended.items()
        ]
        with archive_errors("forget parts"):
            for parts in PARTS.get(collection, ()):
                await write_unordered(self._archive.collection(parts), gone)

    async def _write(self, operations: Mapping[tuple[str, str], Operation]) -> None:
        for name in {collection for collection, _ in operations}:
            mine: Sequence[Operation] = [one for (collection, _), one in operations.items() if collection == name]
            await write_unordered(self._archive.collection(name), mine)


def within(scope: Scope) -> Bson:
    """The query that keeps to a scope."""
    names = _names(scope)
    return {name: value for name, value in names.items() if value}


def to_document(collection: str, found: Mapping[str, Any]) -> Document:
    """The document behind what MongoDB holds."""
    scope = Scope(*(str(found[name]) for name in PLACE))
    return Document(Place(collection, found["_id"], scope), int(found["version"]), _body(found))


def _body(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in found.items() if name not in OURS}


def _names(scope: Scope) -> dict[str, str]:
    return dict(zip(PLACE, (scope.tenant, scope.project, scope.agent, scope.session), strict=True))


def _part(place: Place, number: int, version: int, body: Mapping[str, Any]) -> Bson:
    own = {"_id": part_id(place.id, number), **_names(place.scope), "owner": place.id, "number": number, "version": version}
    return {**body, **own}


def _replace(one: Bson) -> Operation:
    # A tombstone also goes over an equal version: forgetting wins.
    lower = "$lte" if one.get("tombstone") else "$lt"
    return ReplaceOne({"_id": one["_id"], "version": {lower: one["version"]}}, one, upsert=True)


def _insert(one: Bson) -> Operation:
    return ReplaceOne({"_id": one["_id"]}, one, upsert=True) if one.get("tombstone") else InsertOne(one)
