"""Documents in Redis: RedisJSON, each change one atomic step with one journal entry, each read by direct key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from redis.asyncio import Redis

from memoryd.errors import TooLarge
from memoryd.hot import scripts
from memoryd.hot.changes import Request
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.lookups import key_batches
from memoryd.keys import DOCUMENTS, Keys
from memoryd.limits import (
    APPEND_MESSAGES_MAX,
    DOCUMENT_BYTES_MAX,
    IDEMPOTENCY_TTL_SECONDS,
    JOURNAL_ENTRIES_MAX,
    TOMBSTONE_TTL_SECONDS,
)
from memoryd.model.document import BOOKKEEPING, Document, Place
from memoryd.model.scope import Scope, from_tag, to_tag
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import inside, linked_span

PLACE_FIELDS = ("collection", "id", "tenant", "project", "agent_id", "session_id")  # of a journal entry about a document
SCAN_KEYS = 250  # of one look: a round trip of some milliseconds


@dataclass(frozen=True)
class Step:
    """What an atomic step on a document did. `outcome` is the script's first word; `note` is the step's own."""

    outcome: str
    id: str = ""
    version: int = 0
    entry: str = ""
    replayed: bool = False
    note: str = ""

    @classmethod
    def parse(cls, raw: Sequence[bytes]) -> Self:
        """From a script's answer."""
        words = [part.decode() for part in raw]
        if words[0] == "conflict":
            return cls(words[0], version=int(words[1]))
        if len(words) < 4:
            return cls(words[0], note="".join(words[1:]))
        return cls(words[0], words[1], int(words[2]), words[3], words[4] == "replayed", "".join(words[5:]))


@dataclass(frozen=True)
class Change:
    """A document to write whole.

    `if_version` 0 means: only if there is none. `archived_version` is None before the archive was asked, 0 when it
    holds none. Without `ttl_seconds` the document stays until it is ended.
    `purges`: what it was before is forgotten.
    """

    place: Place
    body: Mapping[str, Any]
    request: Request
    if_version: int | None = None
    archived_version: int | None = None
    ttl_seconds: int = 0
    purges: bool = False


@dataclass(frozen=True)
class Outline:
    """A document's version, and the numbers of those of its parts that are here, by their collection."""

    version: int
    parts: Mapping[str, Sequence[int]]


class Documents:
    """The documents of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis = redis
        self.keys = keys

    async def put(self, change: Change, *, fsync: bool = False) -> tuple[Step, bool]:
        """Writes a document: written, conflict, overloaded, reused; or absent, when the archive has to be asked first.

        The flag says whether a wanted fsync happened. Raises TooLarge.
        """
        place, keys = change.place, self.keys
        args: list[Encoded] = [
            *place_args(place), encoded_body(change.body), _or_empty(change.if_version),
            _or_empty(change.archived_version), change.request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
            JOURNAL_ENTRIES_MAX, change.request.traceparent, change.ttl_seconds, int(change.purges),
        ]  # fmt: skip
        bucket = keys.bucket(place.id)
        names = [
            keys.document(place), keys.journal(bucket), keys.tombstone(place.id), keys.dedup(bucket),
            keys.idempotency(place.scope, place.id, change.request.id),
        ]  # fmt: skip
        return await self.step("write a document", scripts.document, names, args, fsync=fsync)

    async def end(
        self, place: Place, *, now: int, archived_version: int, request: Request, with_it: Sequence[str] = ()
    ) -> Step:
        """Removes a document and the keys `with_it`, and leaves a tombstone: ended, missing, reused."""
        keys = self.keys
        names = [
            keys.document(place), keys.journal(keys.bucket(place.id)), keys.tombstone(place.id),
            keys.idempotency(place.scope, place.id, request.id), *with_it,
        ]  # fmt: skip
        args: list[Encoded] = [
            *place_args(place), now, archived_version, request.fingerprint, IDEMPOTENCY_TTL_SECONDS,
            TOMBSTONE_TTL_SECONDS, request.traceparent,
        ]  # fmt: skip
        step, _ = await self.step("end a document", scripts.end_document, names, args)
        return step

    async def drop_parts(self, place: Place, numbers: Sequence[int]) -> None:
        """Has the archive drop parts of a document that is not here; `place` is the document's, in the parts' collection."""
        entry: dict[Any, Any] = {
            "op": "dropped", "traceparent": "", **dict(zip(PLACE_FIELDS, place_args(place), strict=True)),
            "version": 1, "numbers": ",".join(map(str, numbers)),
        }  # fmt: skip
        with hot_errors("drop parts"):
            await self.redis.xadd(self.keys.journal(self.keys.bucket(place.id)), entry)

    async def get(self, place: Place) -> Document | None:
        """The document, if it is here."""
        [found] = await self.get_many([place])
        return found

    async def get_many(self, places: Sequence[Place]) -> list[Document | None]:
        """Each of the documents that is here, None for the others, in one round trip."""
        with hot_errors("get documents"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for place in places:
                    pipe.execute_command("JSON.GET", self.keys.document(place))
                raws = await pipe.execute()
        return [decoded(place, raw) if raw else None for place, raw in zip(places, raws, strict=True)]

    async def known(self, place: Place) -> tuple[bool, int]:
        """Whether this Redis has perhaps ever held the document, and the version at which it was ended (0: it was not)."""
        with hot_errors("get documents"):
            async with self.redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("BF.EXISTS", self.keys.dedup(self.keys.bucket(place.id)), place.id)
                pipe.get(self.keys.tombstone(place.id))
                seen, stone = await pipe.execute()
        return bool(seen), _ended_version(stone)

    async def ended(self, ids: Sequence[str]) -> dict[str, int]:
        """Those of the documents that were ended, each with the version of its tombstone."""
        with hot_errors("get documents"):
            async with self.redis.pipeline(transaction=False) as pipe:
                for one in ids:
                    pipe.get(self.keys.tombstone(one))
                stones = await pipe.execute()
        return {one: _ended_version(stone) for one, stone in zip(ids, stones, strict=True) if stone}

    async def restore(self, document: Document, *, ttl_seconds: int = 0) -> bool:
        """Brings a document back from the archive; False when it is here, or was ended since."""
        body = encoded_body(document.body)
        return await self.restore_raw(document.place, body, document.version, ttl_seconds=ttl_seconds)

    async def restore_raw(self, place: Place, body: bytes, version: int, *, ttl_seconds: int) -> bool:
        """The same for a body that has parts in it, and may be larger than one that is journaled."""
        keys = self.keys
        names = [keys.document(place), keys.tombstone(place.id), keys.dedup(keys.bucket(place.id))]
        args: list[Encoded] = [*place_args(place), body, version, ttl_seconds]
        with hot_errors("restore a document"):
            return bool(await scripts.restore_document(self.redis, names, args))

    async def rejournal(self, place: Place) -> int:
        """Writes a document with its parts, or its tombstone, into the journal again; returns how many entries it took."""
        keys = self.keys
        names = [keys.document(place), keys.journal(keys.bucket(place.id)), keys.tombstone(place.id)]
        with linked_span(telemetry.FOLLOW, [], {telemetry.RECORD_ID: place.id}), hot_errors("rejournal"):
            args: list[Encoded] = [*place_args(place), inject()]
            if place.collection == "sessions" and await self.redis.exists(names[0]):
                return int(await scripts.session_rejournal(self.redis, names[:2], [*args, APPEND_MESSAGES_MAX]))
            return int(await scripts.rejournal_document(self.redis, names, args))

    async def outlines(self, collection: str, parts: Sequence[str]) -> AsyncIterator[dict[Place, Outline]]:
        """All documents of a collection that are here, some hundred at a time, with the numbers of their `parts`."""
        with hot_errors("look through documents"):
            async for some in key_batches(self.redis, f"{DOCUMENTS[collection][0]}*", SCAN_KEYS, count=SCAN_KEYS):
                yield await self._outlines(collection, some, parts)

    async def _outlines(self, collection: str, keys: Sequence[str], parts: Sequence[str]) -> dict[Place, Outline]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.execute_command("JSON.GET", key, *(f"$.{name}" for name in BOOKKEEPING[:-1]))
                for part in parts:
                    pipe.execute_command("JSON.OBJKEYS", key, f".{part}")  # with a `$` a document that has ended is an error
            answers = await pipe.execute()
        found, width = {}, 1 + len(parts)
        for start in range(0, len(answers), width):
            raw, *numbers = answers[start : start + width]
            if raw:  # not ended since
                row = {name: values[0] for name, values in _by_name(raw).items()}
                place = Place(collection, row["id"], Scope(*(from_tag(row[name]) for name in BOOKKEEPING[1:5])))
                own = {part: _numbers(one) for part, one in zip(parts, numbers, strict=True)}
                found[place] = Outline(int(row["version"]), own)
        return found

    @inside(telemetry.WRITE)
    async def step(
        self, doing: str, script: scripts.Script, keys: Sequence[str], args: Sequence[Encoded], *, fsync: bool = False
    ) -> tuple[Step, bool]:
        """One atomic step, and whether a wanted fsync happened."""
        with hot_errors(doing):
            raw, fsynced = await script.durably(self.redis, keys, args, fsync=fsync)
        return Step.parse(raw), fsynced


def place_args(place: Place) -> list[Encoded]:
    """A place as the scripts of documents take it."""
    scope = place.scope
    return [place.collection, place.id, *map(to_tag, (scope.tenant, scope.project, scope.agent, scope.session))]


def encoded_body(body: Mapping[str, Any]) -> bytes:
    """A body as JSON. Raises TooLarge."""
    assert body, "a body has at least one name"
    assert not body.keys() & set(BOOKKEEPING), "a body has none of the bookkeeping's names"
    raw = msgspec.json.encode(body)
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise TooLarge(f"the document has {len(raw)} bytes as JSON, the limit is {DOCUMENT_BYTES_MAX}")
    return raw


def decoded(place: Place, raw: bytes) -> Document:
    """The document behind its JSON in Redis."""
    values: dict[str, Any] = msgspec.json.decode(raw)
    version = int(values["version"])
    return Document(place, version, {name: value for name, value in values.items() if name not in BOOKKEEPING})


def _by_name(raw: bytes) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = msgspec.json.decode(raw)
    return {path.removeprefix("$."): values for path, values in found.items()}


def _numbers(keys: Sequence[bytes] | None) -> list[int]:
    """The keys of the object that a path leads to; none when it leads nowhere."""
    return sorted(map(int, keys or ()))


def _ended_version(stone: bytes | None) -> int:
    return int(msgspec.json.decode(stone)["version"]) if stone else 0


def _or_empty(number: int | None) -> int | str:
    return "" if number is None else number
