"""Another embedding model while agents go on: its vectors are filled beside those that are read, and then take over.

1. **Fill**: whatever lacks the new model's vector gets one, in a slot of its own beside the old one. Readers know nothing
   of it; what is stored or changed meanwhile lacks it too, and comes next.
2. **Flip**: when nothing that is found by its meaning lacks it, one step has everybody read the new vectors.
3. **Settle**: each memory's new vector goes to the archive, and its old one goes.

Killed anywhere it is run again and goes on: a vector that is there is not made twice. See docs/reindex.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.store import Archive
from memoryd.config import Settings
from memoryd.embed.late import turns_after
from memoryd.embed.models import source_of
from memoryd.embed.protocol import Embedder, ModelFailed
from memoryd.embed.texts import texts_of, vectors_of
from memoryd.errors import ArchiveUnavailable, SchemaMismatch
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, to_hot_vector
from memoryd.hot.journal import Entry
from memoryd.hot.lookups import key_batches
from memoryd.hot.records import Records
from memoryd.keys import KINDS, Keys
from memoryd.limits import EMBED_BATCH_MAX, JOURNAL_ENTRIES_MAX
from memoryd.retry import heed_cancellation
from memoryd.stores import vector_settings
from memoryd_schemas.errors import SchemaError
from memoryd_schemas.indexes import OTHER_MODEL, other_slot
from memoryd_schemas.redis_fill import abandon_fill, begin_fill, end_fill, flip
from memoryd_schemas.redis_state import RedisState, Vectors, index_name, load_state
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.reindex")

STRICT_SECONDS = 30.0  # so long a flip waits for an instant in which nothing lacks a vector; agents may write without pause
NOTICE_SECONDS = 2.0  # daemons look for the model twice a second, and between two batches
BATCH = 200  # records of one round trip
PAUSE_SECONDS = 0.05  # where there is nothing to do but to wait

Progress = Callable[[int, int], None]
"""Hears how many have the new vector, of how many."""


@dataclass
class Refilled:
    """What it came to."""

    filled: int = 0
    settled: int = 0
    refused: list[str] = field(default_factory=list)
    """Memories whose text the model refuses: they are found by their words."""


class Refill:
    """One change of the model of a Redis. `rate` is the most memories a second, 0 for no limit."""

    def __init__(
        self, redis: Redis, settings: Settings, embedder: Embedder, *, archive: Archive | None = None, rate: float = 0,
        progress: Progress = lambda *_: None,
    ) -> None:  # fmt: skip
        """`archive` has the contents that light records lack."""
        self._redis: Any = redis
        self._settings = settings
        self._embedder = embedder
        self._records = Records(redis, Keys(settings.buckets), settings.vector_type)
        self._archive = archive
        self._rate = rate
        self._progress = progress
        self._wanted = Vectors(embedder.model, vector_settings(settings, embedder.dims), source=source_of(settings))
        self.done = Refilled()

    async def run(self) -> Refilled:
        """All of it, or what is left of it. Raises SchemaMismatch, HotUnavailable, ModelFailed."""
        with schema_errors(), hot_errors("reindex"):
            _refuse_another_way(await load_state(self._redis, names.SCHEMA), self._embedder)
            state = await begin_fill(self._redis, names.SCHEMA, self._wanted)
            if state.filling:
                self._records.slot = state.filling.slot
                await self._clean(state.filling)
                await self._fill_until_read(state)
                await asyncio.sleep(NOTICE_SECONDS)
            elif state.vectors:
                self._records.slot = state.vectors.slot
            await self._settle()
            await end_fill(self._redis, names.SCHEMA)
        return self.done

    # --- fill -----------------------------------------------------------------------------------------------------

    async def _clean(self, filling: Vectors) -> None:
        """Takes vectors of yet another model out of the slot: the new index would leave those records out, words included."""
        async for keys in batches(self._redis):
            calls = [([key], [filling.slot, filling.model]) for key in keys]
            await scripts.clear_slot.many(self._redis, calls)

    async def _fill_until_read(self, state: RedisState) -> None:
        assert state.filling is not None
        loop = asyncio.get_running_loop()
        whole_since: float | None = None
        while True:
            heed_cancellation()
            lacking, total = await self._lacking(state.filling)
            if lacking:
                await self._fill(lacking)
            self._progress(total - len(lacking), total)
            if len(lacking) == EMBED_BATCH_MAX:
                whole_since = None
                continue
            whole_since = whole_since or loop.time()
            spare = EMBED_BATCH_MAX if loop.time() - whole_since > STRICT_SECONDS else 0
            allowed = len(self.done.refused) + spare
            if await self._built(state.filling) and await flip(self._redis, names.SCHEMA, state, lacking_max=allowed):
                log.info("reindex.flipped", model=state.filling.model, filled=self.done.filled)
                return
            if not lacking:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _lacking(self, filling: Vectors) -> tuple[list[str], int]:
        """Records without the vector, at most a batch, and how many memories there are."""
        found: list[str] = []
        total = 0
        for kind in KINDS:
            most = EMBED_BATCH_MAX + len(self.done.refused)
            answer = await self._redis.execute_command(
                "FT.SEARCH", names.index(kind), f"-@{OTHER_MODEL}:{{$model}}", "NOCONTENT",
                "LIMIT", 0, most, "PARAMS", 2, "model", filling.model, "DIALECT", 2,
            )  # fmt: skip
            found += [row[b"id"].decode() for row in answer[b"results"]]
            everything = await self._redis.execute_command("FT.SEARCH", names.index(kind), "*", "LIMIT", 0, 0)
            total += int(everything[b"total_results"])
        return [key for key in found if key not in self.done.refused][:EMBED_BATCH_MAX], total

    async def _built(self, filling: Vectors) -> bool:
        """Whether Redis has filled the new index with what was there when it was made."""
        for kind in KINDS:
            info = await self._redis.execute_command("FT.INFO", index_name(kind, filling))
            if float(info[b"percent_indexed"]) < 1:
                return False
        return True

    async def _fill(self, keys: Sequence[str]) -> None:
        """Gives these records their vector, as fast as is allowed."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        entries = {key: entry for key, entry in zip(keys, await self._read(keys), strict=True) if entry}
        await self._embed(entries)
        if self._rate:
            await asyncio.sleep(max(0.0, started + len(keys) / self._rate - loop.time()))

    async def _read(self, keys: Sequence[str]) -> list[Entry | None]:
        found = await self._records.made_of(keys)
        light = [one[b"id"].decode() for one in found if b"id" in one and b"content" not in one]
        contents = await self._contents(light)
        for fields in found:
            if content := contents.get(fields.get(b"id", b"").decode()):
                fields[b"content"] = content.encode()
        return [Entry("", "", fields) if b"content" in fields else None for fields in found]

    async def _contents(self, memory_ids: Sequence[str]) -> Mapping[str, str]:
        """Contents that only the archive has. Raises ArchiveUnavailable."""
        if not memory_ids:
            return {}
        if self._archive is None:
            raise ArchiveUnavailable("reindex: the content of a memory is only in the archive, which was not given")
        return {key: one.content for key, one in (await self._archive.contents(memory_ids)).items()}

    async def _embed(self, entries: Mapping[str, Entry]) -> None:
        try:
            texts = await texts_of(self._records, self._embedder, list(entries.values()), self._contents)
            vectors = await vectors_of(self._embedder, texts)
        except ModelFailed as error:
            await self._without_the_refused(entries, error)
            return
        calls: list[scripts.Call] = []
        for (key, entry), vector in zip(entries.items(), np.asarray(vectors, dtype="<f4"), strict=True):
            kept = to_hot_vector(vector.tobytes(), self._settings.vector_type)
            made_of: list[Encoded] = [entry.text("content_hash") or entry.text("hash"), entry.text("context") or "0"]
            calls.append(([key], [*made_of, self._records.slot, self._embedder.model, kept]))
        self.done.filled += sum(1 for answer in await scripts.fill.many(self._redis, calls) if answer)

    async def _without_the_refused(self, entries: Mapping[str, Entry], error: ModelFailed) -> None:
        """Finds the text that the model refuses by halves; it stays without a vector."""
        if error.retryable:
            raise error
        if len(entries) == 1:
            self.done.refused += entries
            return
        keys = list(entries)
        for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            await self._embed({key: entries[key] for key in half})

    # --- settle ---------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Brings the new vectors to the archive, and takes the old ones away."""
        slot, old = self._records.slot, other_slot(self._records.slot)
        async for keys in batches(self._redis):
            left = keys
            while left:
                heed_cancellation()
                calls: list[scripts.Call] = [
                    ([key, self._records.keys.journal(self._records.keys.bucket(key.rpartition(":")[2]))],
                     [slot, old, self._embedder.model, JOURNAL_ENTRIES_MAX // 2])
                    for key in left
                ]  # fmt: skip
                answers = await scripts.settle.many(self._redis, calls)
                self.done.settled += answers.count(b"settled")
                left = [key for key, answer in zip(left, answers, strict=True) if answer == b"full"]
                if left:  # the archive is away, or slower than this
                    await asyncio.sleep(1.0)


def _refuse_another_way(state: RedisState | None, embedder: Embedder) -> None:
    """A record says once which events after it its vectors have read, so both of a record have read the same."""
    now = turns_after(state.vectors.model) if state and state.vectors else turns_after(embedder.model)
    if now != turns_after(embedder.model):
        raise SchemaMismatch(
            f"the stored vectors read {now} events after their own, and MEMORYD_EMBED_TURNS_AFTER says "
            f"{turns_after(embedder.model)}: they cannot be filled beside each other",
            hint="stop every daemon and sync and run `memoryd reindex` without --model",
        )


async def abandon(redis: Redis) -> str:
    """Gives up what is being filled, and takes its vectors away; says what that was."""
    with schema_errors(), hot_errors("reindex"):
        given_up = await abandon_fill(redis, names.SCHEMA)
        if given_up:
            async for keys in batches(redis):
                await scripts.clear_slot.many(redis, [([key], [given_up.slot, ""]) for key in keys])
    return str(given_up or "")


async def batches(redis: Any) -> AsyncIterator[list[str]]:
    """The names of all records, some at a time."""
    for kind in KINDS:
        async for some in key_batches(redis, f"{names.memories(kind)}*", BATCH, count=1000):
            yield some


@contextmanager
def schema_errors() -> Iterator[None]:
    """Turns the schemas' errors into ours."""
    try:
        yield
    except SchemaError as error:
        raise SchemaMismatch(str(error), hint=error.hint) from error
