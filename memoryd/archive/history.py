"""Everything that memories were: the collection `versions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pymongo import DeleteMany, InsertOne

from memoryd.archive.batch import Operation, up_to
from memoryd.archive.bulk import write_unordered
from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document
from memoryd.archive.living import naming
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from memoryd.archive.store import Archive


class History:
    """The versions of one archive's memories."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def of(self, memory_ids: Sequence[str]) -> list[tuple[str, int]]:
        """The versions that the history holds of the memories."""
        with archive_errors("read"):
            found = self._archive.versions.find({"memory_id": {"$in": list(memory_ids)}}, {"memory_id": 1, "version": 1})
            return [(one["memory_id"], int(one["version"])) async for one in found]

    async def made_of(self, scope: Scope, memory_ids: Sequence[str]) -> list[Document]:
        """The versions in the project's history that were made of the memories: whose, of what, and when."""
        query = {"tenant": scope.tenant, "project": scope.project, **naming("derived_from", memory_ids)}
        wanted = {"memory_id": 1, "version": 1, "derived_from": 1, "recorded_at": 1}
        with archive_errors("read"):
            return [one async for one in self._archive.versions.find(query, wanted)]

    async def count(self, memory_ids: Sequence[str]) -> int:
        """How many versions of these memories the history holds."""
        with self._archive.asking("forget"):
            return await self._archive.versions.count_documents({"memory_id": {"$in": list(memory_ids)}})

    async def archived_before(self, documents: Sequence[Document]) -> list[str]:
        """The ids of those documents that the history has as they are. It comes second: they were in `memories` then."""
        wanted = {f"{one['_id']}:{one['version']}": one for one in documents}
        with archive_errors("archive"):
            found = self._archive.versions.find({"_id": {"$in": list(wanted)}}, {"seal": 1})
            same = [wanted[one["_id"]] async for one in found if one.get("seal") == wanted[one["_id"]]["seal"]]
        return [one["_id"] for one in same]

    async def unseen(self, versions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those versions of memories that have not been archived."""
        wanted = {f"{memory_id}:{version}": (memory_id, version) for memory_id, version in versions}
        with archive_errors("archive"):
            async for document in self._archive.versions.find({"_id": {"$in": list(wanted)}}, {"_id": 1}):
                del wanted[document["_id"]]
        return set(wanted.values())

    async def add(self, documents: Sequence[Document]) -> None:
        """Inserts each once. A number that another Redis has given to another change is kept beside that one."""
        known = await write_unordered(self._archive.versions, [InsertOne(one) for one in documents])
        if known:
            twins = {one["_id"]: one for one in (documents[index] for index in known)}
            found = self._archive.versions.find({"_id": {"$in": list(twins)}}, {"seal": 1})
            others = [twins[other["_id"]] async for other in found if other.get("seal") != twins[other["_id"]]["seal"]]
            await self._write_beside(others)

    async def _write_beside(self, documents: Sequence[Document]) -> None:
        beside = [InsertOne[Document]({**one, "_id": f"{one['_id']}:{one['seal'][:16]}"}) for one in documents]
        await write_unordered(self._archive.versions, beside)

    async def keep_edit(self, document: Document) -> None:
        """Adds to the history what a person wrote and nobody has followed; its number may be another's as well."""
        with archive_errors("archive"):
            await self._write_beside([_version_of(document, "updated")])

    async def keep_adopted(self, documents: Sequence[Document]) -> list[str]:
        """Adds to the history what somebody else wrote, as it stands now; those of its versions that stood there already."""
        versions = [_version_of(one, "updated") for one in documents]
        with archive_errors("keep"):
            known = await write_unordered(self._archive.versions, [InsertOne(one) for one in versions])
            await self.bury([one["_id"] for one in documents])  # it may have been forgotten since
        return [versions[index]["_id"] for index in known]

    async def bury(self, memory_ids: Iterable[str]) -> None:
        """Removes what the history holds of those of the memories that have a tombstone."""
        stones = self._archive.memories.find({"_id": {"$in": list(memory_ids)}, "tombstone": True}, {"version": 1})
        await write_unordered(self._archive.versions, up_to({one["_id"]: one["version"] async for one in stones}))

    async def forget(self, forgotten: Mapping[str, int]) -> None:
        """Removes what `versions` holds of memories up to the versions at which they were forgotten."""
        with archive_errors("archive"):
            await write_unordered(self._archive.versions, up_to(forgotten))

    async def drop(self, version_ids: Sequence[str]) -> None:
        """Removes these documents from the history."""
        with archive_errors("forget"):
            gone: list[Operation] = [DeleteMany({"_id": {"$in": list(version_ids)}})] if version_ids else []
            await write_unordered(self._archive.versions, gone)


def _version_of(document: Document, op: str) -> Document:
    """A document as the history keeps it."""
    return {**document, "_id": f"{document['_id']}:{document['version']}", "memory_id": document["_id"], "op": op}
