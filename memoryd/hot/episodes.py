"""Agents' logs in Redis: each event a memory, a journal entry and a log entry in one step; the log is read by place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import NewRecord, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, record_fields
from memoryd.hot.seen import noting
from memoryd.keys import Keys, kind_of
from memoryd.limits import EPISODE_LOG_ENTRIES, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside


@dataclass(frozen=True)
class LogPart:
    """Entries of a log, and where the log begins by now: what stood before is in the archive (all of it without a log)."""

    first: str | None
    entries: list[tuple[str, str]]
    """Position and memory id."""


class EpisodeLog:
    """The logs of one Redis."""

    def __init__(self, redis: Redis, keys: Keys, datatype: str = "float32") -> None:
        self._redis = redis
        self._keys = keys
        self._datatype = datatype

    @inside(telemetry.WRITE)
    async def append(self, new: NewRecord, *, data: bytes, fsync: bool) -> tuple[Written, bool]:
        """Stores the event's record and appends it; `data` goes to the archive only. The flag is the wanted fsync's."""
        memory, keys = new.memory, self._keys
        bucket = keys.bucket(memory.id)
        places = [
            keys.memory(kind_of(memory.memory_type), memory.scope, memory.id), keys.journal(bucket),
            keys.tombstone(memory.id), keys.idempotency(memory.scope, memory.id, new.request.id),
            keys.episodes(memory.scope), keys.place(bucket), keys.kept_events(bucket, memory.scope),
        ]  # fmt: skip
        fields = record_fields(Record(memory), self._datatype)
        del fields["version"]  # an event is born once
        args: list[Encoded] = [
            new.request.fingerprint, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, names.events_prefix(memory.scope),
            new.request.traceparent, EPISODE_LOG_ENTRIES, data,
        ]  # fmt: skip
        args += [part for pair in fields.items() for part in pair]
        with hot_errors("record an episode"):
            seen = noting(keys, [(memory.scope, memory.content_hash)])
            raw, fsynced = await scripts.episode.durably(self._redis, places, args, first=seen, fsync=fsync)
        return Written.parse(raw), fsynced

    async def read(self, scope: Scope, *, after: str, count: int) -> LogPart:
        """The log's entries behind a position, and its first entry of the same moment."""
        log = self._keys.episodes(scope)
        with hot_errors("read an agent's log"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xrange(log, count=1)
                pipe.xrange(log, min=f"({after}", count=count)
                begin, rows = await pipe.execute()
        entries = [(position.decode(), fields[b"id"].decode()) for position, fields in rows]
        return LogPart(begin[0][0].decode() if begin else None, entries)

    async def unarchived_data(self, scope: Scope, memory_id: str) -> bytes | None:
        """The data of an event that is still on its way to the archive."""
        record = self._keys.memory("episodic", scope, memory_id)
        journal = self._keys.journal(self._keys.bucket(memory_id))
        with hot_errors("look for an episode's data"):
            position: Any = await self._redis.hget(record, "position")
            rows: Any = await self._redis.xrange(journal, min=position, max=position) if position else []
        data: bytes | None = rows[0][1].get(b"data") if rows else None
        return data
