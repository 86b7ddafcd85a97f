"""A batch of the journal as it is written: each write is conditional on a lower stored version, so repeating it is harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import InsertOne, ReplaceOne, UpdateMany

from memoryd.archive.batch import Batch, Vector, attach, judge, touch
from memoryd.archive.bulk import write_unordered
from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document
from memoryd.archive.store import Archive


async def write_batch(archive: Archive, batch: Batch) -> list[str]:
    """Writes a batch; returns the ids whose current document was refused because the archive holds another.

    Current documents go first: once a tombstone stands, no older version can come after it. A version that was
    inserted beside a tombstone from another archiver is removed again, so nothing forgotten stays.
    """
    with archive_errors("archive"):
        refused = await _write_current(archive, batch.current, batch.known)
        await archive.history.add(list(batch.versions.values()))
        await archive.history.bury({one["memory_id"] for one in batch.versions.values()} | set(batch.forgotten))
        # A memory that was stored again after its forget has a tombstone no more; its old versions go all the same.
        await archive.history.forget(batch.forgotten)
        await _write_vectors(archive, batch.vectors)
        await _unhear(archive, list(batch.forgotten))
        await write_unordered(archive.memories, [touch(one) for one in batch.touches])
        await write_unordered(archive.memories, [judge(one) for one in batch.verdicts])
    return refused


async def _write_current(archive: Archive, documents: Mapping[str, Document], known: Mapping[str, bool]) -> list[str]:
    # What was stored once and is new in MongoDB, as most is, costs it a third as an insert of what an upsert with a condition does.
    new = [key for key, one in documents.items() if one["version"] == 1 and not one.get("tombstone") and not known.get(key)]
    there = await write_unordered(archive.memories, [InsertOne(documents[key]) for key in new])
    ids = sorted(documents.keys() - set(new)) + [new[index] for index in there]
    over = [_over_lower(documents[key], upsert=not known.get(key, False)) for key in ids]
    return [ids[index] for index in await write_unordered(archive.memories, over)]


def _over_lower(document: Document, *, upsert: bool) -> ReplaceOne[Document]:
    """A tombstone also goes over an equal version: forgetting wins."""
    lower = {"$lte" if document.get("tombstone") else "$lt": document["version"]}
    return ReplaceOne({"_id": document["_id"], "version": lower}, document, upsert=upsert)


async def _write_vectors(archive: Archive, vectors: Sequence[Vector]) -> None:
    await write_unordered(archive.memories, [attach("_id", one) for one in vectors])
    await write_unordered(archive.versions, [attach("memory_id", one) for one in vectors])


async def _unhear(archive: Archive, forgotten: Sequence[str]) -> None:
    """Takes the vectors that have read what is forgotten as what comes after them; and those of archived events that followed it:
    they have a trace of it, and nobody makes new ones there."""
    if not forgotten:
        return
    gone = {"$unset": {"embedding": "", "followed_by": ""}, "$set": {"embedding_model": ""}}
    read = {"followed_by": {"$in": forgotten}, "followed_by.0": {"$exists": True}}  # as the partial index has it
    heard = {"follows": {"$in": forgotten}, "tier": "archive"}
    ids = [one["_id"] async for one in archive.memories.find(heard, {"_id": 1})]
    await write_unordered(archive.versions, [UpdateMany(read, gone), UpdateMany({"memory_id": {"$in": ids}}, gone)])
    await write_unordered(archive.memories, [UpdateMany(read, gone), UpdateMany({"_id": {"$in": ids}, **heard}, gone)])
