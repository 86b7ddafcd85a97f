"""The journal's embedding follower: every stored or changed memory gets its vector, after its acknowledgement.

An entry is acknowledged when its memory has the vector, has moved on, or is in the dead letters with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.late import turns_after
from memoryd.embed.models import Models
from memoryd.embed.protocol import Embedder, ModelFailed
from memoryd.embed.texts import Contents, ids_in, nowhere, texts_of
from memoryd.errors import ArchiveUnavailable, HotUnavailable, MemorydError, Overloaded
from memoryd.hot.changes import Attached, Heard
from memoryd.hot.journal import Entry, Follower
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.limits import EMBED_BATCH_MAX, EMBED_TRIES_MAX
from memoryd.model.ids import check_id
from memoryd.model.scope import Scope
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.tracing import linked_span

log = get_logger("memoryd.embed")

WRITTEN = ("stored", "updated", "moved")  # entries that carry a memory whole
BLOCK_SECONDS = 0.5  # how soon a stop is noticed
PACE_SECONDS = 0.01  # nobody feels it in a vector's time, and entries that come together are acknowledged together
PACE_WITHOUT_MODEL_SECONDS = 0.1  # then nothing waits for it but the journal's trim
FIRST_PAUSE_SECONDS = 0.5  # doubled with each try: an endpoint that restarts is back within the five tries' 15 s


class Interrupted(Exception):
    """It is time to stop, and the model has not answered yet."""


@dataclass
class EmbedState:
    """How the model does, for `stats`."""

    failing: str = ""


class EmbedFollower:
    """Follows all journals as one consumer of the group `embed`. Without a cache (words only) it passes everything."""

    def __init__(
        self, follower: Follower, records: Records, cache: EmbeddingCache | None, state: EmbedState,
        models: Models | None = None, *, contents: Contents = nowhere, told: Told = told_to_nobody,
    ) -> None:  # fmt: skip
        """`models`: keeps the cache at the model that is read. `contents` has what records lack that are light. `told` returns
        when the spans of what was embedded are kept, where they are."""
        self._follower = follower
        self._records = records
        self._cache = cache
        self._state = state
        self._models = models
        self._contents = contents
        self._told = told
        self._stop = asyncio.Event()

    async def step(self, stop: asyncio.Event) -> None:
        """Embeds what is there, or waits a moment for it. Raises HotUnavailable."""
        self._stop = stop
        if self._models:
            await self._models.follow()
        entries = await self._follower.left_over(EMBED_BATCH_MAX)
        entries = entries or await self._follower.read(EMBED_BATCH_MAX, block_seconds=BLOCK_SECONDS)
        for batch in _batches(entries):
            await self.handle(batch)

    async def leave(self) -> None:
        """Hands what is unfinished to the other daemons."""
        await self._follower.leave()

    async def handle(self, entries: Sequence[Entry]) -> None:
        """Does what a batch of entries asks for, and acknowledges them; what cannot be done is found and buried."""
        try:
            await self._handle(entries)
        except (HotUnavailable, ArchiveUnavailable, Overloaded):
            raise
        except MemorydError as error:  # somebody has put something else under a record's key, for instance
            if len(entries) > 1:
                for entry in entries:
                    await self.handle([entry])
                return
            await self._bury(entries[0], error.message)

    async def _handle(self, entries: Sequence[Entry]) -> None:
        entries = [one for one in entries if await self._readable(one)]
        for entry in entries:
            if later := ids_in(entry, "precedes"):
                await self._records.refollow(
                    entry.scope, later, reworded=bool(entry.text("replaced_hash")), traceparent=entry.traceparent
                )
        waiting = [one for one in entries if one.op in WRITTEN and not self._has_vector(one)]
        lacking = await self._hear(entries, {one.memory_id for one in waiting})
        if self._cache is not None:
            waiting += await self._read([one for one in entries if one.op == "refollowed"]) + lacking
            if waiting:
                with linked_span(
                    telemetry.EMBED, [one.traceparent for one in waiting], {telemetry.BATCH_SIZE: len(waiting)}
                ):
                    try:
                        await self._embed(self._cache, waiting)
                    except Interrupted:
                        return  # unacknowledged: another daemon, or the next one, takes them over
            for entry in entries:
                for content_hash in _let_go(entry):
                    await self._cache.purge(entry.scope, content_hash)
        await self._told()
        await self._follower.done(entries)

    async def _hear(self, entries: Sequence[Entry], embedded: Collection[str]) -> list[Entry]:
        """Tells the events before those of the entries that others come after them; those whose vector is to read one more. The
        `embedded` have one under way. A daemon without a model tells them too: it makes none, and what must not stay goes."""
        count = turns_after(self._cache.embedder.model) if self._cache else 0
        told: dict[tuple[Scope, str], Heard] = {}
        for entry in entries:
            read = ids_in(entry, "follows" if entry.text("replaced_hash") and entry.op in WRITTEN else "heard_by")
            for one in read[: count or None]:
                told[entry.scope, one] = Heard(entry.traceparent, gone=True)
            came = entry.op == "touched" and entry.memory_id in ids_in(entry, "precedes")
            if (entry.op in WRITTEN or came) and (count or self._cache is None):
                for one in [*ids_in(entry, "follows")[: count or None], *([entry.memory_id] if came else [])]:
                    told.setdefault((entry.scope, one), Heard(entry.traceparent, under_way=one in embedded))
        found = await self._records.made_of(await self._records.hear(told, turns_after=count)) if told else []
        return [Entry("", "", one) for one in found if b"content" in one]

    async def _read(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries of light records, with their contents. What cannot be read now is embedded when the tiers bring it back."""
        contents = await self._contents([one.memory_id for one in entries]) if entries else {}
        return [
            replace(one, fields={**one.fields, b"content": contents[one.memory_id].encode()})
            for one in entries
            if one.memory_id in contents
        ]

    async def _readable(self, entry: Entry) -> bool:
        """Whether the entry says which memory it means. One that does not must not hold up its bucket."""
        try:
            if entry.op in (*WRITTEN, "refollowed", "forgotten"):
                check_id("id", entry.memory_id)
                kind_of(entry.memory_type)
                entry.scope.check()
        except (MemorydError, ValueError) as error:
            await self._bury(entry, f"{type(error).__name__} while embedding")
            return False
        return True

    async def _embed(self, cache: EmbeddingCache, entries: Sequence[Entry]) -> None:
        model, slot = cache.embedder, self._records.slot
        count = turns_after(model.model)
        if count:  # as late as can be: what comes until then is read, too
            later = await self._records.later([(one.scope, one.memory_id) for one in entries], count)
            entries = [
                replace(one, fields={**one.fields, b"followed_by": ids.encode()}) for one, ids in zip(entries, later, strict=True)
            ]
        try:
            vectors = await self._compute(cache, model, entries)
        except ModelFailed as error:
            await self._fail(cache, entries, error)
            return
        for entry, vector in zip(entries, vectors, strict=True):
            await self._attach(cache, entry, Attached(
                entry.text("content_hash"), model.model, _context(entry), vector, entry.scope, entry.traceparent, slot,
                entry.text("followed_by") if count else "", count,
            ))  # fmt: skip

    async def _compute(self, cache: EmbeddingCache, model: Embedder, entries: Sequence[Entry]) -> list[bytes]:
        """The vectors of a batch; tries again with a growing pause what may succeed later."""
        pause = FIRST_PAUSE_SECONDS
        texts = await texts_of(self._records, model, entries, self._contents)
        for attempt in range(1, EMBED_TRIES_MAX + 1):
            try:
                vectors = await cache.embed_all([one.scope for one in entries], texts, by=model)
            except ModelFailed as error:
                self._state.failing = "retrying" if error.retryable else "refused"
                log.warning("embed.failed", attempt=attempt, batch_size=len(entries), retryable=error.retryable)
                if not error.retryable or attempt == EMBED_TRIES_MAX:
                    raise
                if await wait_for_stop(self._stop, pause):
                    raise Interrupted from error
                pause *= 2
            else:
                self._state.failing = ""
                return vectors
        raise AssertionError("the last try returns or raises")

    async def _fail(self, cache: EmbeddingCache, entries: Sequence[Entry], error: ModelFailed) -> None:
        """Finds the text that the model refuses by halves, so that it takes no other memory with it.

        Only what still waits is buried: while the model was tried again a vector may have come from elsewhere, or other words.
        """
        if len(entries) > 1 and not error.retryable:
            middle = len(entries) // 2
            await self._embed(cache, entries[:middle])
            await self._embed(cache, entries[middle:])
            return
        asked = [(self._key(one), one.text("content_hash"), _context(one)) for one in entries]
        for entry, waits in zip(entries, await self._records.waiting(asked), strict=True):
            if waits:
                await self._bury(entry, error.message)

    async def _bury(self, entry: Entry, reason: str) -> None:
        measure(telemetry.DEAD_LETTERS, 1, {telemetry.FOLLOWER: "embed"})
        log.error("embed.dead_letter", id=entry.memory_id, entry=entry.entry_id)
        await self._follower.bury(entry, reason)

    async def _attach(self, cache: EmbeddingCache, entry: Entry, attached: Attached) -> None:
        if not await self._records.attach(self._key(entry), entry.memory_id, attached):
            # Forgotten or changed meanwhile: another daemon has perhaps purged the cache before our vector came into it.
            await cache.purge(attached.scope, attached.content_hash)

    def _key(self, entry: Entry) -> str:
        return self._records.keys.memory(kind_of(entry.memory_type), entry.scope, entry.memory_id)

    def _has_vector(self, entry: Entry) -> bool:
        """Whether an entry brings a vector of the model that is read."""
        model = self._cache.embedder.model if self._cache else ""
        return model in (entry.text("embedding_model"), entry.text("embedding_model2"))


def _context(entry: Entry) -> int:
    """Which of the contexts that its memory has had it is of."""
    return int(entry.text("context") or 0)


def _let_go(entry: Entry) -> list[str]:
    """The hashes of the contents that the memory no longer has."""
    gone = [entry.text("content_hash")] if entry.op == "forgotten" else []
    return [one for one in (*gone, *entry.text("replaced_hash").split(",")) if one]


def _batches(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    return [entries[start : start + EMBED_BATCH_MAX] for start in range(0, len(entries), EMBED_BATCH_MAX)]
