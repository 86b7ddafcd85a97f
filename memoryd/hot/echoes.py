"""Which of the archive's documents this Redis knows already: most of what a change stream tells is what came from here.

A look at a few fields instead of the atomic step, for which all of a memory would be made ready and sent. It may say too seldom
that nothing is to be done, never too often: what a record has of a version stays as long as the record, and what came in its
place since is newer still.
"""

from __future__ import annotations

from collections.abc import Sequence

from memoryd.hot.changes import Projection
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.model.feedback import from_text

LOOKED_AT = ("version", "access_count", "pending", "context", "follows", "feedback", "content_hash", "hash")


async def echoes(records: Records, many: Sequence[Projection]) -> list[bool]:
    """Whether `project_one` would surely ignore each; in one round trip. Raises HotUnavailable."""
    with hot_errors("project"):
        async with records.redis.pipeline(transaction=False) as pipe:
            for one in many:
                memory = one.record.memory
                pipe.hmget(records.keys.memory(kind_of(memory.memory_type), memory.scope, memory.id), LOOKED_AT)
            rows = await pipe.execute(raise_on_error=False)  # what is no record is the atomic step's to refuse
    return [isinstance(row, list) and _brings_nothing(one, row) for one, row in zip(many, rows, strict=True)]


def _brings_nothing(one: Projection, row: Sequence[bytes | None]) -> bool:
    if row[0] is None or one.tombstone is not None or one.whole:
        return False
    version, access_count, pending, context, follows, feedback, whole, light = ((part or b"").decode() for part in row)
    memory = one.record.memory
    if (whole or light) != memory.content_hash or int(version) < memory.version:
        return False
    known = from_text(feedback)
    return int(version) > memory.version or (
        not (pending == "1" and one.record.vector is not None)
        and int(access_count) >= memory.access_count
        and int(context or 0) >= memory.context
        and not (memory.context and int(context) == memory.context and follows != ",".join(memory.follows))
        and (known.count if known else 0) >= (memory.feedback.count if memory.feedback else 0)
    )
