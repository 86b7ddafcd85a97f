"""The archiver: journal entries → MongoDB, acknowledged after a majority has them.

Repeating an entry is harmless: current documents are written only over lower versions, versions have ids of their
own, vectors go only to the content they were made of. Order between archivers is therefore not needed; what comes
too early (a vector before its memory) stays pending and comes again, for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from memoryd.archive.batch import Batch, Touch, Vector, Verdict
from memoryd.archive.client import ArchiveRefused, archive_errors
from memoryd.archive.codec import NOW, to_bson_vector, to_document, to_tombstone, tombstone_document, with_terms
from memoryd.archive.codec import to_record as from_document
from memoryd.archive.documents import DocumentArchive
from memoryd.archive.episodes import EpisodeArchive
from memoryd.archive.foreign import adopted, is_edited
from memoryd.archive.store import Archive
from memoryd.archive.writing import write_batch
from memoryd.clock import Clock
from memoryd.errors import ArchiveUnavailable, BadRequest, HotUnavailable, Overloaded
from memoryd.hot.codec import float32_of, to_record
from memoryd.hot.documents import Documents
from memoryd.hot.journal import KNOWN, LOST, Entry, Follower
from memoryd.hot.projecting import raise_version
from memoryd.hot.records import Records
from memoryd.limits import ARCHIVE_BATCH_MAX
from memoryd.model.feedback import from_text
from memoryd.model.memory import Memory
from memoryd_sync.burial import SecondBurial
from memoryd_sync.derived import Orphans
from memoryd_sync.documents import OPS, DocumentArchiver
from memoryd_sync.episodes import EpisodeArchiver
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.tracing import linked_span

log = get_logger("memoryd.archiver")

EARLY_SECONDS_MAX = 120.0  # whoever held the memory's own entry has lost it to another by then
REFUSED_SECONDS_MAX = 60.0  # a validator that somebody is about to correct must not bury what is good
PARTIAL = ("embedded", "touched", "judged", "refollowed")  # of a version that has an entry of its own
PACE_SECONDS = 0.05  # a batch is ten round trips, of ten entries as of one; far below what an archived write waits for a majority
BLOCK_SECONDS = 0.5  # how soon a stop is noticed, and how often dead archivers' entries are looked for


class Archiver:
    """Follows all journals as one consumer of the group `archive`; several share the work."""

    def __init__(
        self, follower: Follower, records: Records, archive: Archive, clock: Clock, *, told: Told = told_to_nobody
    ) -> None:
        """`told` returns when the spans of what was archived are kept, where they are."""
        self._follower = follower
        self._records = records
        self._archive = archive
        self._documents = DocumentArchiver(Documents(records.redis, records.keys), DocumentArchive(archive))
        self._episodes = EpisodeArchiver(records, EpisodeArchive(archive))
        self._orphans = Orphans(records, archive, clock)
        self._burial = SecondBurial(archive)
        self._clock = clock
        self._told = told
        self._first_tried: dict[tuple[str, str], float] = {}

    async def step(self) -> None:
        """Archives what is there, or waits a moment for it. Raises HotUnavailable or ArchiveUnavailable."""
        entries = await self._follower.left_over(ARCHIVE_BATCH_MAX)
        self._burial.note(self._follower.removed())
        await self._burial.step()
        entries = entries or await self._follower.read(ARCHIVE_BATCH_MAX, block_seconds=BLOCK_SECONDS)
        for start in range(0, len(entries), ARCHIVE_BATCH_MAX):
            await self.archive(entries[start : start + ARCHIVE_BATCH_MAX])

    async def leave(self) -> None:
        """Hands what is unfinished to the other archivers."""
        await self._follower.leave()

    async def archive(self, entries: Sequence[Entry]) -> None:
        """Writes the entries and acknowledges those that are done; a poison entry is found and buried."""
        attributes = {telemetry.BATCH_SIZE: len(entries)}
        measure(telemetry.ARCHIVE_BATCH_SIZE, len(entries))
        started = asyncio.get_running_loop().time()
        with linked_span(telemetry.ARCHIVE, [one.traceparent for one in entries], attributes):
            try:
                await self._documents.write([one for one in entries if one.op in OPS])
                early = await self._write([one for one in entries if one.op not in OPS])
                await self._episodes.write([one for one in entries if one.op not in OPS])
            except (ArchiveUnavailable, HotUnavailable, Overloaded):
                raise
            except Exception as error:
                if isinstance(error, ArchiveRefused) and not error.for_its_content:
                    raise
                await self._isolate(entries, error)
                return
        await self._told()
        await self._follower.done([one for one in entries if (one.memory_id, one.version) not in early])
        for entry in entries:
            await self._note(entry, early=(entry.memory_id, entry.version) in early)
        measure(telemetry.ARCHIVE_DURATION, asyncio.get_running_loop().time() - started)

    async def _write(self, entries: Sequence[Entry]) -> set[tuple[str, int]]:
        """Writes the entries; returns the versions for which only a vector or a count came, too early."""
        batch = self._batch(entries)
        await self._know(batch, entries)
        # Asked before the write: a version that another archiver inserts after our vectors were written is too late.
        unseen = await self._unseen(entries, batch)
        await self._keep_edits(batch)
        refused = await write_batch(self._archive, batch)
        for memory_id in refused:
            await self._settle(batch, memory_id)
        # A memory that was forgotten and stored again has no tombstone in MongoDB. Redis knows what of it must not
        # come back, even when this archiver has slept since it read the entries.
        written = sorted({one["memory_id"] for one in batch.versions.values()})
        if forgotten := await self._records.tombstones.versions(written):
            await self._archive.history.forget(forgotten)
        await self._orphans.forget(entries)
        await self._keep_packed(batch)
        return await self._too_early(unseen)

    async def _keep_packed(self, batch: Batch) -> None:
        """Packs what has come to the tier `archive`; what was packed there with the help of something forgotten, anew."""
        with archive_errors("pack"):
            if archived := [key for key, one in batch.current.items() if one.get("tier") == "archive"]:
                await self._archive.packing.pack(archived)
            if batch.forgotten:
                await self._archive.packing.forget(list(batch.forgotten))

    def _batch(self, entries: Sequence[Entry]) -> Batch:
        batch = Batch()
        for entry in sorted(entries, key=lambda one: (one.memory_id, one.version)):
            if entry.text("archived"):
                continue  # the follower has taken it from there, and kept it
            match entry.op:
                case "stored" | "updated" | "moved":
                    record = to_record(entry.fields, self._records.datatype)
                    document = {**to_document(record), "traceparent": entry.traceparent, "archived": NOW}
                    said_at = int(entry.text("said_at") or document["recorded_at"])
                    batch.put(document, entry.op, said_at, known=entry.text("known") == KNOWN)
                    batch.current[entry.memory_id] = with_terms(document)
                    if record.memory.context and record.vector is None:
                        batch.vectors.append(_new_context(record.memory))
                    if record.memory.feedback:  # also where this version is archived already
                        batch.verdicts.append(Verdict(entry.memory_id, entry.version, record.memory.feedback))
                case "forgotten":
                    batch.bury({**tombstone_document(entry.fields), "archived": NOW})
                case "refollowed":
                    batch.vectors.append(_follows_now(entry))
                case "embedded":
                    vector = float32_of(entry.fields.get(b"embedding"), entry.fields.get(b"half"), self._records.datatype)
                    assert vector is not None, "an entry that brings a vector has it"
                    batch.vectors.append(
                        Vector(
                            entry.memory_id,
                            entry.text("content_hash"),
                            entry.text("embedding_model"),
                            to_bson_vector(vector),
                            int(entry.text("context") or 0),
                            _ids(entry, "follows"),
                            _ids(entry, "followed_by"),
                        )
                    )
                case "touched":
                    batch.touches.append(
                        Touch(
                            entry.memory_id,
                            entry.version,
                            int(entry.text("access_count")),
                            int(entry.text("last_accessed")),
                        )
                    )
                case "judged":
                    if feedback := from_text(entry.text("feedback")):
                        batch.verdicts.append(Verdict(entry.memory_id, entry.version, feedback))
                case other:
                    raise ValueError(f"the journal holds the unknown operation {other!r}")
        return batch

    async def _know(self, batch: Batch, entries: Sequence[Entry]) -> None:
        """What comes again, because nobody could say that it was archived: where its document is gone, somebody has deleted it."""
        told = {entry.memory_id for entry in entries if entry.text("known") == LOST}
        told |= {memory_id for memory_id, known in batch.known.items() if known}
        asked = [one for one in batch.current.values() if not one.get("tombstone") and one["_id"] not in told]
        if asked:
            batch.known |= dict.fromkeys(await self._archive.history.archived_before(asked), True)

    async def _keep_edits(self, batch: Batch) -> None:
        """Puts into the history what a person has made of documents that this batch is about to replace.

        The follower has not seen it yet (or it would have a version and a seal), and will look in vain.
        """
        replaced = [key for key, one in batch.current.items() if one["version"] > 1 and not one.get("tombstone")]
        edits = []
        async for document in self._archive.sealed(replaced):
            with contextlib.suppress(BadRequest, KeyError, ValueError, TypeError, OverflowError):  # no caller's memory
                if document["version"] < batch.current[document["_id"]]["version"] and is_edited(document):
                    edits.append(adopted({**document, "embedding_model": ""}, self._clock.now()))
        for edit in edits:
            await self._archive.history.keep_edit(edit)
            log.info("archive.edit_overtaken", id=edit["_id"])

    async def _settle(self, batch: Batch, memory_id: str) -> None:
        """A refused document is archived already (harmless), or its write is lifted above what is there."""
        document = batch.current[memory_id]
        holds = None if document.get("tombstone") else await self._archive.get(memory_id)
        if holds is None or (holds.get("tombstone") and to_tombstone(holds).said_at >= batch.said_at[memory_id]):
            return
        # Of one version, the current document decides which of two is the loser: both archivers have written their
        # history by now, and whichever came first there may have come second here.
        same = holds["version"] == document["version"]
        if holds.get("seal") == document["seal"] if same else await self._archive.history.archived_before([document]):
            return
        lost = from_document(document).memory
        above = int(holds["version"])
        if await raise_version(self._records, lost, archived_version=above, traceparent=document["traceparent"]):
            log.info("archive.raised", id=memory_id, version=document["version"], above=above)

    async def _unseen(self, entries: Sequence[Entry], batch: Batch) -> dict[tuple[str, int], Entry]:
        """Versions of which only a vector or a count has come: their own entry is with another archiver."""
        partial = {(one.memory_id, one.version): one for one in entries if one.op in PARTIAL and not one.text("archived")}
        for own in batch.versions.values():
            partial.pop((own["memory_id"], own["version"]), None)
        unseen = await self._archive.history.unseen(partial) if partial else set()
        return {version: partial[version] for version in unseen}

    async def _too_early(self, unseen: Mapping[tuple[str, int], Entry]) -> set[tuple[str, int]]:
        """Those that have to come again. What no longer lives in Redis was forgotten: nothing is left to wait for."""
        return {
            version
            for version, entry in unseen.items()
            if await self._records.lives(entry.scope, entry.memory_type, *version)
        }

    async def _note(self, entry: Entry, *, early: bool) -> None:
        """Remembers an entry that came too early, and gives it up when its memory never comes."""
        if not early:
            self._first_tried.pop((entry.bucket, entry.entry_id), None)
        elif not self._comes_again(entry, EARLY_SECONDS_MAX):
            await self._bury(entry, "the version that it belongs to was never archived")

    def _comes_again(self, entry: Entry, seconds_max: float) -> bool:
        """Leaves the entry pending, so that it is redelivered; False when that has gone on for long enough."""
        now, key = asyncio.get_running_loop().time(), (entry.bucket, entry.entry_id)
        if now - self._first_tried.setdefault(key, now) < seconds_max:
            return True
        del self._first_tried[key]
        return False

    async def _isolate(self, entries: Sequence[Entry], error: Exception) -> None:
        """Tries the entries one by one, and buries those that cannot be archived, so that none blocks its bucket."""
        if len(entries) > 1:
            for entry in entries:
                await self.archive([entry])
            return
        [entry] = entries
        if isinstance(error, ArchiveRefused) and self._comes_again(entry, REFUSED_SECONDS_MAX):
            log.warning("archive.refused", id=entry.memory_id, entry=entry.entry_id, code=error.details["mongo_code"])
            return
        await self._bury(entry, f"{type(error).__name__} while archiving", error)

    async def _bury(self, entry: Entry, reason: str, error: Exception | None = None) -> None:
        measure(telemetry.DEAD_LETTERS, 1, {telemetry.FOLLOWER: "archive"})
        log.error("archive.dead_letter", id=entry.memory_id, entry=entry.entry_id, exc_info=error)
        await self._follower.bury(entry, reason)


def _follows_now(entry: Entry) -> Vector:
    """The same, of a memory whose content is only in the archive."""
    return Vector(entry.memory_id, entry.text("content_hash"), "", None, int(entry.text("context")), _ids(entry, "follows"))


def _ids(entry: Entry, field: str) -> list[str]:
    return [one for one in entry.text(field).split(",") if one]


def _new_context(memory: Memory) -> Vector:
    """What an event follows now; the vectors that were made in its earlier contexts keep a trace of what it followed."""
    return Vector(memory.id, memory.content_hash, "", None, memory.context, memory.follows)
