"""Documents → MongoDB: their journal entries, each of which may be written again, late, or early; and a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from memoryd.archive.documents import PARTS, DocumentArchive, DocumentBatch
from memoryd.hot.documents import Documents, Outline
from memoryd.hot.journal import Entry
from memoryd.keys import DOCUMENTS
from memoryd.model.document import BOOKKEEPING, Place

OPS = frozenset({"document", "parts", "dropped", "ended"})


class DocumentArchiver:
    """The archiver's hand for documents."""

    def __init__(self, documents: Documents, archive: DocumentArchive) -> None:
        self._documents = documents
        self._archive = archive

    async def write(self, entries: Sequence[Entry]) -> None:
        """Writes what the entries say. Raises ArchiveUnavailable, HotUnavailable, and what a poison entry causes."""
        batch = DocumentBatch()
        for entry in entries:
            _add(batch, entry)
        await self._archive.write(batch)
        # A document that was ended and made again has no tombstone in MongoDB. Redis knows what must not come back,
        # even when this archiver has slept since it read the entries.
        for collection, owners in batch.owners().items():
            await self._archive.bury_parts(collection, await self._documents.ended(sorted(owners)))


@dataclass
class DocumentComparison:
    """How many documents Redis holds, and which of them the archive holds in an older version, without some of their
    parts, or not at all."""

    hot: int = 0
    behind: list[Place] = field(default_factory=list)


class DocumentReconciler:
    """Are the documents of Redis in the archive, with all their parts? What only the archive holds needs no mending: it
    is brought back when somebody asks for it."""

    def __init__(self, documents: Documents, archive: DocumentArchive) -> None:
        self._documents = documents
        self._archive = archive

    async def compare(self) -> DocumentComparison:
        """Every document of Redis, once, by its version and its parts."""
        comparison = DocumentComparison()
        for collection in DOCUMENTS:
            parts = PARTS.get(collection, ())
            async for here in self._documents.outlines(collection, parts):
                comparison.hot += len(here)
                there = await self._archive.versions(collection, [place.id for place in here])
                behind = {place for place, one in here.items() if there.get(place.id, 0) < one.version}
                for part in parts:
                    behind |= await self._incomplete(part, here)
                comparison.behind += sorted(behind, key=lambda place: place.id)
        return comparison

    async def _incomplete(self, part: str, here: Mapping[Place, Outline]) -> set[Place]:
        """The documents of which the archive has fewer parts than Redis, from Redis's first one on."""
        own = {place: one.parts[part] for place, one in here.items() if one.parts[part]}
        counts = await self._archive.count_parts(part, {place.id: numbers[0] for place, numbers in own.items()})
        return {place for place, numbers in own.items() if counts.get(place.id, 0) < len(numbers)}

    async def mend(self, place: Place) -> None:
        """Has a document archived again, through the journal."""
        await self._documents.rejournal(place)


def _add(batch: DocumentBatch, entry: Entry) -> None:
    match entry.op:
        case "document":
            body = msgspec.json.decode(entry.fields[b"body"], type=dict[str, Any])
            kept = {name: value for name, value in body.items() if name not in BOOKKEEPING}
            batch.put(entry.place, entry.version, kept, entry.traceparent)
        case "parts":
            parts = msgspec.json.decode(entry.fields[b"body"], type=list[dict[str, Any]])
            for number, part in enumerate(parts, int(entry.fields[b"first"])):
                batch.add_part(entry.place, number, entry.version, part)
        case "dropped":
            for gone in entry.text("numbers").split(","):
                batch.drop_part(entry.place, int(gone), entry.version)
        case "ended":
            batch.end(entry.place, entry.version, int(entry.fields[b"ended_at"]))
