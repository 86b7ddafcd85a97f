"""Memories in Redis: each change is one atomic step, each read is by direct key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import HotUnavailable, Overloaded
from memoryd.hot import scripts
from memoryd.hot.changes import Attached, Doomed, Judgement, NewRecord, Projection, Request, Sighting, Written
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import (
    HALF,
    LIGHT,
    MEMORY_FIELDS,
    SLOTS,
    Encoded,
    float32_of,
    record_fields,
    to_fields,
    to_hot_vector,
    to_memory,
)
from memoryd.hot.recalls import Note, note_of
from memoryd.hot.seen import noting
from memoryd.keys import KINDS, Keys, kind_of
from memoryd.limits import (
    DEAD_LETTERS_MAX,
    FEEDBACK_HALF_LIFE_SECONDS,
    IDEMPOTENCY_TTL_SECONDS,
    JOURNAL_ENTRIES_MAX,
    RECALL_LIFE_SECONDS,
    STORES_TOGETHER_MAX,
    TOMBSTONE_TTL_SECONDS,
)
from memoryd.model.episode import FIELDS as EVENT_FIELDS
from memoryd.model.fact import FIELDS as FACT_FIELDS
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.record import Record, Tombstone
from memoryd.model.scope import Scope, from_tag, to_tag
from memoryd.together import Together
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import commands_told, inside, recorded


class Records:
    """The memories of one Redis. `datatype` is how its indexes keep vectors: float32 or float16; `slot` is where a record has
    the vector that they read."""

    def __init__(self, redis: Redis, keys: Keys, datatype: str = "float32") -> None:
        self.redis = redis
        self.keys = keys
        self.datatype = datatype
        self.slot = SLOTS[0]
        self._together = Together(self._store_together, at_most=STORES_TOGETHER_MAX)

    @inside(telemetry.WRITE)
    async def store(self, new: Sequence[NewRecord], *, fsync: bool = False) -> tuple[list[Written], bool]:
        """Stores each in its own atomic step, all in one round trip; the flag says whether a wanted fsync happened.

        One memory goes with those that others store at the same time, where its round trip need not be told of on its own.
        """
        calls = [self.store_call(one) for one in new]
        self._tell_of([one.memory.id for one in new])
        if len(new) == 1 and not fsync and not commands_told():
            answer = await self._together((calls[0], (new[0].memory.scope, new[0].memory.content_hash)))
            with hot_errors("store"):
                if isinstance(answer, Exception):
                    raise answer
                return [Written.parse(answer)], True
        with hot_errors("store"):
            seen = noting(self.keys, [(one.memory.scope, one.memory.content_hash) for one in new])
            answers = await scripts.store.many(self.redis, calls, first=seen, then=scripts.waitaof() if fsync else ())
            return [Written.parse(one) for one in answers[: len(calls)]], not fsync or scripts.fsynced(answers[len(calls) :])

    async def _store_together(self, many: Sequence[tuple[scripts.Call, tuple[Scope, str]]]) -> list[Any]:
        with hot_errors("store"):
            seen = noting(self.keys, [content for _, content in many])
            return await scripts.store.each(self.redis, [call for call, _ in many], first=seen)

    def store_call(self, new: NewRecord) -> scripts.Call:
        """What the atomic step is called with."""
        return self._store_keys(new), self._store_args(new)

    def _tell_of(self, memory_ids: Sequence[str]) -> None:
        if span := recorded():
            span.set_attribute(telemetry.BATCH_SIZE, len(memory_ids))
            span.set_attribute(telemetry.BUCKETS, sorted({self.keys.bucket(one) for one in memory_ids}))

    def _timeline(self, memory_type: MemoryType, scope: Scope, memory_id: str) -> list[str]:
        """The key of the timeline that a memory has its place in: none for what did not happen in a session."""
        happened = memory_type is MemoryType.EPISODIC and scope.session
        return [self.keys.timeline(scope, memory_id)] if happened else []

    def _store_keys(self, new: NewRecord) -> list[str]:
        memory, keys = new.memory, self.keys
        bucket = keys.bucket(memory.id)
        return [
            keys.memory(kind_of(memory.memory_type), memory.scope, memory.id),
            keys.journal(bucket),
            keys.tombstone(memory.id),
            keys.dedup(bucket),
            keys.idempotency(memory.scope, memory.id, new.request.id),
            keys.kept_events(bucket, memory.scope),
            *self._timeline(memory.memory_type, memory.scope, memory.id),
        ]

    def _store_args(self, new: NewRecord) -> list[Encoded]:
        fields = record_fields(Record(new.memory), self.datatype)
        del fields["version"]  # the script decides it
        asked = "" if new.archived_version is None else new.archived_version
        control: list[Encoded] = [
            fields["recorded_at"], int(new.dedups), asked, new.request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
            JOURNAL_ENTRIES_MAX, names.events_prefix(new.memory.scope), new.request.traceparent,
            new.request.asked_at,
        ]  # fmt: skip
        return control + [part for pair in fields.items() for part in pair]

    async def sightings(self, many: Sequence[NewRecord]) -> list[Sighting]:
        """What is known here of each, in one round trip."""
        with hot_errors("store"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for new in many:
                    record, _, tombstone, dedup, idempotency, *_ = self._store_keys(new)
                    pipe.hmget(record, "content_hash", "hash")
                    pipe.exists(idempotency)
                    pipe.get(tombstone)
                    pipe.execute_command("BF.EXISTS", dedup, new.memory.id)
                answers = await pipe.execute()
        found = []
        for new, start in zip(many, range(0, len(answers), 4), strict=True):
            (whole, light), stored_by_it, stone, ever = answers[start : start + 4]
            content_hash = whole or light
            here = bool(stored_by_it) or (content_hash or b"").decode() == new.memory.content_hash
            buried = _tombstone(stone).version if stone else 0
            found.append(Sighting(here, perhaps_archived=bool(ever) and content_hash is None, buried=buried))
        return found

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
        return [to_memory({**LIGHT, **_given(wanted, row)}) for row in rows if row[0] is not None]

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
                memory = to_memory({**LIGHT, **_given(MEMORY_FIELDS, row)})
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
        return here and (await self.forgotten([memory_id])).get(memory_id, 0) < version

    async def forgotten(self, memory_ids: Sequence[str]) -> dict[str, int]:
        """Those of the memories that were forgotten, each with the version of its tombstone."""
        return {memory_id: stone.version for memory_id, stone in (await self.tombstones(memory_ids)).items()}

    async def tombstones(self, memory_ids: Sequence[str]) -> dict[str, Tombstone]:
        """What remains here of those of the memories that were forgotten, in one round trip. A later life may follow."""
        with hot_errors("get"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for memory_id in memory_ids:
                    pipe.get(self.keys.tombstone(memory_id))
                stones = await pipe.execute()
        found = zip(memory_ids, stones, strict=True)
        return {memory_id: _tombstone(raw) for memory_id, raw in found if raw}

    async def tombstone(self, scope: Scope, memory_id: str) -> Tombstone | None:
        """What remains here of a memory that this scope held."""
        with hot_errors("get"):
            raw: Any = await self.redis.get(self.keys.tombstone(memory_id))
        if raw is None:
            return None
        stone = _tombstone(raw)
        return stone if scope.holds(stone.scope) else None

    @inside(telemetry.WRITE)
    async def update(
        self,
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
        bucket = self.keys.bucket(memory.id)
        self._tell_of([memory.id])
        keys = [
            self.keys.memory(kind_of(memory.memory_type), scope, memory.id),
            self.keys.journal(bucket),
            self.keys.idempotency(scope, memory.id, request.id),
            self.keys.kept_events(bucket, scope),
            *self._timeline(memory.memory_type, memory.scope, memory.id),
        ]
        args: list[Encoded] = [
            to_tag(scope.agent), to_tag(scope.session), "" if if_version is None else if_version, request.fingerprint,
            IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, names.events_prefix(scope), request.traceparent, ",".join(gone),
        ]  # fmt: skip
        args += [part for pair in fields.items() for part in pair]
        seen = noting(self.keys, [(memory.scope, changes["content_hash"])] if "content_hash" in changes else [])
        with hot_errors("update"):
            raw, fsynced = await scripts.update.durably(self.redis, keys, args, first=seen, fsync=fsync)
        return Written.parse(raw), fsynced

    @inside(telemetry.WRITE)
    async def forget(self, many: Sequence[Doomed], *, now: int) -> list[Written]:
        """Removes each in its own atomic step, all in one round trip, and leaves tombstones above both stores' versions."""
        calls = [self._forget_call(one, now) for one in many]
        self._tell_of([one.memory_id for one in many])
        with hot_errors("forget"):
            if len(calls) == 1:
                return [Written.parse(await scripts.forget(self.redis, *calls[0]))]
            return [Written.parse(one) for one in await scripts.forget.many(self.redis, calls)]

    def _forget_call(self, one: Doomed, now: int) -> tuple[list[str], list[Encoded]]:
        bucket = self.keys.bucket(one.memory_id)
        keys = [
            self.keys.memory(kind_of(one.memory_type), one.scope, one.memory_id),
            self.keys.journal(bucket),
            self.keys.tombstone(one.memory_id),
            self.keys.idempotency(one.inside, one.memory_id, one.request.id),
            self.keys.kept_events(bucket, one.scope),
            *self._timeline(one.memory_type, one.scope, one.memory_id),
        ]
        args: list[Encoded] = [
            now, to_tag(one.inside.agent), to_tag(one.inside.session), one.archived_version, one.request.fingerprint,
            IDEMPOTENCY_TTL_SECONDS, TOMBSTONE_TTL_SECONDS, names.events_prefix(one.scope), one.request.traceparent,
            one.memory_id, to_tag(one.scope.tenant), to_tag(one.scope.project), to_tag(one.scope.agent),
            to_tag(one.scope.session), one.memory_type, one.content_hash, one.said_before,
            one.request.asked_at,
        ]  # fmt: skip
        return keys, args

    async def attach(self, memory_key: str, memory_id: str, attached: Attached) -> bool:
        """Gives a pending memory its vector; False when its content is another by now."""
        bucket = self.keys.bucket(memory_id)
        keys = [memory_key, self.keys.journal(bucket), self.keys.kept_events(bucket, attached.scope)]
        args: list[Encoded] = [
            attached.content_hash, attached.model, to_hot_vector(attached.vector, self.datatype),
            names.events_prefix(attached.scope), attached.traceparent, attached.context, attached.slot,
        ]  # fmt: skip
        with hot_errors("attach"):
            return bool(await scripts.attach(self.redis, keys, args))

    @inside(telemetry.WRITE)
    async def judge(
        self, scope: Scope, many: Sequence[Judgement], *, request: Request, now: int
    ) -> list[Written]:
        """Says of each memory what is said of it, each in its own atomic step, all in one round trip."""
        if not many:
            return []
        with hot_errors("feedback"):
            answers = await scripts.judge.many(self.redis, [self._judge_call(scope, one, request, now) for one in many])
        return [Written.parse(one) for one in answers]

    def _judge_call(self, scope: Scope, one: Judgement, request: Request, now: int) -> tuple[list[str], list[Encoded]]:
        bucket = self.keys.bucket(one.memory_id)
        keys = [
            self.keys.memory(one.kind, scope, one.memory_id),
            self.keys.journal(bucket),
            self.keys.verdict(scope, one.memory_id, one.verdict),
            self.keys.kept_events(bucket, scope),
            self.keys.idempotency(scope, one.memory_id, f"{request.id}#{one.memory_id}"),
        ]
        args: list[Encoded] = [
            now, to_tag(scope.agent), to_tag(scope.session), request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
            JOURNAL_ENTRIES_MAX, names.events_prefix(scope), request.traceparent, f"{one.useful:g}", f"{one.useless:g}",
            RECALL_LIFE_SECONDS, FEEDBACK_HALF_LIFE_SECONDS * 1_000_000,
        ]  # fmt: skip
        return keys, args

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

    async def project(self, one: Projection) -> str:
        """Brings what the archive holds here, only if it is newer: applied, enriched, whole, ignored, kept, or fenced."""
        [outcome] = await self.project_many([one])
        return outcome

    async def project_many(self, many: Sequence[Projection]) -> list[str]:
        """The same for many in one round trip; their outcomes in order."""
        calls = [(self._project_keys(one), self._project_args(one)) for one in many]
        living = [one.record.memory for one in many if one.tombstone is None]
        seen = noting(self.keys, [(one.scope, one.content_hash) for one in living])
        with hot_errors("project"):
            return [answer.decode() for answer in await scripts.project.many(self.redis, calls, first=seen)]

    def _project_keys(self, one: Projection) -> list[str]:
        memory, keys = one.record.memory, self.keys
        bucket = keys.bucket(memory.id)
        return [
            keys.memory(kind_of(memory.memory_type), memory.scope, memory.id),
            keys.journal(bucket),
            keys.tombstone(memory.id),
            keys.dedup(bucket),
            keys.fence(bucket),
            keys.kept_events(bucket, memory.scope),
            *self._timeline(memory.memory_type, memory.scope, memory.id),
        ]

    def _project_args(self, one: Projection) -> list[Encoded]:
        stone = msgspec.json.encode(rename(one.tombstone, to_tag)) if one.tombstone else ""
        control: list[Encoded] = [
            one.record.memory.version, stone, TOMBSTONE_TTL_SECONDS, one.journal_as,
            names.events_prefix(one.record.memory.scope), one.traceparent or inject(), "" if one.fence is None else one.fence,
            int(one.adopted), self.slot, int(one.away), int(one.whole), one.light_seal,
            to_hot_vector(one.record.vector, HALF) if one.light_seal and one.record.vector else "", int(one.archived),
        ]  # fmt: skip
        return control + [part for pair in record_fields(one.record, self.datatype).items() for part in pair]

    async def move(self, memories: Sequence[Memory], tier: Tier, *, with_vector: bool, traceparent: str) -> list[Written]:
        """Gives each another tier, if it still has the version that was decided on; all in one round trip.

        moved, already, missing, conflict, pending (with `with_vector`, when it has none), light (its content has to be brought
        back first), waiting (to `long`: until what is journaled of it is archived), or overloaded.
        """
        calls: list[scripts.Call] = []
        for one in memories:
            bucket = self.keys.bucket(one.id)
            keys = [
                self.keys.memory(kind_of(one.memory_type), one.scope, one.id), self.keys.journal(bucket),
                self.keys.kept_events(bucket, one.scope),
            ]  # fmt: skip
            prefix = names.events_prefix(one.scope)
            calls.append((keys, [one.version, tier, int(with_vector), JOURNAL_ENTRIES_MAX, prefix, traceparent]))
        with hot_errors("move"):
            return [Written.parse(one) for one in await scripts.move.in_turns(self.redis, calls)] if calls else []

    async def put_away(self, memories: Sequence[Memory]) -> list[str]:
        """Removes the records of archived memories, which the archive was seen to have at these versions: gone, absent,
        changed, or waiting (a follower of the journal has still to see what it holds of it)."""
        calls: list[scripts.Call] = [
            (
                [
                    self.keys.memory(kind_of(one.memory_type), one.scope, one.id),
                    self.keys.journal(self.keys.bucket(one.id)),
                ],
                [one.version],
            )
            for one in memories
        ]
        with hot_errors("put away"):
            return [one.decode() for one in await scripts.put_away.in_turns(self.redis, calls)] if calls else []

    async def raise_fences(self, fence: int) -> None:
        """Shuts out every follower with a lower number, in all buckets."""
        with hot_errors("fence"):
            await scripts.fence.many(self.redis, [([self.keys.fence(one)], [fence]) for one in self.keys.all_buckets()])

    async def bury(self, group: str, memory_id: str, reason: str) -> None:
        """Notes in the dead letters what could not be followed, by id and reason, never with its text."""
        with hot_errors("bury"):
            await self.redis.xadd(
                names.DEAD_LETTERS, {"group": group, "id": memory_id, "reason": reason}, maxlen=DEAD_LETTERS_MAX
            )

    async def raise_version(self, memory: Memory, *, archived_version: int, traceparent: str) -> bool:
        """Lifts a write that lost against the archive above it; False when the record has moved on."""
        key = self.keys.memory(kind_of(memory.memory_type), memory.scope, memory.id)
        keys = [key, self.keys.journal(self.keys.bucket(memory.id))]
        with hot_errors("raise_version"):
            return bool(await scripts.raise_version(self.redis, keys, [memory.version, archived_version, traceparent]))


def _given(names_: Sequence[str], row: Sequence[bytes | None]) -> dict[bytes, bytes]:
    return {name: raw for name, raw in zip(map(str.encode, names_), row, strict=True) if raw is not None}


def rename(stone: Tombstone, by: Callable[[str], str]) -> Tombstone:
    """The tombstone with its names as tags (`to_tag`), as scripts copy them from records, or back (`from_tag`)."""
    names_ = {field: by(getattr(stone, field)) for field in ("tenant", "project", "agent_id", "session_id")}
    return msgspec.structs.replace(stone, **names_)


def _tombstone(raw: bytes) -> Tombstone:
    return rename(msgspec.json.decode(raw, type=Tombstone, strict=False), from_tag)
