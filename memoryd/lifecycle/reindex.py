"""Another embedding model: the old vectors go, the index takes the new dimensions, the journal brings the new vectors.

Memories stay searchable by their words meanwhile. It is safe to repeat: what has the new model's vector is left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.store import Archive
from memoryd.config import Settings
from memoryd.embed.protocol import Embedder
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import SLOTS, Encoded, derived_fields
from memoryd.hot.journal import create_groups
from memoryd.hot.records import Records
from memoryd.keys import KINDS, Keys
from memoryd.stores import prepare_redis
from memoryd.whole import Wholes
from memoryd_schemas.redis_fill import drop_index_of
from memoryd_schemas.redis_state import drop_vectors

BATCH = 200  # memories made pending in one round trip


async def reindex(
    redis: Redis, settings: Settings, embedder: Embedder, *, archive: Archive | None = None, progress: Callable[[int], None]
) -> int:
    """Makes every memory without a vector of `embedder` pending again; returns how many. Daemons and sync must be stopped.

    What ranking keeps of a content, its terms, is made anew too: an earlier memoryd has kept none, or others.

    `progress` hears how many memories were looked at. Light records get their contents back from the `archive`, to be embedded;
    the tiers take them out again. Raises SchemaMismatch, HotUnavailable, ArchiveUnavailable.
    """
    keys = Keys(settings.buckets)
    length = embedder.dims * (4 if settings.vector_type == "float32" else 2)
    with hot_errors("reindex"):
        await create_groups(redis, keys)
        records, count = Records(redis, keys, settings.vector_type), 0
        wholes = Wholes(records, archive, lambda: embedder.model)
        async for batch in _batches(redis, keys):
            await wholes.bring([one for one in await records.read([record for record, _ in batch]) if one.light])
            derived = await _derived(redis, [record for record, _ in batch])
            stays: list[Encoded] = [embedder.model, length, SLOTS[0], embedder.dims * 2]
            answers = await scripts.unembed.many(
                redis, [(place, [*stays, *own]) for place, own in zip(batch, derived, strict=True)]
            )
            count += sum(1 for answer in answers if answer)
            progress(len(batch))
        # Last, so that no daemon accepts the new model beside vectors of the old one.
        await drop_vectors(redis, names.SCHEMA)
        await drop_index_of(redis, SLOTS[1])
    await prepare_redis(redis, keys, settings, embedder)
    return count


async def _derived(redis: Redis, records: list[str]) -> list[list[Encoded]]:
    """Fields and values that follow from each record's content and metadata."""
    async with redis.pipeline(transaction=False) as pipe:
        for record in records:
            pipe.hmget(record, ["content", "metadata"])
        rows = await pipe.execute()
    fields = [
        derived_fields((content or b"").decode(), msgspec.json.decode(metadata or b"{}")) for content, metadata in rows
    ]
    return [[part for pair in one.items() for part in pair] for one in fields]


async def _batches(redis: Redis, keys: Keys) -> AsyncIterator[list[list[str]]]:
    """The KEYS of `unembed` for every record."""
    batch = []
    for kind in KINDS:
        async for raw in redis.scan_iter(match=f"{names.memories(kind)}*", count=BATCH):
            record = raw.decode()
            batch.append([record, keys.journal(keys.bucket(record.rpartition(":")[2]))])
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch
