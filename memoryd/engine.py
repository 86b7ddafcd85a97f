"""The verbs: store, store_many, get, update, stats. Each is scoped, and each answers for itself. See `recalling` for recall.

A write is one atomic step in Redis and one round trip; embedding, archiving and notifying follow the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from memoryd import keys as names
from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.durability import not_archived, not_durable, outwaited
from memoryd.embed.cache import EmbeddingCache, model_of
from memoryd.embed.follower import EmbedState
from memoryd.errors import (
    ArchiveUnavailable,
    BadRequest,
    Conflict,
    Forgotten,
    MemorydError,
    NotFound,
    NotSearchable,
)
from memoryd.hot import counting
from memoryd.hot.changes import Request, Written, brought_back
from memoryd.hot.client import hot_errors
from memoryd.hot.journal import GROUPS, backlogs
from memoryd.hot.projecting import project_one
from memoryd.hot.records import Records
from memoryd.hot.seen import SeenFilters
from memoryd.hot.updating import update
from memoryd.limits import SEARCHABLE_TIMEOUT_SECONDS, STORE_MANY_MAX
from memoryd.model.ids import check_id, hash_content
from memoryd.model.memory import Changes, Durability, Memory, NewMemory, Tier, Wait, in_utc
from memoryd.model.record import Record
from memoryd.model.results import ArchiveStats, EmbedderStats, Stats, Stored
from memoryd.model.scope import Scope
from memoryd.storing import Arrival, Storing, refusal
from memoryd.whole import Wholes
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inner

CHANGE_TRIES = 3  # a record may become light between the look and the step; twice in a row it does not


class Engine:
    """memoryd's verbs over one Redis, one archive and one embedding model; the last two may be away or absent."""

    def __init__(
        self,
        records: Records,
        archive: Archive | None,
        cache: EmbeddingCache | None,
        *,
        clock: Clock,
        embed_state: EmbedState | None = None,
    ) -> None:
        self._storing = Storing(records, archive, clock, cache)
        self._records = records
        self._archive = archive
        self._cache = cache
        self._clock = clock
        self._embed_state = embed_state or EmbedState()
        self._wholes = Wholes(records, archive, lambda: model_of(cache))

    # --- store ----------------------------------------------------------------------------------------------------

    async def store(
        self,
        scope: Scope,
        new: NewMemory,
        *,
        request: Request,
        durability: Durability = Durability.HOT,
        wait: Wait | None = None,
    ) -> Stored:
        """Remembers one memory, or reinforces the one that is the same.

        Raises BadRequest, Overloaded, RequestIdReused, Forgotten (what it is derived from is), HotUnavailable, and
        DurabilityNotReached or NotSearchable (it is stored then).
        """
        [result] = await self.store_many(scope, [new], request=request, durability=durability, wait=wait)
        if isinstance(result, MemorydError):
            raise result
        return result

    async def store_many(
        self,
        scope: Scope,
        many: Sequence[NewMemory | MemorydError],
        *,
        request: Request,
        durability: Durability = Durability.HOT,
        wait: Wait | None = None,
    ) -> list[Stored | MemorydError]:
        """Stores each; a result or an error per item, in order. What is an error already stays one."""
        scope.check()
        self._check_wait(wait)
        if len(many) > STORE_MANY_MAX:
            raise BadRequest(f"memories: has {len(many)} items, the limit is {STORE_MANY_MAX}", field="memories")
        results: dict[int, Stored | MemorydError] = {}
        arrivals: dict[int, Arrival] = {}
        for index, new in enumerate(many):
            try:
                arrivals[index] = _arrival(scope, new, _part_of(request, index, len(many)))
            except MemorydError as error:
                results[index] = error
        results |= await self._without_sources(scope, arrivals)
        arrivals = {index: one for index, one in arrivals.items() if index not in results}
        done, fsynced = await self._storing.store(arrivals, fsync=durability is not Durability.HOT)
        results |= {index: one for index, one in done.items() if isinstance(one, MemorydError)}
        written = {index: one for index, one in done.items() if isinstance(one, Written)}
        results |= await self._acknowledge(scope, written, fsynced, durability, wait)
        return [results[index] for index in range(len(many))]

    async def _without_sources(self, scope: Scope, arrivals: Mapping[int, Arrival]) -> dict[int, MemorydError]:
        """Those that were made of something forgotten. What is forgotten from now on, the archiver will see."""
        named = list(dict.fromkeys(source for one in arrivals.values() for source in one.new.derived_from))
        gone = set(await self._storing.forgotten(scope, named))
        return {
            index: _sources_forgotten(sources)
            for index, one in arrivals.items()
            if (sources := [source for source in one.new.derived_from if source in gone])
        }

    async def check_sources(self, scope: Scope, derived_from: Sequence[str]) -> None:
        """Raises Forgotten when something is to be made of what is forgotten."""
        if gone := await self._storing.forgotten(scope, derived_from):
            raise _sources_forgotten(gone)

    # --- read -----------------------------------------------------------------------------------------------------

    async def get(self, scope: Scope, memory_id: str) -> Memory:
        """The memory as it is now, hot or archived. Raises NotFound, or ArchiveUnavailable when only it would know."""
        check_id("id", memory_id)
        hot = await self._records.visible(scope.check(), memory_id)
        if hot is None:
            return (await self._archived(scope, memory_id)).memory
        found = (await self._wholes.read([hot])).get(memory_id)
        if found is None or not found.seen_from(scope):
            raise NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)
        await self._records.note_use(hot)
        return found

    async def _archived(self, scope: Scope, memory_id: str) -> Record:
        """A memory that only the archive has, and that the scope sees. Raises NotFound, ArchiveUnavailable."""
        if self._archive:
            # The archive may not have heard of a forget yet; what was stored again after it has a higher version.
            stone = await self._records.tombstones.inside(Scope(scope.tenant, scope.project), memory_id)
            # While the archive is away, the tombstone has the last word: to those whose memory it was.
            with contextlib.suppress(*[ArchiveUnavailable] if stone and scope.holds(stone.scope) else []):
                record = await self._archive.visible(scope, memory_id)
                buried = stone.version if stone else 0
                if record is not None and record.memory.version > buried and await self._sees(scope, record.memory):
                    return record
        raise NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)

    async def _sees(self, scope: Scope, archived: Memory) -> bool:
        """Whether the scope still sees what the archive says it does, which may not have heard of a share's end: of a memory
        that has a record here, that record tells."""
        return scope.holds(archived.scope) or not await self._records.present(scope, [archived.id])

    # --- change ---------------------------------------------------------------------------------------------------

    async def update(
        self,
        scope: Scope,
        memory_id: str,
        changes: Changes,
        *,
        if_version: int | None = None,
        request: Request,
        durability: Durability = Durability.HOT,
        wait: Wait | None = None,
    ) -> Stored:
        """Changes what was given and counts the version up. Raises NotFound, Conflict and what `store` raises."""
        self._check_wait(wait)
        values = changes.check().given()
        await self.check_sources(scope, values.get("derived_from", []))
        for field in ("valid_from", "valid_until"):
            if isinstance(values.get(field), datetime):
                values[field] = in_utc(field, values[field])
        if "content" in values:
            values["content_hash"] = hash_content(values["content"])
        values["recorded_at"] = self._clock.now()
        fsync = durability is not Durability.HOT
        for _ in range(CHANGE_TRIES):
            written, fsynced = await self._change(scope, memory_id, values, if_version, request, fsync=fsync)
            if written.outcome != "light":
                break
        match written.outcome:
            case "updated":
                return await self.acknowledge(scope, written, fsynced, durability, wait)
            case "conflict":
                raise Conflict(
                    f"{memory_id}: has version {written.version}, not {if_version}", current_version=written.version
                )
            case "missing":
                raise NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)
        raise refusal(written.outcome)

    async def _change(
        self, scope: Scope, memory_id: str, values: dict[str, Any], if_version: int | None, request: Request, *, fsync: bool
    ) -> tuple[Written, bool]:
        memory, before = await self._in_hot(scope, memory_id)
        if memory.tier in (Tier.ARCHIVE, Tier.LONG):
            values = {**values, "tier": Tier.SHORT}  # on its way there; what is changed is in use
        wanted = memory.version if if_version == before else if_version
        return await update(self._records, scope, memory, values, if_version=wanted, request=request, fsync=fsync)

    async def in_hot(self, scope: Scope, memory_id: str) -> Memory:
        """The memory, brought back from the archive when it is only there."""
        return (await self._in_hot(scope, memory_id))[0]

    async def _in_hot(self, scope: Scope, memory_id: str) -> tuple[Memory, int]:
        """The memory, brought back from the archive when it is only there, and the version that a reader has seen there."""
        check_id("id", memory_id)
        memory = await self._records.visible(scope.check(), memory_id)
        if memory is not None:
            _check_own(scope, memory)
        if memory is not None and not memory.light:
            return memory, memory.version
        record = await self._archived(scope, memory_id)
        _check_own(scope, record.memory)
        projection = brought_back(record, model_of(self._cache))
        await project_one(self._records, projection)
        return projection.record.memory, record.memory.version

    # --- acknowledging --------------------------------------------------------------------------------------------

    def _check_wait(self, wait: Wait | None) -> None:
        """Refuses to wait for vectors that nobody makes, before anything is stored."""
        if wait is Wait.SEARCHABLE and self._cache is None:
            raise BadRequest(
                "wait: this daemon has no embedding model, so nothing is ever found by its meaning",
                field="wait",
                hint="leave `wait` out: by its words a memory is found as soon as it is stored",
            )

    async def acknowledge(
        self, scope: Scope, written: Written, fsynced: bool, durability: Durability, wait: Wait | None = None
    ) -> Stored:
        """The answer to a write, once it has what was asked for. Raises DurabilityNotReached, NotSearchable."""
        result = (await self._acknowledge(scope, {0: written}, fsynced, durability, wait))[0]
        if isinstance(result, MemorydError):
            raise result
        return result

    async def _acknowledge(
        self, scope: Scope, written: Mapping[int, Written], fsynced: bool, durability: Durability, wait: Wait | None
    ) -> dict[int, Stored | MemorydError]:
        """The answer to each write: what it did, or that what it was to wait for has not come in time (it is stored then)."""
        if not fsynced:
            return {index: not_durable(one, durability, Durability.HOT) for index, one in written.items()}
        redis, keys = self._records.redis, self._records.keys
        late, pending = await asyncio.gather(
            not_archived(redis, keys, written if durability is Durability.ARCHIVED else {}),
            self._not_searchable(scope, written if wait is Wait.SEARCHABLE else {}),
        )
        answers: dict[int, Stored | MemorydError] = {}
        for index, one in written.items():
            if index in late:
                answers[index] = not_durable(one, durability, Durability.FSYNC)
            else:
                answers[index] = _not_searchable(one, durability) if index in pending else _stored(one, durability)
        return answers

    async def _not_searchable(self, scope: Scope, written: Mapping[int, Written]) -> Collection[int]:
        """Waits until the memory of each write has its vector; those whose memory has none in time."""
        if not written:
            return []
        with inner(telemetry.WAIT, {telemetry.WAITED_FOR: Wait.SEARCHABLE}):
            return await outwaited(written, partial(self._pending, scope), SEARCHABLE_TIMEOUT_SECONDS)

    async def _pending(self, scope: Scope, written: Mapping[int, Written]) -> Mapping[int, Written]:
        """Those writes whose memory has no vector yet."""
        pending = await self._records.pending(scope, [one.id for one in written.values()])
        return {index: one for index, one in written.items() if one.id in pending}

    # --- look -----------------------------------------------------------------------------------------------------

    async def stats(self, scope: Scope) -> Stats:
        """Counts of the scope, and the backlog and health of the service."""
        counts = await counting.count(self._records.redis, scope.check())
        backlog = await self._backlog()
        embedder = self._cache.embedder if self._cache else None
        return Stats(
            memories=sum(counts.by_type.values()),
            by_type=counts.by_type,
            by_tier=counts.by_tier,
            pending=counts.pending,
            shared=counts.shared,
            archive=await self._archive_stats(scope),
            embedder=EmbedderStats(model=embedder.model, dims=embedder.dims, failing=self._embed_state.failing)
            if embedder
            else None,
            embed_backlog=backlog["embed"],
            archive_backlog=backlog["archive"],
            dead_letters=backlog["dead"],
            requests_backlog=backlog["requests"],
            filters=await SeenFilters(self._records.redis, self._records.keys).stats(),
        )

    async def _archive_stats(self, scope: Scope) -> ArchiveStats:
        if self._archive is None:
            return ArchiveStats(available=False)
        try:
            memories = await self._archive.count(scope)
        except MemorydError:
            return ArchiveStats(available=False, circuit=self._archive.breaker.state)
        return ArchiveStats(available=True, memories=memories)

    async def _backlog(self) -> dict[str, int]:
        redis, keys = self._records.redis, self._records.keys
        # The journals first: an entry leaves its backlog with its dead letter, so a drained journal has all its letters.
        found = await backlogs(redis, [keys.journal(bucket) for bucket in keys.all_buckets()])
        with hot_errors("stats"):
            async with redis.pipeline(transaction=False) as pipe:
                pipe.xlen(names.DEAD_LETTERS)
                pipe.xlen(names.REQUESTS)
                dead, requests = await pipe.execute()
        backlog = {group: sum(one.get(group, 0) for one in found) for group in GROUPS}
        return {**backlog, "dead": int(dead), "requests": int(requests)}


def fingerprint(*parts: Any) -> str:
    """A digest of what a request asks, to tell a repeat from another request with the same id."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:32]


def _arrival(scope: Scope, new: NewMemory | MemorydError, request: Request) -> Arrival:
    if isinstance(new, MemorydError):
        raise new
    return Arrival(scope.narrowed(new.session), new.check(), request)


def _check_own(scope: Scope, memory: Memory) -> None:
    """Raises NotFound when it is only shared with the scope's agent."""
    if not scope.holds(memory.scope):
        raise NotFound(
            f"{memory.id}: this scope holds no such memory; another agent shares it", id=memory.id,
            hint="ask its owner to change it, or store what you know of it as a memory of your own, derived_from it",
        )  # fmt: skip


def _sources_forgotten(sources: Sequence[str]) -> Forgotten:
    return Forgotten(f"derived_from: {', '.join(sources[:3])} and what was made of it is forgotten", ids=list(sources))


def _part_of(request: Request, index: int, count: int) -> Request:
    if count == 1:
        return request
    return replace(request, id=f"{request.id}#{index}", fingerprint=f"{request.fingerprint}#{index}")


def _stored(written: Written, durability: Durability) -> Stored:
    return Stored(
        id=written.id,
        version=written.version,
        outcome=written.outcome,
        durability=durability,
        replayed=written.replayed,
    )


def _not_searchable(written: Written, reached: Durability) -> NotSearchable:
    return NotSearchable(
        f"{written.id}: is stored, but its vector has not come in time",
        id=written.id, version=written.version, outcome=written.outcome, reached=reached,
    )  # fmt: skip
