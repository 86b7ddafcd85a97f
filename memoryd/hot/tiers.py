"""What the tiers change in Redis: which one a memory has, how often it was read, and whether it and its content are here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.changes import Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import HALF, Encoded, from_hot_vector, to_hot_vector
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.limits import JOURNAL_ENTRIES_MAX, TIER_BATCH_MAX
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import Record, seal
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span, tell


class HotTiers:
    """The tiers of one Redis."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._redis: Any = records.redis

    async def count_uses(self, now: int) -> int:
        """Notes in each record how often it was read, and has the archive told; how many records that were."""
        keys, counted = self._records.keys, 0
        for bucket in keys.all_buckets():
            read = [key.decode() async for key, _ in self._redis.hscan_iter(keys.uses(bucket), count=TIER_BATCH_MAX)]
            if read:
                with linked_span(telemetry.COUNT_USES, [], {telemetry.BUCKETS: [bucket]}):
                    counted += await self._count_uses(bucket, list(dict.fromkeys(read)), now)
        return counted

    async def _count_uses(self, bucket: str, read: Sequence[str], now: int) -> int:
        keys, counted = self._records.keys, 0
        for start in range(0, len(read), TIER_BATCH_MAX):
            calls: list[scripts.Call] = [
                ([key, keys.journal(bucket), keys.uses(bucket)], [now, JOURNAL_ENTRIES_MAX // 2, inject()])
                for key in read[start : start + TIER_BATCH_MAX]
            ]
            with hot_errors("count uses"):
                counted += (await scripts.use.one_by_one(self._records.redis, calls)).count(b"used")
        tell({telemetry.RECORD_COUNT: counted})
        return counted

    async def lighten(self, archived: Sequence[Record]) -> list[str]:
        """Takes the contents out of the records of memories, and half of their vectors, each as the archive was seen to have
        it: light, absent, changed, or waiting (a follower of the journal has still to see what it holds of it)."""
        calls = [self._lighten_call(one.memory, one.vector) for one in archived if one.vector is not None]
        assert len(calls) == len(archived), "only what has its vector is of the tier long"
        with hot_errors("lighten"):
            return [one.decode() for one in await scripts.lighten.one_by_one(self._records.redis, calls)]

    def _lighten_call(self, one: Memory, vector: bytes) -> scripts.Call:
        keys = self._records.keys
        return (
            [keys.memory(kind_of(one.memory_type), one.scope, one.id), keys.journal(keys.bucket(one.id))],
            [one.version, seal(one), self._records.slot, one.embedding_model, one.context, to_hot_vector(vector, HALF)],
        )

    async def move(self, memories: Sequence[Memory], tier: Tier, *, with_vector: bool, traceparent: str) -> list[Written]:
        """Gives each another tier, if it still has the version that was decided on. What goes to `long` is found by half of its
        vector from then on, and has its content still.

        moved, already, missing, conflict, pending (with `with_vector`, when it has none), light (its content has to be brought
        back first), waiting (to `long`: until what is journaled of it is archived), or overloaded.
        """
        calls: list[scripts.Call] = []
        vectors = await self._halved(memories) if tier is Tier.LONG else [("", "")] * len(memories)
        for one, vector in zip(memories, vectors, strict=True):
            bucket = self._records.keys.bucket(one.id)
            keys = [
                self._records.keys.memory(kind_of(one.memory_type), one.scope, one.id), self._records.keys.journal(bucket),
                self._records.keys.kept_events(bucket, one.scope),
            ]  # fmt: skip
            prefix = names.events_prefix(one.scope)
            asked = [one.version, tier, int(with_vector), JOURNAL_ENTRIES_MAX, prefix, traceparent, self._records.slot, *vector]
            calls.append((keys, asked))
        with hot_errors("move"):
            return [Written.parse(one) for one in await scripts.move.one_by_one(self._records.redis, calls)]

    async def _halved(self, memories: Sequence[Memory]) -> list[tuple[Encoded, Encoded]]:
        """The vector of each as its record has it, and as float16; of one that has none, or a broken one, nothing."""
        records, found = self._records, []
        with hot_errors("move"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in memories:
                    pipe.hget(records.keys.memory(kind_of(one.memory_type), one.scope, one.id), f"embedding{records.slot}")
                found = await pipe.execute()
        return [
            (one, to_hot_vector(from_hot_vector(one, records.datatype), HALF)) if one and len(one) % 4 == 0 else ("", "")
            for one in found
        ]

    async def put_away(self, memories: Sequence[Memory]) -> list[str]:
        """Removes the records of archived memories, which the archive was seen to have at these versions: gone, absent,
        changed, or waiting (a follower of the journal has still to see what it holds of it)."""
        calls: list[scripts.Call] = [
            (
                [
                    self._records.keys.memory(kind_of(one.memory_type), one.scope, one.id),
                    self._records.keys.journal(self._records.keys.bucket(one.id)),
                ],
                [one.version],
            )
            for one in memories
        ]
        with hot_errors("put away"):
            return [one.decode() for one in await scripts.put_away.one_by_one(self._records.redis, calls)]
