"""What a memory of the tier `archive` looks like: its content compressed with a dictionary that its project's own texts have
trained, its vector a byte a dimension. Whoever reads a document through `Archive` gets the content as it was.

A dictionary holds pieces of the memories that it was trained on, its *samples*. When one of these is forgotten, what was
packed with it is packed anew without it, and it goes (`forget`). Packing is a transaction that names its dictionary, and so
is the end of a dictionary: nothing is ever packed with one that is gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zstandard
from bson.binary import Binary
from pymongo import UpdateOne

from memoryd.archive.codec import Document, to_bytes_vector
from memoryd.limits import (
    DICTIONARY_BYTES,
    DICTIONARY_GROWTH,
    DICTIONARY_SAMPLES_MAX,
    DICTIONARY_SAMPLES_MIN,
    PACK_BATCH_MAX,
)

if TYPE_CHECKING:
    from memoryd.archive.store import Archive

PACKED = "content_zstd"
LEVEL = 12  # of 22: beyond it a memory's few hundred bytes get hardly smaller
_FIELDS = {"content": 1, PACKED: 1, "dictionary": 1, "embedding": 1, "tenant": 1, "project": 1}


class Gone(Exception):
    """The dictionary ended between the look and the transaction."""


class Packing:
    """Packs and opens the documents of one archive. Dictionaries stay in this process once they are read."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._dictionaries = archive.collection("dictionaries")
        self._known: dict[str, zstandard.ZstdCompressionDict] = {}

    # --- reading --------------------------------------------------------------------------------------------------

    async def opened(self, documents: Sequence[Document]) -> list[Document]:
        """The documents with their contents in the clear. One that was packed keeps its frame beside it, and one whose
        content somebody has written anew loses it."""
        packed = [one for one in documents if PACKED in one and "content" not in one]
        if packed:
            await self._read(one["dictionary"] for one in packed if one.get("dictionary"))
        return [await self._open(one) if PACKED in one else one for one in documents]

    async def _open(self, document: Document) -> Document:
        if "content" in document:
            return {name: value for name, value in document.items() if name not in (PACKED, "dictionary")}
        name = document.get("dictionary")
        if name and name not in self._known:
            # Packed anew since it was read: its dictionary was trained on something that is forgotten by now.
            name = await self._again(document)
        return {**document, "content": self._decompress(document[PACKED], name)}

    async def _again(self, document: Document) -> str | None:
        collection = self._archive.versions if "memory_id" in document else self._archive.memories
        found = await collection.find_one({"_id": document["_id"]}, _FIELDS) or {}
        if PACKED in found:
            document |= {PACKED: found[PACKED], "dictionary": found.get("dictionary")}
            await self._read([found["dictionary"]] if found.get("dictionary") else [])
        return document.get("dictionary")

    async def _read(self, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - self._known.keys())
        if unknown:
            async for one in self._dictionaries.find({"_id": {"$in": unknown}}, {"bytes": 1}):
                self._known[one["_id"]] = zstandard.ZstdCompressionDict(bytes(one["bytes"]))

    def _decompress(self, frame: bytes, name: str | None) -> str:
        known = self._known[name] if name else None
        return zstandard.ZstdDecompressor(dict_data=known).decompress(bytes(frame)).decode()

    # --- packing --------------------------------------------------------------------------------------------------

    async def pack(self, memory_ids: Sequence[str]) -> None:
        """Packs those of the memories that are in the tier `archive`, and what the history holds of them. May be repeated."""
        archived = {"_id": {"$in": list(memory_ids)}, "tier": "archive", "tombstone": {"$ne": True}}
        here = [one async for one in self._archive.memories.find(archived, _FIELDS)] if memory_ids else []
        moved, ids = [one for one in here if PACKED not in one], [one["_id"] for one in here]
        past = {"memory_id": {"$in": ids}, "content": {"$exists": True}, PACKED: {"$exists": False}}
        history = [one async for one in self._archive.versions.find(past, _FIELDS)] if ids else []
        for collection, documents in ((self._archive.memories, moved), (self._archive.versions, history)):
            for place, some in _by_project(documents).items():
                await self._pack_some(collection, place, some)

    async def _pack_some(self, collection: Any, place: tuple[str, str], documents: Sequence[Document]) -> None:
        while True:
            name = await self._dictionary_for(place)
            try:
                for start in range(0, len(documents), PACK_BATCH_MAX):
                    await self._write(collection, name, documents[start : start + PACK_BATCH_MAX])
            except Gone:
                continue
            return

    async def _write(self, collection: Any, name: str | None, documents: Sequence[Document]) -> None:
        """Replaces contents by frames, if they are still what they were and the dictionary lives."""
        packer = zstandard.ZstdCompressor(level=LEVEL, dict_data=self._known[name] if name else None)
        updates = [_update(one, packer.compress(one["content"].encode()), name) for one in documents]

        async def inside(session: Any) -> None:
            if name is not None:
                living = {"_id": name, "ended": {"$exists": False}}
                # A write, so that it and the end of the dictionary cannot both be done.
                if not (await self._dictionaries.update_one(living, {"$inc": {"packings": 1}}, session=session)).matched_count:
                    raise Gone
            await collection.bulk_write(updates, ordered=False, session=session)

        await self._in_transaction(inside)

    async def _in_transaction(self, inside: Any) -> None:
        async with self._archive.database.client.start_session() as session:
            await session.with_transaction(inside)

    # --- dictionaries -----------------------------------------------------------------------------------------------

    async def _dictionary_for(self, place: tuple[str, str]) -> str | None:
        """The project's newest dictionary; a better one when it has grown enough since; None for a small project."""
        tenant, project = place
        living = {"tenant": tenant, "project": project, "ended": {"$exists": False}}
        newest = await self._dictionaries.find_one(living, {"trained_at_size": 1}, sort=[("made", -1)])
        size = await self._archive.memories.count_documents({"tenant": tenant, "project": project, "tier": "archive"})
        enough = DICTIONARY_GROWTH * newest["trained_at_size"] if newest else DICTIONARY_SAMPLES_MIN
        if size >= enough and (made := await self._train(place, size)):
            return made
        if newest is None:
            return None
        await self._read([newest["_id"]])
        return str(newest["_id"]) if newest["_id"] in self._known else None

    async def _train(self, place: tuple[str, str], size: int) -> str | None:
        tenant, project = place
        chosen: list[Document] = [{"$match": {"tenant": tenant, "project": project, "tier": "archive"}},
                                  {"$sample": {"size": DICTIONARY_SAMPLES_MAX}}, {"$project": _FIELDS}]  # fmt: skip
        sampled = [one async for one in await self._archive.memories.aggregate(chosen)]
        samples = list({one["_id"]: one for one in await self.opened(sampled)}.values())
        try:
            trained = zstandard.train_dictionary(DICTIONARY_BYTES, [one["content"].encode() for one in samples], level=LEVEL)
        except zstandard.ZstdError:
            return None  # too few texts, or none with anything in common
        name = f"dct_{secrets.token_hex(16)}"
        last = await self._dictionaries.find_one({"tenant": tenant, "project": project}, {"made": 1}, sort=[("made", -1)])
        await self._dictionaries.insert_one({
            "_id": name, "tenant": tenant, "project": project, "made": (last["made"] if last else 0) + 1,
            "trained_at_size": size, "samples": sorted(one["_id"] for one in samples), "bytes": Binary(trained.as_bytes()),
        })  # fmt: skip
        # A forget that came before the insertion has looked for dictionaries too early; its tombstone stands by now.
        states = await self._archive.states([one["_id"] for one in samples])
        if any(one["_id"] not in states or states[one["_id"]].get("tombstone") for one in samples):
            await self._dictionaries.delete_one({"_id": name})
            return None
        self._known[name] = trained
        return name

    async def trained_on(self, memory_ids: Sequence[str]) -> list[str]:
        """The dictionaries that were trained on one of these memories."""
        found = self._dictionaries.find({"samples": {"$in": list(memory_ids)}}, {"_id": 1})
        return [one["_id"] async for one in found]

    async def forget(self, memory_ids: Sequence[str]) -> None:
        """Ends the dictionaries that were trained on one of these memories, once nothing is packed with them. May be repeated."""
        for name in await self.trained_on(memory_ids):
            await self._dictionaries.update_one({"_id": name}, {"$set": {"ended": True}})
            await self._read([name])
            for collection in (self._archive.memories, self._archive.versions):
                while some := await collection.find({"dictionary": name}, _FIELDS).limit(PACK_BATCH_MAX).to_list(None):
                    for place, documents in _by_project(await self.opened(some)).items():
                        await self._pack_some(collection, place, documents)
            await self._dictionaries.delete_one({"_id": name})
            self._known.pop(name, None)


def _by_project(documents: Sequence[Document]) -> Mapping[tuple[str, str], list[Document]]:
    found: dict[tuple[str, str], list[Document]] = {}
    for one in documents:
        found.setdefault((one["tenant"], one["project"]), []).append(one)
    return found


def _update(one: Document, frame: bytes, name: str | None) -> UpdateOne:
    """The change from what was read to its packed form."""
    was = {PACKED: one[PACKED]} if PACKED in one else {"content": one["content"]}
    now: Document = {PACKED: Binary(frame)} | ({"dictionary": name} if name else {})
    if one.get("embedding") is not None:
        now["embedding"] = to_bytes_vector(one["embedding"])
    gone = {"content": ""} | ({} if name else {"dictionary": ""})
    return UpdateOne({"_id": one["_id"], **was}, {"$set": now, "$unset": gone})
