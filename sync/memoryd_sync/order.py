"""The order of a session's events, told to them after all that the archive has was copied: that comes in no order, each with what
it followed when it was archived. What was said here while an event was lost does not know it."""

from __future__ import annotations

from typing import Any

from memoryd.embed.late import turns_after
from memoryd.hot.changes import Heard
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.model.scope import Scope, from_tag

BATCH = 200


async def put_in_order(records: Records, model: str) -> None:
    """Tells each event of each session what it follows, and, where the model's vectors read that, what comes after it. Those for
    which that is new wait for their vector again; most are only looked at."""
    with hot_errors("put in order"):
        redis: Any = records.redis
        async for key in redis.scan_iter(match="aether:timeline:*", count=1000):
            scope, start = Scope(*map(from_tag, key.decode().split(":")[3:])), 0
            while ids := [one.decode() for one in await redis.zrange(key, start, start + BATCH - 1)]:
                await _tell(records, scope, ids, turns_after(model))
                start += BATCH


async def _tell(records: Records, scope: Scope, ids: list[str], count: int) -> None:
    await records.refollow(scope, ids, reworded=False, traceparent="")
    if count:
        more = await records.hear({(scope, one): Heard("") for one in ids}, turns_after=count)
        gone = {(scope, key.rpartition(":")[2]): Heard("", gone=True) for key in more}
        await records.hear(gone, turns_after=count)
