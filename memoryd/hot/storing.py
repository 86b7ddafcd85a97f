"""New memories in Redis: whether each is new is decided where it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import NewRecord, Sighting, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, record_fields
from memoryd.hot.records import Records
from memoryd.hot.seen import noting
from memoryd.hot.tombstones import read_tombstone
from memoryd.keys import kind_of
from memoryd.limits import IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, STORES_TOGETHER_MAX
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd.together import Together
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import commands_told, inside


class HotStoring:
    """Stores new memories in one Redis, those of several callers together."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._together = Together(self._store_together, at_most=STORES_TOGETHER_MAX)

    @inside(telemetry.WRITE)
    async def store(self, new: Sequence[NewRecord], *, fsync: bool = False) -> tuple[list[Written], bool]:
        """Stores each in its own atomic step, all in one round trip; the flag says whether a wanted fsync happened.

        One memory goes with those that others store at the same time, where its round trip need not be told of on its own.
        """
        calls = [store_call(self._records, one) for one in new]
        self._records.tell_of([one.memory.id for one in new])
        if len(new) == 1 and not fsync and not commands_told():
            answer = await self._together((calls[0], (new[0].memory.scope, new[0].memory.content_hash)))
            with hot_errors("store"):
                if isinstance(answer, Exception):
                    raise answer
                return [Written.parse(answer)], True
        with hot_errors("store"):
            seen = noting(self._records.keys, [(one.memory.scope, one.memory.content_hash) for one in new])
            answers = await scripts.store.many(self._records.redis, calls, first=seen, then=scripts.waitaof() if fsync else ())
            return [Written.parse(one) for one in answers[: len(calls)]], not fsync or scripts.fsynced(answers[len(calls) :])

    async def _store_together(self, many: Sequence[tuple[scripts.Call, tuple[Scope, str]]]) -> list[Any]:
        with hot_errors("store"):
            seen = noting(self._records.keys, [content for _, content in many])
            return await scripts.store.each(self._records.redis, [call for call, _ in many], first=seen)

    async def sightings(self, many: Sequence[NewRecord]) -> list[Sighting]:
        """What is known here of each, in one round trip."""
        with hot_errors("store"):
            async with self._records.redis.pipeline(transaction=False) as pipe:
                for new in many:
                    record, _, tombstone, dedup, idempotency, *_ = _keys(self._records, new)
                    pipe.hmget(record, "content_hash", "hash")
                    pipe.exists(idempotency)
                    pipe.get(tombstone)
                    pipe.execute_command("BF.EXISTS", dedup, new.memory.id)
                answers = await pipe.execute()
        found = []
        for new, start in zip(many, range(0, len(answers), 4), strict=True):
            (whole, light), stored_by_it, stone, ever = answers[start : start + 4]
            content_hash = whole or light
            here = bool(stored_by_it) or (content_hash or b"").decode() == new.memory.content_hash
            buried = read_tombstone(stone).version if stone else 0
            found.append(Sighting(here, perhaps_archived=bool(ever) and content_hash is None, buried=buried))
        return found


def store_call(records: Records, new: NewRecord) -> scripts.Call:
    """What the atomic step is called with."""
    return _keys(records, new), _args(records, new)


def _keys(records: Records, new: NewRecord) -> list[str]:
    memory, keys = new.memory, records.keys
    bucket = keys.bucket(memory.id)
    return [
        keys.memory(kind_of(memory.memory_type), memory.scope, memory.id),
        keys.journal(bucket),
        keys.tombstone(memory.id),
        keys.dedup(bucket),
        keys.idempotency(memory.scope, memory.id, new.request.id),
        keys.kept_events(bucket, memory.scope),
        *records.timeline(memory.memory_type, memory.scope, memory.id),
    ]


def _args(records: Records, new: NewRecord) -> list[Encoded]:
    fields = record_fields(Record(new.memory), records.datatype)
    del fields["version"]  # the script decides it
    asked = "" if new.archived_version is None else new.archived_version
    control: list[Encoded] = [
        fields["recorded_at"], int(new.dedups), asked, new.request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
        JOURNAL_ENTRIES_MAX, names.events_prefix(new.memory.scope), new.request.traceparent,
        new.request.asked_at,
    ]  # fmt: skip
    return control + [part for pair in fields.items() for part in pair]
