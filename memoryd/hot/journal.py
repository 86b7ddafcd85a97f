"""The journal as its followers see it: read in order, do the work, acknowledge. See docs/journal.md."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.hot import scripts
from memoryd.hot.client import entry_order, hot_errors, run_of
from memoryd.keys import DEAD_LETTERS, RECEIPTS, Keys
from memoryd.limits import DEAD_LETTERS_MAX
from memoryd.model.document import Place
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope, from_tag

GROUPS = ("embed", "archive")
RECEIPTS_GROUP = "chain"
KNOWN, LOST = "1", "0"  # the field `known` of an entry: the archive has this memory, or has lost it and is to have it again
READ_MAX = 200  # entries of one look: about 1 MB of usual ones
REDELIVER_IDLE_SECONDS = 5.0  # a batch takes well under a second; a second try is harmless, only wasteful
TAKE_OVER_SECONDS = 1.0  # how often it is looked for what others have left: it is older by then, and each look asks every bucket


@dataclass(frozen=True)
class Entry:
    """One change of one memory or document, as its bucket's journal holds it."""

    bucket: str
    entry_id: str
    fields: dict[bytes, bytes]

    def text(self, name: str) -> str:
        """A field as text; empty when the entry has none. Bytes that are no text must not stop who names the entry."""
        return self.fields.get(name.encode(), b"").decode(errors="replace")

    @property
    def op(self) -> str:
        """stored, updated, moved, embedded, touched, judged or forgotten; document, parts, dropped or ended."""
        return self.text("op")

    @property
    def memory_id(self) -> str:
        """Which memory changed, or which document."""
        return self.text("id")

    @property
    def version(self) -> int:
        """The version that the change made (or, for embedded, touched and judged, belongs to)."""
        return int(self.fields[b"version"])

    @property
    def scope(self) -> Scope:
        """Where the memory is stored; touched, judged and embedded entries name tenant and project only."""
        return Scope(*(from_tag(self.text(name)) for name in ("tenant", "project", "agent_id", "session_id")))

    @property
    def memory_type(self) -> MemoryType:
        """The memory's type, which chooses its record's key."""
        return MemoryType(self.text("memory_type"))

    @property
    def place(self) -> Place:
        """Where the document belongs, of an entry about one."""
        return Place(self.text("collection"), self.memory_id, self.scope)

    @property
    def traceparent(self) -> str:
        """The trace of the request that caused the change."""
        return self.text("traceparent")


class Follower:
    """One consumer of one group over all journals. `blocking` waits in reads, `redis` does the rest.

    `pace_seconds`: so much time lies at least between two reads that bring something. What comes alone is read at once; where
    much comes, it comes together, for a fraction of the price.
    """

    def __init__(
        self, redis: Redis, blocking: Redis, keys: Keys, *, group: str, consumer: str, pace_seconds: float = 0.0
    ) -> None:
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._buckets = {keys.journal(bucket): bucket for bucket in keys.all_buckets()}
        self._noted = False  # perhaps an earlier consumer ended before it could note a place
        self._told: dict[str, str] = {}  # by journal, which removed entries Redis has told of last
        self._removed: list[str] = []
        self._run = ""  # of the Redis that has the effects of what was read
        self._looks_at = float("-inf")  # when it looks next for what others have left
        self._pace_seconds = pace_seconds
        self._read_at = float("-inf")  # when a read has brought something last
        self.group = group
        self.consumer = consumer

    async def read(self, count: int, *, block_seconds: float) -> list[Entry]:
        """New entries of all buckets, in order within each bucket, at most `count` a bucket."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._read_at + self._pace_seconds - loop.time())
        self._run = self._run or await run_of(self._redis)
        streams: dict[Any, Any] = dict.fromkeys(self._buckets, ">")
        looks_at, self._looks_at = self._looks_at, float("-inf")  # at once, when Redis goes away under the read
        with hot_errors(f"{self.group}: read the journals"):
            answer: Any = await self._blocking.xreadgroup(
                self.group, self.consumer, streams, count=count, block=max(1, int(block_seconds * 1000))
            )
        self._looks_at = looks_at
        if answer:
            self._read_at = loop.time()
        return [entry for stream, rows in answer or [] for entry in self._entries(stream.decode(), rows)]

    async def left_over(self, count: int) -> list[Entry]:
        """The same as `take_over`, when it is time to look; else nothing, at no cost."""
        now = asyncio.get_running_loop().time()
        if now < self._looks_at:
            return []
        entries = await self.take_over(count)
        if not entries:  # or there may be more
            self._looks_at = now + TAKE_OVER_SECONDS
        return entries

    async def take_over(self, count: int, *, idle_seconds: float = REDELIVER_IDLE_SECONDS) -> list[Entry]:
        """Entries that were delivered to someone (perhaps to us) long ago and never acknowledged."""
        idle, note = int(idle_seconds * 1000), int(not self._noted)
        calls: list[scripts.Call] = [
            ([stream, self._keys.place(bucket)], [self.group, self.consumer, idle, count, self._told.get(stream, ""), note])
            for stream, bucket in self._buckets.items()
        ]
        with hot_errors(f"{self.group}: take over"):
            answers = await scripts.take_over.many(self._redis, calls)
        self._noted = True
        entries: list[Entry] = []
        for stream, (run, told, rows) in zip(self._buckets, answers, strict=True):
            self._run, removed = run.decode(), told.decode()
            if removed and removed != self._told.get(stream):
                self._removed.append(removed.partition(",")[0])
            self._told[stream] = removed
            pairs = [(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in rows]
            entries += self._entries(stream, pairs)
        return entries

    def removed(self) -> list[str]:
        """Entries that a forget has removed while a consumer had them who has not acknowledged them since: of each journal the
        oldest, told once, and again where Redis has not heard that it was."""
        removed, self._removed = self._removed, []
        return removed

    def _entries(self, stream: str, rows: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Entry]:
        # An entry that was removed by a forget while it was pending comes without fields.
        bucket = self._buckets[stream]
        return [Entry(bucket, entry_id.decode(), fields) for entry_id, fields in rows if fields]

    async def done(self, entries: Sequence[Entry]) -> None:
        """Acknowledges the entries, notes the place of each bucket, and trims below the slowest follower.

        Not when Redis was restarted since they were read: it may have lost what was done for them, so they come again.
        """
        by_bucket: dict[str, list[str]] = {}
        for entry in entries:
            by_bucket.setdefault(entry.bucket, []).append(entry.entry_id)
        await self._advance(by_bucket)

    async def _advance(self, done: Mapping[str, Sequence[str]]) -> None:
        """Acknowledges what is done in each bucket, notes the place of this group, and trims what every group has done."""
        calls = [
            ([self._keys.journal(bucket), self._keys.place(bucket)], [self.group, self._run, *ids])
            for bucket, ids in done.items()
        ]
        if calls:
            with hot_errors(f"{self.group}: advance"):
                answers = await scripts.advance.many(self._redis, calls)
            if not all(answers):  # perhaps another Redis than the one of the last look, and nothing is done there
                self._looks_at = float("-inf")

    async def bury(self, entry: Entry, reason: str) -> None:
        """Moves an entry that cannot be done to the dead letters, by reference and reason, never with its text."""
        letter: dict[Any, Any] = {
            "group": self.group, "bucket": entry.bucket, "entry": entry.entry_id, "op": entry.op, "id": entry.memory_id,
            "version": entry.text("version"), "tenant": entry.text("tenant"), "project": entry.text("project"),
            "memory_type": entry.text("memory_type"), "collection": entry.text("collection"),
            "agent_id": entry.text("agent_id"), "session_id": entry.text("session_id"), "reason": reason,
        }  # fmt: skip
        with hot_errors(f"{self.group}: bury"):
            await self._redis.xadd(DEAD_LETTERS, letter, maxlen=DEAD_LETTERS_MAX)
        await self.done([entry])

    async def leave(self) -> None:
        """Gives up this consumer's name; what it had not done goes to the others."""
        with hot_errors(f"{self.group}: leave"):
            for stream in self._buckets:
                pending = await self._redis.xpending_range(stream, self.group, "-", "+", 1, consumername=self.consumer)
                if not pending:
                    await self._redis.xgroup_delconsumer(stream, self.group, self.consumer)


async def create_groups(redis: Redis, keys: Keys) -> None:
    """Creates every follower's group from the stream's beginning, so that nothing is trimmed before it was seen."""
    for journal in map(keys.journal, keys.all_buckets()):
        await _create(redis, journal, GROUPS)
    await _create(redis, RECEIPTS, (RECEIPTS_GROUP,))


async def _create(redis: Redis, stream: str, groups: Iterable[str]) -> None:
    # Asked first: a full Redis refuses XGROUP CREATE, and the archiver that would make room must be able to start.
    known: list[Any] = await redis.xinfo_groups(stream) if await redis.exists(stream) else []
    for group in set(groups) - {one["name"].decode() for one in known}:
        try:
            await redis.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


async def backlogs(redis: Redis, journals: Sequence[str]) -> list[dict[str, int]]:
    """How many entries each group has still to do, for each journal; nothing for one that does not exist."""
    with hot_errors("count the backlog"):
        answers = await scripts.backlog.many(redis, [([journal], []) for journal in journals])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
    return [{name.decode(): int(count) for name, count in zip(flat[::2], flat[1::2], strict=True)} for flat in answers]


async def not_passed(redis: Redis, keys: Keys, bucket: str, entry_id: str) -> list[str]:
    """The groups that have not done everything up to this entry of a bucket's journal."""
    client: Any = redis
    with hot_errors("look at the places"):
        places = await client.hgetall(keys.place(bucket))
        if not await client.xrange(keys.journal(bucket), max=entry_id, count=1):
            return []  # trimmed, or another Redis than the one of that time: nothing is left to be followed
    return [one for one in GROUPS if entry_order(places.get(one.encode(), b"0-0").decode()) < entry_order(entry_id)]


async def entries_with_text(redis: Redis, journal: str) -> AsyncIterator[tuple[str, int]]:
    """Id and version of every entry of a journal that carries a memory's text or vector."""
    client: Any = redis
    last = "-"
    while True:
        with hot_errors("read the journal"):
            rows = await client.xrange(journal, min=last, count=READ_MAX)
        for entry_id, fields in rows:
            last = f"({entry_id.decode()}"
            if any(name in fields for name in (b"content", b"embedding", b"embedding2", b"half")):
                yield fields[b"id"].decode(), int(fields[b"version"])
        if not rows:
            return


async def last_written(redis: Redis, journal: str, memory_id: str) -> dict[bytes, bytes] | None:
    """The newest entry of a journal that carries a memory whole; None when there is none (any more)."""
    client: Any = redis
    last = "+"
    while True:
        with hot_errors("read the journal"):
            rows = await client.xrevrange(journal, max=last, count=READ_MAX)
        for entry_id, fields in rows:
            if fields.get(b"id") == memory_id.encode() and fields[b"op"] in (b"stored", b"updated", b"moved"):
                return dict(fields)
            last = f"({entry_id.decode()}"
        if not rows:
            return None


async def archived_up_to(redis: Redis, keys: Keys, buckets: Collection[str]) -> dict[str, tuple[int, int]]:
    """The place of the archive in each of these buckets' journals, as (milliseconds, sequence); in one round trip."""
    with hot_errors("look at the archive's place"):
        async with redis.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                pipe.hget(keys.place(bucket), "archive")
            places = cast("list[bytes | None]", await pipe.execute())
    return {bucket: entry_order((place or b"0-0").decode()) for bucket, place in zip(buckets, places, strict=True)}


async def last_entry(redis: Redis, keys: Keys, bucket: str) -> tuple[int, int]:
    """The end of a bucket's journal as it is now."""
    with hot_errors("look at the journal's end"):
        rows: Any = await redis.xrevrange(keys.journal(bucket), count=1)
    return entry_order(rows[0][0].decode()) if rows else (0, 0)
