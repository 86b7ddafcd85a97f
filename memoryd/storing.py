"""The way in: from what a caller gives to an atomic step that decides whether it is new.

Nearly always one round. A second one follows when the Bloom filter has perhaps seen the memory (the archive settles
it), or when the id belongs to a memory whose content was updated to something else since (the next salt is tried), or
when it was forgotten (the later salts are looked through for the same content).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from memoryd.archive.codec import to_record
from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.embed.cache import EmbeddingCache, model_of
from memoryd.errors import ArchiveUnavailable, MemorydError, Overloaded, RequestIdReused
from memoryd.hot.changes import NewRecord, Request, Written, brought_back
from memoryd.hot.projecting import project_one
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.model.ids import content_id, event_id, hash_content
from memoryd.model.memory import Memory, NewMemory, in_utc
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import count_tokens
from memoryd_telemetry.tracing import inside

SALTS_MAX = 8  # ids of one content that updates have given to other content; each costs one more round. Then it dedups no more
RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Arrival:
    """A memory on its way in: what was asked, and what was learned so far."""

    scope: Scope
    new: NewMemory
    request: Request
    salt: int = 0
    archived_version: int | None = None


class Storing:
    """Stores arrivals in one Redis, asking the archive only where the hot tier cannot decide."""

    def __init__(self, records: Records, archive: Archive | None, clock: Clock, cache: EmbeddingCache | None = None) -> None:
        self._records = records
        self._hot = HotStoring(records)
        self._cache = cache
        self._archive = archive
        self._clock = clock

    async def store(
        self, arrivals: Mapping[int, Arrival], *, fsync: bool
    ) -> tuple[dict[int, Written | MemorydError], bool]:
        """What became of each arrival, and whether a wanted fsync was confirmed for all of them."""
        done: dict[int, Written | MemorydError] = {}
        all_fsynced, waiting = True, dict(arrivals)
        for _ in range(2 * (SALTS_MAX + 1) + 1):  # each id may be asked for in the archive once
            if not waiting:
                return done, all_fsynced
            answers, fsynced = await self._round(list(waiting.values()), fsync=fsync)
            all_fsynced = all_fsynced and fsynced
            later: dict[int, Arrival] = {}
            for (index, arrival), written in zip(waiting.items(), answers, strict=True):
                outcome = await self._decide(arrival, written)
                if isinstance(outcome, Arrival):
                    later[index] = outcome
                else:
                    done[index] = outcome
                    _count_text(arrival, outcome)
            waiting = later
        full = Overloaded("store: this content's ids are all taken", retry_after_seconds=RETRY_AFTER_SECONDS)
        return {**done, **dict.fromkeys(waiting, full)}, all_fsynced

    async def forgotten(self, scope: Scope, memory_ids: Sequence[str]) -> list[str]:
        """Those of the memories that the scope's project has forgotten and not stored again. Nearly always one look."""
        project = Scope(scope.tenant, scope.project)
        stones = await self._records.tombstones.of(memory_ids) if memory_ids else {}
        buried = {one: stone.version for one, stone in stones.items() if project.holds(stone.scope)}
        if not buried:
            return []
        lives = await self._records.present(project, list(buried))
        dead = [one for one, version in buried.items() if lives.get(one, 0) <= version]
        with contextlib.suppress(ArchiveUnavailable):  # then the tombstones have the last word
            cold = await self._archive.living(dead, with_text=False) if self._archive and dead else {}
            return [one for one in dead if one not in cold or cold[one].version <= buried[one]]
        return dead

    async def _round(self, arrivals: Sequence[Arrival], *, fsync: bool) -> tuple[list[Written], bool]:
        return await self._hot.store([self.new_record(one) for one in arrivals], fsync=fsync)

    async def _decide(self, arrival: Arrival, written: Written) -> Written | MemorydError | Arrival:
        """The end of an arrival, or what to try next."""
        match written.outcome:
            case "stored" | "reinforced":
                return written
            case "occupied":
                return replace(arrival, salt=arrival.salt + 1, archived_version=None)
            case "ask_archive" | "freed":
                if later := await self._living_on(arrival):
                    return later
                return replace(arrival, archived_version=await self._settle(arrival))
            case refused:
                return refusal(refused)

    async def _living_on(self, arrival: Arrival) -> Arrival | None:
        """The arrival under the later salt where its content lives, or where this very request has stored it.

        It went there while this id belonged to other content; since then that was forgotten, and the id would be free.
        """
        later = [replace(arrival, salt=salt, archived_version=None) for salt in range(arrival.salt + 1, SALTS_MAX + 1)]
        records = [self.new_record(one) for one in later]
        sightings = await self._hot.sightings(records)
        asked = [new.memory.id for new, one in zip(records, sightings, strict=True) if one.perhaps_archived]
        archived = await self._archived_with(asked, records[0].memory.content_hash) if asked else {}
        for candidate, new, one in zip(later, records, sightings, strict=True):
            if one.here or archived.get(new.memory.id, 0) > one.buried:
                return candidate
        return None

    @inside(telemetry.ASK_ARCHIVE)
    async def _archived_with(self, memory_ids: Sequence[str], content_hash: str) -> Mapping[str, int]:
        try:
            return await self._archive.living_with(memory_ids, content_hash) if self._archive else {}
        except ArchiveUnavailable:
            return {}

    @inside(telemetry.ASK_ARCHIVE)
    async def _settle(self, arrival: Arrival) -> int:
        """The version that the archive holds of a memory that was perhaps seen before; brings a cold one back.

        Without the archive the answer is 0, and the archiver lifts the new memory above what it meets there.
        """
        memory_id = self.new_record(arrival).memory.id
        try:
            document = await self._archive.get(memory_id) if self._archive else None
        except ArchiveUnavailable:
            return 0
        if document is None:
            return 0
        if not document.get("tombstone") and "seal" in document:
            await project_one(self._records, brought_back(to_record(document), model_of(self._cache)))
        return int(document.get("version", 0))

    def new_record(self, one: Arrival) -> NewRecord:
        """The record that an arrival becomes, if it is new; its time is now."""
        new, now = one.new, self._clock.now()
        dedups = (new.type.dedups if new.dedup is None else new.dedup) and one.salt <= SALTS_MAX
        content_hash = hash_content(new.content)
        if dedups:
            memory_id = content_id(one.scope, new.type, content_hash, one.salt)
        else:
            memory_id = event_id(one.scope, one.request.id, content_hash)
        return NewRecord(born(memory_id, one.scope, new, now), dedups, one.request, one.archived_version)


def _count_text(arrival: Arrival, outcome: Written | MemorydError) -> None:
    if isinstance(outcome, Written) and outcome.outcome == "stored" and not outcome.replayed:
        count_tokens("store", len(arrival.new.content))


def born(memory_id: str, scope: Scope, new: NewMemory, now: datetime) -> Memory:
    """What a caller gave as a memory of this moment, before it has a version."""
    return Memory(
        id=memory_id, tenant=scope.tenant, project=scope.project, agent_id=scope.agent, session_id=scope.session,
        memory_type=new.type, content=new.content, content_hash=hash_content(new.content), importance=new.importance,
        created_at=now, last_accessed=now, source_tool=new.source_tool, metadata=new.metadata, tags=new.tags,
        related=new.related, derived_from=new.derived_from, version=0,
        valid_from=in_utc("valid_from", new.valid_from) if new.valid_from else now,
        valid_until=in_utc("valid_until", new.valid_until) if new.valid_until else None, recorded_at=now,
    )  # fmt: skip


def refusal(outcome: str) -> MemorydError:
    """Why an atomic step took nothing."""
    if outcome == "overloaded":
        return Overloaded(
            "the journal is full: the archive has been away for too long", retry_after_seconds=RETRY_AFTER_SECONDS
        )
    if outcome == "reused":
        return RequestIdReused()
    return MemorydError(f"an atomic step answered {outcome}")
