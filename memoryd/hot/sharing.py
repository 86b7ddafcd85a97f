"""One memory for several agents: who else sees it is a field of its record."""

from __future__ import annotations

from dataclasses import dataclass

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Request, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.limits import IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, SHARED_WITH_MAX
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope, to_tag


@dataclass(frozen=True)
class Share:
    """That an agent is to see a memory, or, not `seen`, to see it no more: every agent then, where none is named."""

    agent: str
    seen: bool


async def share(
    records: Records, scope: Scope, memory: Memory, wanted: Share, *, now: int, request: Request, fsync: bool
) -> tuple[Written, bool]:
    """Carries it out on `memory` (of which only id, type and place are used) in one atomic step.

    updated, unchanged, missing, full, overloaded, reused. The flag is the wanted fsync's.
    """
    bucket = records.keys.bucket(memory.id)
    keys = [
        records.keys.memory(kind_of(memory.memory_type), scope, memory.id),
        records.keys.journal(bucket),
        records.keys.idempotency(scope, memory.id, request.id),
        records.keys.kept_events(bucket, scope),
    ]
    args: list[Encoded] = [
        to_tag(scope.agent), to_tag(scope.session), request.fingerprint, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX,
        names.events_prefix(scope), request.traceparent, now, to_tag(wanted.agent), "share" if wanted.seen else "unshare",
        SHARED_WITH_MAX,
    ]  # fmt: skip
    with hot_errors("share"):
        raw, fsynced = await scripts.share.durably(records.redis, keys, args, fsync=fsync)
    return Written.parse(raw), fsynced
