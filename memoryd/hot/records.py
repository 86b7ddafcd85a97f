"""Memories in Redis, each read by direct key; and the atomic steps of those who embed them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import HotUnavailable, Overloaded
from memoryd.hot import scripts
from memoryd.hot.changes import Attached, Heard
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import MADE_OF, MEMORY_FIELDS, SLOTS, Encoded, float32_of, read_memory, to_hot_vector
from memoryd.hot.recalls import Note, note_of
from memoryd.hot.tombstones import Tombstones
from memoryd.keys import KINDS, Keys, kind_of
from memoryd.limits import DEAD_LETTERS_MAX
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import recorded

_MADE_OF = [name.encode() for name in MADE_OF]


class Records:
    """The memories of one Redis. `datatype` is how its indexes keep vectors: float32 or float16; `slot` is where a record has
    the vector that they read."""

    def __init__(self, redis: Redis, keys: Keys, datatype: str = "float32") -> None:
        self.redis = redis
        self.keys = keys
        self.datatype = datatype
        self.slot = SLOTS[0]
        self.tombstones = Tombstones(redis, keys)

    def tell_of(self, memory_ids: Sequence[str]) -> None:
        """Tells the current span which memories are written: how many, and in which buckets."""
        if span := recorded():
            span.set_attribute(telemetry.BATCH_SIZE, len(memory_ids))
            span.set_attribute(telemetry.BUCKETS, sorted({self.keys.bucket(one) for one in memory_ids}))

    def timeline(self, memory_type: MemoryType, scope: Scope, memory_id: str) -> list[str]:
        """The key of the timeline that a memory has its place in: none for what did not happen in a session."""
        happened = memory_type is MemoryType.EPISODIC and scope.session
        return [self.keys.timeline(scope, memory_id)] if happened else []

    async def get(self, scope: Scope, memory_id: str) -> Memory | None:
        """The memory, if this scope holds it here."""
        return (await self.get_many(scope, [memory_id])).get(memory_id)

    async def visible(self, scope: Scope, memory_id: str) -> Memory | None:
        """The memory, if this scope holds it here or another agent shares it with the scope's."""
        return (await self.visible_many(scope, [memory_id])).get(memory_id)

    async def each(self, scope: Scope, *, size: int, with_text: bool = True) -> AsyncIterator[list[Memory]]:
        """Every memory of the scope's project that is here from beginning to end of the walk, `size` at a time.

        It goes by keys, not by an index: what no index holds (yet) is found too. Without text, content and metadata are
        left out.
        """
        wanted = [name for name in MEMORY_FIELDS if with_text or name not in ("content", "metadata")]
        batch: list[str] = []
        for kind in KINDS:
            with hot_errors("walk"):
                async for key in self.redis.scan_iter(match=self.keys.memories_of(kind, scope), count=1000, _type="HASH"):
                    batch.append(key.decode())
                    if len(batch) >= size:
                        yield await self._read(batch, wanted)
                        batch = []
        if batch:
            yield await self._read(batch, wanted)

    async def read(self, keys: Sequence[str]) -> list[Memory]:
        """The memories under these keys that are there."""
        return await self._read(keys, MEMORY_FIELDS) if keys else []

    async def _read(self, keys: Sequence[str], wanted: Sequence[str]) -> list[Memory]:
        with hot_errors("walk"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, wanted)
                rows = await pipe.execute()
        return [read_memory(row, wanted) for row in rows if row[0] is not None]

    async def get_many(self, scope: Scope, memory_ids: Sequence[str] | Mapping[str, str]) -> dict[str, Memory]:
        """Those of the memories that this scope holds here, in one round trip, without their vectors.

        Who knows their kinds gives them with the ids; otherwise each is looked for in every kind.
        """
        found, _ = await self._get(scope, memory_ids)
        return {memory_id: one for memory_id, one in found.items() if scope.holds(one.scope)}

    async def visible_many(self, scope: Scope, memory_ids: Sequence[str] | Mapping[str, str]) -> dict[str, Memory]:
        """The same, with those that other agents share with the scope's."""
        return (await self._get(scope, memory_ids))[0]

    async def get_recalled(self, scope: Scope, kinds: Mapping[str, str], *, used: int) -> tuple[dict[str, Memory], str]:
        """Those that the scope sees, and the id under which it is noted what was recalled; empty where Redis has no room
        for that. The first `used` of them are noted as used."""
        return await self._get(scope, kinds, note_of(self.keys, scope, kinds, used=used))

    async def _get(
        self, scope: Scope, memory_ids: Sequence[str] | Mapping[str, str], note: Note | None = None
    ) -> tuple[dict[str, Memory], str]:
        known = memory_ids if isinstance(memory_ids, Mapping) else {}
        places = [
            (memory_id, self.keys.memory(kind, scope, memory_id))
            for memory_id in memory_ids
            for kind in ([known[memory_id]] if memory_id in known else KINDS)
        ]
        with hot_errors("get"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for _, key in places:
                    pipe.hmget(key, MEMORY_FIELDS)
                if note:
                    note.on(pipe)
                answers = await pipe.execute(raise_on_error=False)
            rows, noted = answers[: len(places)], answers[len(places) :]
            if broken := next((row for row in rows if isinstance(row, Exception)), None):
                raise broken
        found = {}
        for (memory_id, _), row in zip(places, rows, strict=True):
            if row[0] is not None:
                memory = read_memory(row)
                if memory.seen_from(scope):
                    found[memory_id] = memory
        return found, noted[0].decode() if noted and isinstance(noted[0], bytes) else ""

    async def note_use(self, memory: Memory) -> None:
        """Notes that somebody has read it; where Redis has no room, nobody will know."""
        key = self.keys.memory(kind_of(memory.memory_type), memory.scope, memory.id)
        with contextlib.suppress(Overloaded, HotUnavailable), hot_errors("note a use"):
            await self.redis.hincrby(self.keys.uses(self.keys.bucket(memory.id)), key, 1)

    async def vectors(self, scope: Scope, memory_ids: Mapping[str, str]) -> dict[str, bytes]:
        """The float32 vectors of those of the memories that have one here, in one round trip. Kinds come with the ids."""
        with hot_errors("get vectors"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for memory_id, kind in memory_ids.items():
                    pipe.hmget(self.keys.memory(kind, scope, memory_id), [f"embedding{self.slot}", f"half{self.slot}"])
                rows = await pipe.execute()
        vectors = [float32_of(whole, half, self.datatype) for whole, half in rows]
        return {memory_id: vector for memory_id, vector in zip(memory_ids, vectors, strict=True) if vector is not None}

    async def pending(self, scope: Scope, memory_ids: Sequence[str]) -> set[str]:
        """Those of the memories that live here and wait for their vector."""
        places = [(memory_id, self.keys.memory(kind, scope, memory_id)) for memory_id in memory_ids for kind in KINDS]
        with hot_errors("look for vectors"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for _, key in places:
                    pipe.hget(key, "pending")
                flags = await pipe.execute()
        return {memory_id for (memory_id, _), flag in zip(places, flags, strict=True) if flag == b"1"}

    async def waiting(self, asked: Sequence[tuple[str, str, int]]) -> list[bool]:
        """Whether the record under each key waits for the vector of this content's hash in this context, in one round trip."""
        with hot_errors("look for vectors"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for key, _, _ in asked:
                    pipe.hmget(key, ["pending", "content_hash", "hash", "context"])
                rows = await pipe.execute()
        return [
            flag == b"1" and (whole or light or b"").decode() == content_hash and int(now or 0) == context
            for (_, content_hash, context), (flag, whole, light, now) in zip(asked, rows, strict=True)
        ]

    async def present(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, int]:
        """Those of the memories whose record is in the scope's project here, whole or not, each with its version."""
        places = [(memory_id, self.keys.memory(kind, scope, memory_id)) for memory_id in memory_ids for kind in KINDS]
        with hot_errors("get"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for _, key in places:
                    pipe.exists(key)
                    pipe.hget(key, "version")
                rows = await pipe.execute()
        return {
            memory_id: int(version or 0)
            for (memory_id, _), here, version in zip(places, rows[::2], rows[1::2], strict=True)
            if here
        }

    async def lives(self, scope: Scope, memory_type: MemoryType, memory_id: str, version: int) -> bool:
        """Whether the memory lives here, and this version of it is not forgotten."""
        key = self.keys.memory(kind_of(memory_type), scope, memory_id)
        with hot_errors("get"):
            here = bool(await self.redis.exists(key))
        return here and (await self.tombstones.versions([memory_id])).get(memory_id, 0) < version

    async def attach(self, memory_key: str, memory_id: str, attached: Attached) -> bool:
        """Gives a memory its vector, which waits for one, or whose own has not read all that comes after it; False when its content
        or its context is another by now."""
        bucket = self.keys.bucket(memory_id)
        keys = [memory_key, self.keys.journal(bucket), self.keys.kept_events(bucket, attached.scope)]
        if attached.turns_after:
            keys.append(self.keys.timeline(attached.scope, memory_id))
        args: list[Encoded] = [
            attached.content_hash, attached.model, to_hot_vector(attached.vector, self.datatype),
            names.events_prefix(attached.scope), attached.traceparent, attached.context, attached.slot,
            attached.followed_by, attached.turns_after,
        ]  # fmt: skip
        with hot_errors("attach"):
            return bool(await scripts.attach(self.redis, keys, args))

    async def neighbours(self, places: Sequence[tuple[Scope, str]]) -> list[tuple[str | None, str]]:
        """Content and speaker of each of these events, in one round trip; empty for one that is not there, None for the content
        of one whose record is light."""
        if not places:
            return []
        with hot_errors("embed"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for scope, memory_id in places:
                    pipe.hmget(self.keys.memory(kind_of(MemoryType.EPISODIC), scope, memory_id), ["id", "content", "speaker"])
                rows = await pipe.execute()
        return [
            (None if here and content is None else (content or b"").decode(), (speaker or b"").decode())
            for here, content, speaker in rows
        ]

    async def refollow(self, scope: Scope, memory_ids: Sequence[str], *, reworded: bool, traceparent: str) -> None:
        """Tells events of a session what they follow now; those for which that is new wait for their vector again.

        `reworded`: what they follow says something else now, so that all of them do.
        """
        kind, keys = kind_of(MemoryType.EPISODIC), self.keys
        calls: list[scripts.Call] = [
            (
                [keys.memory(kind, scope, one), keys.journal(keys.bucket(one)), keys.timeline(scope, one)],
                [one, int(reworded), traceparent],
            )
            for one in memory_ids
        ]
        with hot_errors("refollow"):
            await scripts.refollow.many(self.redis, calls)

    async def hear(self, told: Mapping[tuple[Scope, str], Heard], *, turns_after: int) -> list[str]:
        """Tells events of a session that others come after them now, of which their vectors read so many; the keys of the records
        whose vector has yet to read one, and is as good as it was until then. The others wait for a new one, where they need it."""
        kind, keys = kind_of(MemoryType.EPISODIC), self.keys
        calls: list[scripts.Call] = [
            (
                [keys.memory(kind, scope, one), keys.journal(keys.bucket(one)), keys.timeline(scope, one)],
                [one, turns_after, int(heard.gone), heard.traceparent, int(heard.under_way)],
            )
            for (scope, one), heard in told.items()
        ]
        with hot_errors("hear"):
            answers = await scripts.hear.many(self.redis, calls) if calls else []
        return [names_[0] for (names_, _), answer in zip(calls, answers, strict=True) if answer == b"more"]

    async def later(self, places: Sequence[tuple[Scope, str]], count: int) -> list[str]:
        """The ids of the events after each of these in its session, with commas, nearest first, in one round trip."""
        calls: list[scripts.Call] = [([self.keys.timeline(scope, one)], [one, count]) for scope, one in places]
        with hot_errors("embed"):
            return [answer.decode() for answer in await scripts.later.many(self.redis, calls)]

    async def made_of(self, keys: Sequence[str]) -> list[dict[bytes, bytes]]:
        """What the vector of each of these records is made of, in one round trip; of one that is light, without its content."""
        with hot_errors("embed"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, MADE_OF)
                rows = await pipe.execute()
        return [{name: raw for name, raw in zip(_MADE_OF, row, strict=True) if raw is not None} for row in rows]

    async def bury(self, group: str, memory_id: str, reason: str) -> None:
        """Notes in the dead letters what could not be followed, by id and reason, never with its text."""
        with hot_errors("bury"):
            await self.redis.xadd(
                names.DEAD_LETTERS, {"group": group, "id": memory_id, "reason": reason}, maxlen=DEAD_LETTERS_MAX
            )
