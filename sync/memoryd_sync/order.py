"""The order of a session's events, told to them after all that the archive has was copied: that comes in no order, each with what
it followed when it was archived. What was said here while an event was lost does not know it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from memoryd.embed.late import turns_after
from memoryd.hot.changes import Heard
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.keys import TIMELINES, session_of
from memoryd.limits import FOLLOW_BATCH_MAX, TIER_BATCH_MAX
from memoryd.model.scope import Scope
from memoryd.retry import heed_cancellation
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span


async def put_in_order(records: Records, model: str, stop: asyncio.Event) -> bool:
    """Tells each event of each session what it follows, and, where the model's vectors read that, what comes after it. Those for
    which that is new wait for their vector again; most are only looked at. False when it was interrupted. Raises HotUnavailable."""
    redis: Any = records.redis
    with contextlib.ExitStack() as span, hot_errors("put in order"):
        cause = None
        async for key in redis.scan_iter(match=f"{TIMELINES}*", count=TIER_BATCH_MAX):
            if cause is None:  # where nothing was said, nothing is told
                span.enter_context(linked_span(telemetry.FOLLOW, []))
                cause = inject()
            scope, start = session_of(key.decode()), 0
            while ids := [one.decode() for one in await redis.zrange(key, start, start + FOLLOW_BATCH_MAX - 1)]:
                heed_cancellation()
                if stop.is_set():
                    return False
                await _tell(records, scope, ids, turns_after(model), cause)
                start += FOLLOW_BATCH_MAX
    return True


async def _tell(records: Records, scope: Scope, ids: list[str], count: int, cause: str) -> None:
    await records.refollow(scope, ids, reworded=False, traceparent=cause)
    if count:
        more = await records.hear({(scope, one): Heard(cause) for one in ids}, turns_after=count)
        gone = {(scope, key.rpartition(":")[2]): Heard(cause, gone=True) for key in more}
        await records.hear(gone, turns_after=count)
