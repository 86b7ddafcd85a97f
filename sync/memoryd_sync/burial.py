"""What was forgotten is buried once more where another archiver has ended in the middle of its work.

An archiver writes first and looks for tombstones then. When it dies in between, and somebody forgets the memory at that
moment, its last write stays: the forget has taken the entry out of the journal, so nobody is given it again. What the next
archiver finds is the number of an entry that is no more. It tells that this may have happened, and since when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bson.timestamp import Timestamp

from memoryd.archive.client import archive_errors
from memoryd.archive.documents import DocumentArchive
from memoryd.archive.episodes import EpisodeArchive, EpisodeBatch
from memoryd.archive.store import Archive
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.archiver")

CLOCKS_APART_SECONDS = 60  # of Redis, which numbers the entries, and MongoDB, which dates the tombstones
AGAIN_SECONDS = 30.0  # what a dead archiver has sent may be on its way as long as a connection lives without an answer
BEFORE_START_SECONDS = 600  # an archiver that begins may follow one whose entries somebody had taken over already


class SecondBurial:
    """Removes what late writers have left of the forgotten: history, logged data, parts of documents."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._episodes = EpisodeArchive(archive)
        self._documents = DocumentArchive(archive)
        self._begun = False
        self._since: int | None = None
        self._again: tuple[float, int] | None = None

    def note(self, removed: Sequence[str]) -> None:
        """The numbers of entries that were removed from a journal while an archiver had them."""
        if removed:
            oldest = min(int(one.partition("-")[0]) for one in removed) // 1000 - CLOCKS_APART_SECONDS
            self._since = oldest if self._since is None else min(oldest, self._since)

    async def step(self) -> None:
        """Buries what there is a reason to look for, and some time later once more. Raises ArchiveUnavailable."""
        if not self._begun:
            with archive_errors("bury again"):
                now: Timestamp = (await self._archive.database.command("ping"))["operationTime"]
            self._since = min(now.time - BEFORE_START_SECONDS, self._since or now.time)
            self._begun = True
        now_seconds = asyncio.get_running_loop().time()
        if self._since is not None:
            since = self._since
            await self._bury(since)
            self._since, self._again = None, (now_seconds + AGAIN_SECONDS, min(since, self._again[1] if self._again else since))
        elif self._again and self._again[0] <= now_seconds:
            await self._bury(self._again[1])
            self._again = None

    async def _bury(self, since: int) -> None:
        moment = Timestamp(since, 0)
        async for forgotten in self._archive.buried_since(moment):
            past = await self._archive.history.of(list(forgotten))
            if late := {memory_id for memory_id, version in past if version <= forgotten[memory_id]}:
                await self._archive.history.forget({memory_id: forgotten[memory_id] for memory_id in late})
                log.warning("archive.buried_again", memories=len(late))
            await self._episodes.write(EpisodeBatch(forgotten=set(forgotten)))
        await self._documents.bury_since(moment)
