"""Memories removed from Redis, each with all that the journal holds of it; a tombstone stays (hot/tombstones.py)."""

from __future__ import annotations

from collections.abc import Sequence

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Doomed, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.limits import IDEMPOTENCY_TTL_SECONDS, TOMBSTONE_TTL_SECONDS
from memoryd.model.scope import to_tag
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside


@inside(telemetry.WRITE)
async def forget(records: Records, many: Sequence[Doomed], *, now: int) -> list[Written]:
    """Removes each in its own atomic step, all in one round trip, and leaves tombstones above both stores' versions."""
    calls = [_call(records, one, now) for one in many]
    records.tell_of([one.memory_id for one in many])
    with hot_errors("forget"):
        if len(calls) == 1:
            return [Written.parse(await scripts.forget(records.redis, *calls[0]))]
        return [Written.parse(one) for one in await scripts.forget.many(records.redis, calls)]


def _call(records: Records, one: Doomed, now: int) -> tuple[list[str], list[Encoded]]:
    bucket = records.keys.bucket(one.memory_id)
    keys = [
        records.keys.memory(kind_of(one.memory_type), one.scope, one.memory_id),
        records.keys.journal(bucket),
        records.keys.tombstone(one.memory_id),
        records.keys.idempotency(one.inside, one.memory_id, one.request.id),
        records.keys.kept_events(bucket, one.scope),
        *records.timeline(one.memory_type, one.scope, one.memory_id),
    ]
    args: list[Encoded] = [
        now, to_tag(one.inside.agent), to_tag(one.inside.session), one.archived_version, one.request.fingerprint,
        IDEMPOTENCY_TTL_SECONDS, TOMBSTONE_TTL_SECONDS, names.events_prefix(one.scope), one.request.traceparent,
        one.memory_id, to_tag(one.scope.tenant), to_tag(one.scope.project), to_tag(one.scope.agent),
        to_tag(one.scope.session), one.memory_type, one.content_hash, one.said_before,
        one.request.asked_at,
    ]  # fmt: skip
    return keys, args
