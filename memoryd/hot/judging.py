"""What is said of memories: which of them were useful, and which were not."""

from __future__ import annotations

from collections.abc import Sequence

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Judgement, Request, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.records import Records
from memoryd.limits import (
    FEEDBACK_HALF_LIFE_SECONDS,
    IDEMPOTENCY_TTL_SECONDS,
    JOURNAL_ENTRIES_MAX,
    RECALL_LIFE_SECONDS,
)
from memoryd.model.scope import Scope, to_tag
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside


@inside(telemetry.WRITE)
async def judge(
    records: Records, scope: Scope, many: Sequence[Judgement], *, request: Request, now: int
) -> list[Written]:
    """Says of each memory what is said of it, each in its own atomic step, all in one round trip."""
    if not many:
        return []
    with hot_errors("feedback"):
        answers = await scripts.judge.many(records.redis, [_call(records, scope, one, request, now) for one in many])
    return [Written.parse(one) for one in answers]


def _call(records: Records, scope: Scope, one: Judgement, request: Request, now: int) -> tuple[list[str], list[Encoded]]:
    bucket = records.keys.bucket(one.memory_id)
    keys = [
        records.keys.memory(one.kind, scope, one.memory_id),
        records.keys.journal(bucket),
        records.keys.verdict(scope, one.memory_id, one.verdict),
        records.keys.kept_events(bucket, scope),
        records.keys.idempotency(scope, one.memory_id, f"{request.id}#{one.memory_id}"),
    ]
    args: list[Encoded] = [
        now, to_tag(scope.agent), to_tag(scope.session), request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
        JOURNAL_ENTRIES_MAX, names.events_prefix(scope), request.traceparent, f"{one.useful:g}", f"{one.useless:g}",
        RECALL_LIFE_SECONDS, FEEDBACK_HALF_LIFE_SECONDS * 1_000_000,
    ]  # fmt: skip
    return keys, args
