"""How the tests of sync look at both stores, and hold its parts in their hands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.archive.codec import Document
from memoryd.archive.codec import to_record as from_document
from memoryd.clock import SystemClock
from memoryd.errors import HotUnprepared, MemorydError, NotFound
from memoryd.hot.changes import NewRecord, Request
from memoryd.hot.client import open_blocking_redis
from memoryd.hot.codec import to_record as from_hash
from memoryd.hot.journal import Follower as JournalFollower
from memoryd.hot.records import Records
from memoryd.keys import KINDS, memories
from memoryd.model.ids import content_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.receipt import Verification
from memoryd.model.record import Record
from memoryd.model.results import Stats
from memoryd.model.scope import Scope
from memoryd_sync.archiver import Archiver
from memoryd_sync.projector import Projector
from tests.waiting import eventually
from tests.world import World

PACE_SECONDS = 0.01  # between two writes of one writer: a steady load, not a flood


# --- looking ----------------------------------------------------------------------------------------------------------
async def hot(world: World) -> dict[str, Record]:
    """Every memory of Redis with its vector, by id."""
    redis: Any = world.redis
    keys = [key for kind in KINDS async for key in redis.scan_iter(match=f"{memories(kind)}*", count=1000)]
    records = [from_hash(found, "float32") for key in keys if (found := await redis.hgetall(key))]  # not forgotten since
    return {one.memory.id: one for one in records}


async def archived(world: World) -> dict[str, Record]:
    """Every living memory of MongoDB with its vector, by id."""
    records = [from_document(one) async for one in world.memories.find({"tombstone": {"$ne": True}})]
    return {one.memory.id: one for one in records}


async def past(world: World, memory_id: str) -> list[tuple[int, str]]:
    """Version and content of all that MongoDB keeps of a memory's past, oldest first."""
    found = world.versions.find({"memory_id": memory_id}).sort([("version", 1), ("_id", 1)])
    return [(one["version"], one["content"]) async for one in found]


async def one_story(world: World, *, vectors: bool = True) -> dict[str, Record]:
    """Asserts that both stores hold the same memories, and `versions` each current one once; returns them."""
    here, there = await hot(world), await archived(world)
    assert here.keys() == there.keys()
    assert {key: one.memory for key, one in here.items()} == {key: one.memory for key, one in there.items()}
    assert {key: one.vector for key, one in here.items()} == {key: one.vector for key, one in there.items()}
    current = [one async for one in world.versions.find({}) if one["version"] == here[one["memory_id"]].memory.version]
    assert sorted(one["memory_id"] for one in current) == sorted(here)
    for one in current:
        record = here[one["memory_id"]]
        assert one["content"] == record.memory.content
        assert _vector(one) == record.vector
    if vectors:
        assert all(one.vector and any(one.vector) for one in here.values()), "a memory has no vector, or a zero one"
    return here


def _vector(version: Document) -> bytes | None:
    return bytes(version["embedding"])[2:] if version.get("embedding") is not None else None


async def dead_letters(world: World) -> list[dict[str, str]]:
    """What was given up."""
    redis: Any = world.redis
    rows = await redis.xrange("aether:journal:dead")
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in rows]


async def caught_up(world: World, client: MemoryClient) -> Stats:
    """Waits until the journal is drained and every entry is acknowledged."""
    return await world.drained(client)


async def idle(client: MemoryClient) -> bool:
    """Whether every follower has seen everything, in two looks: in one alone something may go from what is counted last to what
    was counted first."""
    looks = [await client.stats() for _ in range(2)]
    return not any(one.embed_backlog or one.archive_backlog for one in looks)


async def verified(client: MemoryClient, receipt_id: str) -> Verification:
    """What a look everywhere finds once all has followed, or as it is when that takes too long."""

    found = await client.verify_receipt(receipt_id)

    async def whole() -> bool:
        nonlocal found
        found = found if found.ok else await client.verify_receipt(receipt_id)
        return found.ok

    with contextlib.suppress(AssertionError):
        await eventually(whole)
    return found


def sees(memory: MemoryClient, memory_id: str, version: int) -> Callable[[], Awaitable[bool]]:
    """Whether a client sees this version."""

    async def seen() -> bool:
        try:
            return (await memory.get(memory_id)).version == version
        except NotFound:
            return False

    return seen


def gone(memory: MemoryClient, memory_id: str) -> Callable[[], Awaitable[bool]]:
    """Whether a client sees it no more."""

    async def seen() -> bool:
        try:
            await memory.get(memory_id)
        except NotFound:
            return True
        return False

    return seen


# --- holding ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Hand:
    """Sync's parts without their loops: a test decides who reads what and when it is written."""

    journals: JournalFollower
    archiver: Archiver
    projector: Projector

    async def take(self) -> list[Any]:
        """What is new in the journals, delivered to this archiver and not yet written."""
        return await self.journals.read(1000, block_seconds=0.05)

    async def archive_all(self) -> None:
        """Archives what is new until nothing is."""
        while entries := await self.take():
            await self.archiver.archive(entries)


@asynccontextmanager
async def a_hand(world: World, name: str = "by hand") -> AsyncIterator[Hand]:
    """Sync's parts over a world's stores."""
    async with open_blocking_redis(world.settings.redis_url) as blocking:
        records = Records(world.redis, world.keys)
        journals = JournalFollower(world.redis, blocking, world.keys, group="archive", consumer=name)
        projector = Projector(records, world.archive, SystemClock())
        projector.model = world.embedder.model
        with contextlib.suppress(HotUnprepared):  # no daemon has begun yet
            await journals.take_over(1, idle_seconds=3600)  # nothing, but it knows Redis now, as one that has read does
        yield Hand(journals, Archiver(journals, records, world.archive, SystemClock()), projector)


def redeliver_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long an entry may be unacknowledged before it is somebody else's; five seconds by default."""
    defaults: Any = JournalFollower.take_over.__kwdefaults__
    monkeypatch.setitem(defaults, "idle_seconds", seconds)


# --- writing ----------------------------------------------------------------------------------------------------------
SCOPE = Scope("acme", "support", "scout")


def new_fact(content: str, request_id: str = "", asked_at: int = 0) -> NewRecord:
    """A fact on its way into Redis, asked for under its own request unless one is named, now or then (microseconds)."""
    now, content_hash = SystemClock().now(), hash_content(content)
    memory = Memory(
        id=content_id(SCOPE, MemoryType.FACT, content_hash), tenant=SCOPE.tenant, project=SCOPE.project,
        agent_id=SCOPE.agent, memory_type=MemoryType.FACT, content=content, content_hash=content_hash, importance=0.5,
        created_at=now, last_accessed=now, version=0, valid_from=now, recorded_at=now,
    )  # fmt: skip
    return NewRecord(memory, dedups=True, request=Request(request_id or content_hash, "fingerprint", asked_at=asked_at))


@dataclass
class Written:
    """What writers were told: id by content. `refused` counts what was not acknowledged."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: int = 0


@asynccontextmanager
async def writers(world: World, clients: int = 4) -> AsyncIterator[Written]:
    """Clients that store event after event for the length of the block; the last answers are waited for."""
    written, enough = Written(), asyncio.Event()

    async def write(number: int) -> None:
        async with world.connect(agent=f"agent-{number}") as memory:
            count = 0
            while not enough.is_set():
                count += 1
                content = f"Writer {number} saw event {count}."
                try:
                    stored = await memory.store(content, type="episodic")
                except MemorydError:
                    written.refused += 1
                else:
                    written.acknowledged[content] = stored.id
                await asyncio.sleep(PACE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(write(number))
        try:
            yield written
        finally:
            enough.set()


def contents(records: Iterable[Record]) -> list[str]:
    """The contents, in order."""
    return sorted(one.memory.content for one in records)
