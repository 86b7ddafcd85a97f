"""Does every record fit the schema? A comparison says whether both stores tell one story; this, whether it is one at all.

Nothing of memoryd leaves such a thing: a hand in `redis-cli` or `mongosh` does, another program, or a broken disk. What is
unsound is found record by record, in both stores, and mended from the other one: never by a guess, and never by removing
what only one of them has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.exceptions import WatchError

from memoryd import keys as names
from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.hot import lookups, scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import MEMORY_FIELDS, read_memory
from memoryd.hot.projecting import raise_version
from memoryd.hot.records import Records
from memoryd.keys import KINDS, kind_of
from memoryd.limits import JOURNAL_ENTRIES_MAX
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory
from memoryd.model.record import Record
from memoryd_schemas.indexes import other_slot
from memoryd_schemas.mongo_apply import collection_definition
from memoryd_schemas.redis_state import RedisState, Vectors, index_name, load_state
from memoryd_sync.projector import Projector, cause_of
from memoryd_sync.reconcile import NOT_WHOLE, values_of

BATCH = 500  # records that are looked at together: about 2 MB of usual ones
VECTORS = ("embedding", "half")  # the fields of one, whole and of a light record
FLAWS_MAX = 100_000  # that one look tells; the next one finds the others


class Flaw(StrEnum):
    """What is unsound about a record, or a document."""

    NO_MEMORY = "Redis holds no whole memory there"
    STRAY = "Redis holds it under another memory's key"
    UNINDEXED = "no index of Redis has it"
    VECTOR = "Redis holds a vector of it that no search reads, or misses one that it should have"
    DOCUMENT = "MongoDB's document of it does not fit the schema"


@dataclass(frozen=True)
class Unsound:
    """One record or document. `key` is Redis's, empty for a document."""

    memory_id: str
    flaw: Flaw
    key: str = ""


@dataclass(frozen=True)
class _Seen:
    """What Redis holds under a key."""

    key: str
    values: Sequence[Any]
    """Of MEMORY_FIELDS; none of them when the key holds no hash."""
    pending: bool
    model: str
    length: int
    """Of its vector, in bytes."""
    half: int
    """Of what a light record has of it."""
    spare: int
    """Of the vector in the slot that is not read."""

    @property
    def memory_id(self) -> str:
        return self.key[-names.ID_CHARS :]

    def memory(self) -> Memory | None:
        """The memory, if it is a whole one whose content is the one that it says."""
        try:
            memory = read_memory(self.values)
        except NOT_WHOLE:
            return None
        true = memory.light or memory.content_hash == hash_content(memory.content)
        return memory if true and memory.version > 0 else None


class Soundness:
    """Looks at one Redis and the archive, and mends them. `projector` is the follower's way into Redis."""

    def __init__(self, records: Records, archive: Archive, projector: Projector) -> None:
        self._records = records
        self._archive = archive
        self._projector = projector
        self._redis: Any = records.redis

    async def look(self, *, progress: Callable[[int], None] = lambda _: None) -> list[Unsound]:
        """Everything unsound, once."""
        state = await self._state()
        whole = await self._indexed_whole(state)
        found: list[Unsound] = []
        for kind in KINDS:
            async for keys in self._keys(kind):
                seen = await self._read(keys)
                flaws = [(one, self._flaw(one, state)) for one in seen]
                sound = [one.memory_id for one, flaw in flaws if flaw is None]
                there = await lookups.indexed(self._records.redis, kind, sound) if whole else set(sound)
                found += [Unsound(one.memory_id, flaw, one.key) for one, flaw in flaws if flaw]
                lacking = [one for one, flaw in flaws if flaw is None and one.memory_id not in there]
                found += [Unsound(one.memory_id, Flaw.UNINDEXED, one.key) for one in await self._still(lacking)]
                progress(len(keys))
        found += [Unsound(one, Flaw.DOCUMENT) for one in await self._unfit()]
        return found[:FLAWS_MAX]

    async def mend(self, flaws: Sequence[Unsound]) -> list[Unsound]:
        """Mends what the other store can mend; what is left as it is, because nothing else has it."""
        state = await self._state()
        return [one for one in flaws if not await self._mend(one, state)]

    # --- looking --------------------------------------------------------------------------------------------------

    async def _state(self) -> RedisState | None:
        with hot_errors("look at the schema"):
            return await load_state(self._redis, names.SCHEMA)

    async def _indexed_whole(self, state: RedisState | None) -> bool:
        """Whether the indexes are there, and filled: of one that is being made, nothing can be said."""
        with hot_errors("look at an index"):
            abouts = [
                await self._redis.execute_command("FT.INFO", index_name(kind, state.vectors)) for kind in KINDS if state
            ]
        return bool(state) and all(float(about[b"percent_indexed"]) >= 1 for about in abouts)

    async def _keys(self, kind: str) -> AsyncIterator[list[str]]:
        batch: list[str] = []
        with hot_errors("look at records"):
            async for key in self._redis.scan_iter(match=f"{names.memories(kind)}*", count=BATCH):
                batch.append(key.decode(errors="replace"))
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _read(self, keys: Sequence[str]) -> list[_Seen]:
        """What is under these keys; what has gone since is left out."""
        slot = self._records.slot
        with hot_errors("look at records"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hmget(key, [*MEMORY_FIELDS, "pending", f"embedding_model{slot}"])
                    for name in VECTORS:
                        pipe.hstrlen(key, f"{name}{slot}")
                        pipe.hstrlen(key, f"{name}{other_slot(slot)}")
                    pipe.exists(key)
                answers = values_of(await pipe.execute(raise_on_error=False))
        found = [(key, answers[6 * at : 6 * at + 6]) for at, key in enumerate(keys)]
        return [_seen(key, row, lengths) for key, (row, *lengths, here) in found if here]

    def _flaw(self, one: _Seen, state: RedisState | None) -> Flaw | None:
        memory = one.memory()
        if memory is None:
            return Flaw.NO_MEMORY
        if self._records.keys.memory(kind_of(memory.memory_type), memory.scope, memory.id) != one.key:
            return Flaw.STRAY
        if state is None or state.vectors is None or state.filling is not None:
            return None  # words alone; or vectors of two models side by side, as they should be
        has = one.length > 0 or one.half > 0
        fits = has and one.model == state.vectors.model
        if one.spare or one.pending == fits or (has and not fits):
            return Flaw.VECTOR
        whole, half = _bytes_of(state.vectors)
        return Flaw.UNINDEXED if fits and (one.length not in (0, whole) or one.half not in (0, half)) else None

    async def _still(self, lacking: Sequence[_Seen]) -> list[_Seen]:
        """Those that are there, and in no index, also when they are looked at again: some were on their way in or out."""
        seen = await self._read([one.key for one in lacking]) if lacking else []
        there: set[str] = set()
        for kind in KINDS:
            there |= await lookups.indexed(self._records.redis, kind, [one.memory_id for one in seen])
        return [one for one in seen if one.memory_id not in there]

    async def _unfit(self) -> list[str]:
        """The ids of documents that the validator would refuse."""
        query = {"$nor": [collection_definition("memories")["validator"]]}
        with archive_errors("look at documents"):
            found = self._archive.memories.find(query, {"_id": 1}).limit(FLAWS_MAX)
            return [str(one["_id"]) async for one in found]

    # --- mending --------------------------------------------------------------------------------------------------

    async def _mend(self, one: Unsound, state: RedisState | None) -> bool:
        if one.flaw is Flaw.DOCUMENT:
            return await self._write_over(one)
        if one.flaw is Flaw.VECTOR:
            return await self._settle(one, state)
        return await self._replace(one, state)

    async def _replace(self, one: Unsound, state: RedisState | None) -> bool:
        """Puts what the archive has in the place of a record, if it has the memory whole and as new as Redis."""
        record = (await self._archive.records([one.memory_id])).get(one.memory_id)
        if record is None or not await self._discard(one, record, state):
            return False
        with archive_errors("mend"):
            document = await self._archive.memories.find_one({"_id": one.memory_id})
        if document is not None:
            await self._projector.apply_document(document)
        return True

    async def _discard(self, one: Unsound, archived: Record, state: RedisState | None) -> bool:
        """Removes a record that is still unsound and not newer than the archive's; False when it is left."""
        async with self._redis.pipeline(transaction=True) as pipe:
            with hot_errors("mend"):
                await pipe.watch(one.key)
                seen = await self._read([one.key])
                if not seen:
                    return True
                indexed = one.flaw is Flaw.UNINDEXED and not await self._still(seen)
                sound = self._flaw(seen[0], state) is None and (one.flaw is not Flaw.UNINDEXED or indexed)
                if sound or _version(seen[0]) > archived.memory.version:
                    return sound
                pipe.multi()
                pipe.delete(one.key)
                try:
                    await pipe.execute()
                except WatchError:  # somebody has written it at this very moment: the next look tells whether it is sound
                    return False
        return True

    async def _settle(self, one: Unsound, state: RedisState | None) -> bool:
        """Takes vectors away that nobody reads, and has the one that is missing made."""
        if state is None or state.vectors is None:
            return False
        slot = state.vectors.slot
        journal = self._records.keys.journal(self._records.keys.bucket(one.memory_id))
        with hot_errors("mend"):
            answer = await scripts.settle(
                self._redis, [one.key, journal], [slot, other_slot(slot), state.vectors.model, JOURNAL_ENTRIES_MAX // 2]
            )
        return bool(answer != b"full")

    async def _write_over(self, one: Unsound) -> bool:
        """Has Redis's memory archived above a document that is none, if Redis has it whole."""
        with archive_errors("mend"):
            document = await self._archive.memories.find_one({"_id": one.memory_id}) or {}
        keys = [key for kind in KINDS async for key in self._like(kind, one.memory_id)]
        memory = next(filter(None, (seen.memory() for seen in await self._read(keys))), None)
        version = document.get("version")
        if memory is None or memory.light or not isinstance(version, int):
            return False
        above = max(version, memory.version)
        return await raise_version(self._records, memory, archived_version=above, traceparent=cause_of(document))

    async def _like(self, kind: str, memory_id: str) -> AsyncIterator[str]:
        """The keys under which a record of this id may be: its document cannot be trusted to tell the place."""
        with hot_errors("look at records"):
            async for key in self._redis.scan_iter(match=f"{names.memories(kind)}*:{memory_id}", count=10 * BATCH):
                yield key.decode()


def _seen(key: str, row: Any, lengths: Sequence[Any]) -> _Seen:
    if row is None:
        return _Seen(key, [None] * len(MEMORY_FIELDS), pending=False, model="", length=0, half=0, spare=0)
    *values, pending, model = row
    length, spare, half, spare_half = map(int, lengths)
    return _Seen(key, values, pending == b"1", (model or b"").decode(errors="replace"), length, half, spare + spare_half)


def _version(one: _Seen) -> int:
    """The version that a record says it has; 0 where it says none."""
    raw = one.values[MEMORY_FIELDS.index("version")] or b""
    return int(raw) if raw.isdigit() else 0


def _bytes_of(vectors: Vectors) -> tuple[int, int]:
    """How long a vector is that the index takes, and half of one."""
    return vectors.settings.dims * (4 if vectors.settings.datatype == "float32" else 2), vectors.settings.dims * 2
