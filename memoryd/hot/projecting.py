"""What the archive knows better, brought into Redis: memories as it holds them, and versions above which a write has to be."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Projection
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import HALF, Encoded, record_fields, to_hot_vector
from memoryd.hot.records import Records
from memoryd.hot.seen import noting
from memoryd.hot.tombstones import rename
from memoryd.keys import kind_of
from memoryd.limits import TOMBSTONE_TTL_SECONDS
from memoryd.model.memory import Memory
from memoryd.model.scope import to_tag
from memoryd_telemetry.propagation import inject


async def project_one(records: Records, one: Projection) -> str:
    """Brings what the archive holds here, only if it is newer: applied, enriched, whole, ignored, kept, or fenced."""
    [outcome] = await project_many(records, [one])
    return outcome


async def project_many(records: Records, many: Sequence[Projection]) -> list[str]:
    """The same for many in one round trip; their outcomes in order."""
    calls = [(_keys(records, one), _args(records, one)) for one in many]
    living = [one.record.memory for one in many if one.tombstone is None]
    seen = noting(records.keys, [(one.scope, one.content_hash) for one in living])
    with hot_errors("project"):
        return [answer.decode() for answer in await scripts.project.many(records.redis, calls, first=seen)]


def _keys(records: Records, one: Projection) -> list[str]:
    memory, keys = one.record.memory, records.keys
    bucket = keys.bucket(memory.id)
    return [
        keys.memory(kind_of(memory.memory_type), memory.scope, memory.id),
        keys.journal(bucket),
        keys.tombstone(memory.id),
        keys.dedup(bucket),
        keys.fence(bucket),
        keys.kept_events(bucket, memory.scope),
        *records.timeline(memory.memory_type, memory.scope, memory.id),
    ]


def _args(records: Records, one: Projection) -> list[Encoded]:
    stone = msgspec.json.encode(rename(one.tombstone, to_tag)) if one.tombstone else ""
    control: list[Encoded] = [
        one.record.memory.version, stone, TOMBSTONE_TTL_SECONDS, one.journal_as,
        names.events_prefix(one.record.memory.scope), one.traceparent or inject(), "" if one.fence is None else one.fence,
        int(one.adopted), records.slot, int(one.away), int(one.whole), one.light_seal,
        to_hot_vector(one.record.vector, HALF) if one.light_seal and one.record.vector else "", int(one.archived), int(one.copied),
    ]  # fmt: skip
    fields = record_fields(one.record, records.datatype)
    return [*control, fields.pop("embedding", ""), msgspec.msgpack.encode({name: _text(value) for name, value in fields.items()})]


def _text(value: Encoded) -> Encoded:
    """As Redis keeps it, and as its MessagePack knows it: strings only."""
    return value.decode() if type(value) is bytes else str(value) if type(value) is int else value


async def raise_fences(records: Records, fence: int) -> None:
    """Shuts out every follower with a lower number, in all buckets."""
    with hot_errors("fence"):
        await scripts.fence.many(records.redis, [([records.keys.fence(one)], [fence]) for one in records.keys.all_buckets()])


async def raise_version(records: Records, memory: Memory, *, archived_version: int, traceparent: str) -> bool:
    """Lifts a write that lost against the archive above it; False when the record has moved on."""
    key = records.keys.memory(kind_of(memory.memory_type), memory.scope, memory.id)
    keys = [key, records.keys.journal(records.keys.bucket(memory.id))]
    with hot_errors("raise_version"):
        return bool(await scripts.raise_version(records.redis, keys, [memory.version, archived_version, traceparent]))
