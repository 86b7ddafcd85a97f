"""Sees what happens to a memory as it happens: its request, its journal entries, its documents."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from memoryd.demo.stage import Stage
from memoryd.demo.wait import until
from memoryd.hot.journal import Entry, Follower
from memoryd.keys import REQUESTS
from memoryd.retry import finish, heed_cancellation


@dataclass(frozen=True)
class Change:
    """A write to a document, as MongoDB's change stream tells it."""

    collection: str
    document_id: str
    operation: str
    at: int  # milliseconds since 1970, by MongoDB's clock


@dataclass
class Watch:
    """What was seen so far."""

    envelope: bytes = b""
    entries: list[Entry] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    async def seen(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until this was seen. Raises NeverHappened."""

        async def look() -> bool | None:
            return condition() or None

        await until(look, what)

    def entries_of(self, memory_id: str, op: str) -> list[Entry]:
        """The journal's entries of one memory with this operation."""
        return [one for one in self.entries if (one.memory_id, one.op) == (memory_id, op)]

    def changes_of(self, memory_id: str, collection: str) -> list[Change]:
        """The writes to one memory's documents in this collection, in their order."""
        return [one for one in self.changes if one.collection == collection and one.document_id.startswith(memory_id)]


@asynccontextmanager
async def watching(stage: Stage) -> AsyncIterator[Watch]:
    """Watch the requests, the journals and MongoDB for the block."""
    watch = Watch()
    async with _group(stage) as follower, _change_stream(stage) as stream, contextlib.AsyncExitStack() as stack:
        last = (await stage.redis.xinfo_stream(REQUESTS))["last-generated-id"]
        for work in (_requests(stage, last, watch), _journals(follower, watch), _documents(stream, watch)):
            stack.push_async_callback(finish, asyncio.create_task(work))
        await _blocked(stage)
        yield watch


@asynccontextmanager
async def _group(stage: Stage) -> AsyncIterator[Follower]:
    """A follower of our own: a journal is trimmed only below the slowest one, so none of its entries can be missed."""
    group = f"demo-{secrets.token_hex(4)}"
    journals = [stage.keys.journal(bucket) for bucket in stage.keys.all_buckets()]
    for journal in journals:
        await stage.redis.xgroup_create(journal, group, id="$", mkstream=True)
    try:
        follower = Follower(stage.redis, stage.blocking, stage.keys, group=group, consumer="demo")
        yield follower
    finally:
        for journal in journals:
            await stage.redis.xgroup_destroy(journal, group)


async def _journals(follower: Follower, watch: Watch) -> None:
    while True:
        heed_cancellation()
        entries = await follower.read(100, block_seconds=1.0)
        watch.entries += entries
        await follower.done(entries)


async def _requests(stage: Stage, last: bytes, watch: Watch) -> None:
    """The first request: it goes out of the stream with its answer, so only who waits for it already can see it."""
    answer: Any = await stage.blocking.xread({REQUESTS: last}, count=1, block=0)
    [(_, [(_, fields)])] = answer.items() if isinstance(answer, dict) else answer
    watch.envelope = fields[b"envelope"]


async def _blocked(stage: Stage) -> None:
    """Return when Redis holds our read of the requests."""

    async def look() -> bool | None:
        clients = await stage.redis.client_list()
        return any(one["cmd"] == "xread" and "b" in one["flags"] for one in clients) or None

    await until(look, "Redis holds a read of the requests")


@asynccontextmanager
async def _change_stream(stage: Stage) -> AsyncIterator[Any]:
    names = [stage.archive.memories.name, stage.archive.versions.name]
    stream = await stage.archive.database.watch(
        [
            {"$match": {"ns.coll": {"$in": names}}},
            {"$project": {"ns": 1, "documentKey": 1, "operationType": 1, "wallTime": 1}},
        ],
        max_await_time_ms=100,
    )
    async with stream:
        yield stream


async def _documents(stream: Any, watch: Watch) -> None:
    while True:
        heed_cancellation()
        if (change := await stream.try_next()) is not None:
            at = milliseconds(change["wallTime"].replace(tzinfo=UTC))
            document_id = str(change["documentKey"]["_id"])
            watch.changes.append(Change(change["ns"]["coll"], document_id, change["operationType"], at))


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970: what both servers' clocks give."""
    return int(moment.timestamp() * 1000)
