"""The archiver's hand for agents' logs: where each event stands, and the data that goes to the archive only."""

from __future__ import annotations

from collections.abc import Sequence

from memoryd.archive.episodes import EpisodeArchive, EpisodeBatch
from memoryd.hot.journal import Entry
from memoryd.hot.records import Records
from memoryd.model.episode import to_number


class EpisodeArchiver:
    """Writes what journal entries say of logs."""

    def __init__(self, records: Records, archive: EpisodeArchive) -> None:
        self._records = records
        self._archive = archive

    async def write(self, entries: Sequence[Entry]) -> None:
        """Writes it. What is forgotten goes, whichever archiver was first: Redis knows what must not come back."""
        batch = EpisodeBatch()
        for entry in entries:
            if entry.op == "forgotten":
                batch.forgotten.add(entry.memory_id)
            elif position := entry.text("position"):
                place = entry.entry_id if position == "*" else position
                batch.log(entry.memory_id, entry.scope, to_number(place), entry.fields.get(b"data"))
        await self._archive.write(batch)
        if forgotten := await self._records.tombstones.versions(sorted(batch.logged)):
            await self._archive.write(EpisodeBatch(forgotten=set(forgotten)))
