"""Documents wherever they live: in Redis, or brought back from the archive on first use.

A document that Redis does not have is either new, or has expired here, or was in a Redis that was emptied. Only the
archive can tell, so it is asked once; then the document is in Redis again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from memoryd.archive.documents import DocumentArchive
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable, Conflict
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change, Documents, Step
from memoryd.hot.journal import archived_up_to, last_entry
from memoryd.limits import ARCHIVED_TIMEOUT_SECONDS
from memoryd.model.document import Document, Place
from memoryd.model.scope import Scope
from memoryd.retry import heedful_sleep
from memoryd.storing import refusal

PAUSE_SECONDS = 0.01  # the archiver works in batches of milliseconds


class DocumentStore:
    """The documents of one Redis and one archive."""

    def __init__(self, documents: Documents, archive: DocumentArchive, clock: Clock) -> None:
        self.documents = documents
        self.archive = archive
        self.clock = clock

    async def get(self, place: Place, *, ttl_seconds: int = 0) -> Document | None:
        """The document as it is now, or None. Raises ArchiveUnavailable when only the archive would know."""
        if found := await self.documents.get(place):
            return found
        archived = await self.archived(place)
        if archived is not None:
            await self.documents.restore(archived, ttl_seconds=ttl_seconds)
        return archived

    async def put(self, change: Change, *, fsync: bool = False) -> tuple[Step, bool]:
        """Writes a document: written, or conflict with its current version. The flag: whether a wanted fsync happened.

        Raises Overloaded, RequestIdReused, TooLarge; ArchiveUnavailable when the document was here before and only
        the archive has it now.
        """
        step, fsynced = await self.documents.put(change, fsync=fsync)
        if step.outcome == "absent":
            archived, floor = await self.floor(change.place)
            if archived is not None:
                await self.documents.restore(archived, ttl_seconds=change.ttl_seconds)
            step, fsynced = await self.documents.put(replace(change, archived_version=floor), fsync=fsync)
        if step.outcome not in ("written", "conflict"):
            raise refusal(step.outcome)
        return step, fsynced

    async def end(self, place: Place, request: Request, *, with_it: Sequence[str] = ()) -> Step:
        """Removes a document for good, its parts too, and leaves a tombstone: ended, or missing."""
        found = await self.archive.find(place) if await self.documents.get(place) is None else None
        living = found is not None and not found.get("tombstone")
        step = await self.documents.end(
            place, now=to_microseconds(self.clock.now()), request=request, with_it=with_it,
            archived_version=int(found["version"]) if found and living else 0,
        )  # fmt: skip
        if step.outcome not in ("ended", "missing"):
            raise refusal(step.outcome)
        return step

    async def page(self, collection: str, scope: Scope, *, after: str = "", limit: int) -> list[Document]:
        """The scope's documents in the archive with ids behind `after`, in order. Raises ArchiveUnavailable."""
        return await self.archive.page(collection, scope, after=after, limit=limit)

    async def floor(self, place: Place) -> tuple[Document | None, int]:
        """What the archive holds of a document that is not in Redis, and the version above which it goes on.

        Without the archive, a document that this Redis has surely never held begins at the present time in microseconds:
        above all that the archive may turn out to hold. One that it has held is not begun anew beside its past: that
        raises ArchiveUnavailable.
        """
        try:
            archived = await self.archived(place)
        except ArchiveUnavailable:
            if (await self.documents.known(place))[0]:
                raise
            return None, to_microseconds(self.clock.now())
        return archived, archived.version if archived else 0

    async def archived(self, place: Place) -> Document | None:
        """What the archive holds, with all that this Redis has journaled. Raises ArchiveUnavailable."""
        seen, ended = await self.documents.known(place)
        if seen:
            await self.caught_up(place)
        archived = await self.archive.get(place)
        return archived if archived is not None and archived.version > ended else None

    async def caught_up(self, place: Place) -> None:
        """Waits until the archive has all of the bucket's journal as it is now. Raises ArchiveUnavailable."""
        redis, keys = self.documents.redis, self.documents.keys
        bucket = keys.bucket(place.id)
        end = await last_entry(redis, keys, bucket)
        try:
            async with asyncio.timeout(ARCHIVED_TIMEOUT_SECONDS):
                while (await archived_up_to(redis, keys, [bucket]))[bucket] < end:  # another process archives
                    await heedful_sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise ArchiveUnavailable("bring a document back: the archive is behind the journal") from None


def conflict(step: Step) -> Conflict:
    """The error for a write that was based on another version."""
    return Conflict(
        "the document has another version than the one that the change was based on", current_version=step.version
    )
