"""A memory's fields changed where it stands in Redis."""

from __future__ import annotations

from typing import Any

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Request, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, to_fields
from memoryd.hot.records import Records
from memoryd.hot.seen import noting
from memoryd.keys import kind_of
from memoryd.limits import IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX
from memoryd.model.episode import FIELDS as EVENT_FIELDS
from memoryd.model.fact import FIELDS as FACT_FIELDS
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope, to_tag
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside


@inside(telemetry.WRITE)
async def update(
    records: Records,
    scope: Scope,
    memory: Memory,
    changes: dict[str, Any],
    *,
    if_version: int | None,
    request: Request,
    fsync: bool = False,
) -> tuple[Written, bool]:
    """Changes fields of `memory` (of which only id, type and place are used) in one atomic step."""
    fields = to_fields(changes)
    gone = [name for name, value in changes.items() if value is None]
    gone += [name for name in (*EVENT_FIELDS, *FACT_FIELDS) if "metadata" in changes and name not in fields]
    bucket = records.keys.bucket(memory.id)
    records.tell_of([memory.id])
    keys = [
        records.keys.memory(kind_of(memory.memory_type), scope, memory.id),
        records.keys.journal(bucket),
        records.keys.idempotency(scope, memory.id, request.id),
        records.keys.kept_events(bucket, scope),
        *records.timeline(memory.memory_type, memory.scope, memory.id),
    ]
    args: list[Encoded] = [
        to_tag(scope.agent), to_tag(scope.session), "" if if_version is None else if_version, request.fingerprint,
        IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, names.events_prefix(scope), request.traceparent, ",".join(gone),
    ]  # fmt: skip
    args += [part for pair in fields.items() for part in pair]
    seen = noting(records.keys, [(memory.scope, changes["content_hash"])] if "content_hash" in changes else [])
    with hot_errors("update"):
        raw, fsynced = await scripts.update.durably(records.redis, keys, args, first=seen, fsync=fsync)
    return Written.parse(raw), fsynced
