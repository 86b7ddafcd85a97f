"""Journal entries about documents → MongoDB. Each may be written again, late, or before its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from memoryd.archive.documents import DocumentArchive, DocumentBatch
from memoryd.hot.documents import Documents
from memoryd.hot.journal import Entry
from memoryd.model.document import BOOKKEEPING

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
