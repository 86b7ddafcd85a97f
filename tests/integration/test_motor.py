"""A runtime that already holds a Motor client hands it to the daemon, and the archive answers through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener

from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd.daemon import serve
from memoryd.errors import NotFound
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World


class Heard(CommandListener):
    """Which commands a client sent: the proof that it was this client."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def started(self, event: Any) -> None:
        """A command leaves."""
        self.commands.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        """Not of interest."""

    def failed(self, event: Any) -> None:
        """Not of interest."""


@pytest.fixture
def heard() -> Heard:
    """What the Motor client sends."""
    return Heard()


@pytest.fixture
async def motor(settings: Settings, heard: Heard) -> AsyncIterator[Any]:
    """The runtime's own client."""
    client: Any = AsyncIOMotorClient(settings.mongo_url, event_listeners=[heard])
    yield client
    client.close()


@pytest.fixture
async def world(settings: Settings, motor: Any) -> AsyncIterator[World]:
    """A memoryd whose daemon reads the archive through that client; sync has its own."""
    ready, stop = asyncio.Event(), asyncio.Event()
    async with World(settings) as world:
        await world.start("sync")
        daemon = asyncio.create_task(serve(settings, stop, ready=ready.set, embedder=world.embedder, mongo=motor))
        await eventually(lambda: ready.is_set() or daemon.done(), what="the daemon is ready")
        yield world
        stop.set()
        await asyncio.wait_for(daemon, PATIENCE_SECONDS)


async def only_archived(world: World, memory: MemoryClient, content: str) -> str:
    """The id of a memory that Redis has no record of any more."""
    kept = await memory.store(content, type="fact", session="s1", metadata={"source": "chat"}, durability="archived")
    await world.drained(memory)
    assert await world.lose(*[key async for key in world.redis.scan_iter(match=f"aether:memory:*{kept.id}")]) == 1
    return kept.id


async def test_a_memory_that_only_mongodb_has_is_found(world: World, memory: MemoryClient, heard: Heard) -> None:
    """`get` goes to the archive when Redis has no record, and gives the same memory."""
    cold = await only_archived(world, memory, "Ada prefers tea.")

    one = await memory.get(cold)

    assert (one.content, one.session_id, one.metadata) == ("Ada prefers tea.", "s1", {"source": "chat"})
    assert one.valid_from == one.created_at
    assert "find" in heard.commands
    with pytest.raises(NotFound):
        await memory.get("mem_" + "0a" * 16)


async def test_stats_count_the_archive(world: World, memory: MemoryClient, heard: Heard) -> None:
    """Redis has forgotten one that it held; the archive counts both."""
    await only_archived(world, memory, "Ada prefers tea.")
    await memory.store("Ada paints.", durability="archived")

    stats = await memory.stats()

    assert (stats.memories, stats.archive.available, stats.archive.memories) == (1, True, 2)
    assert "aggregate" in heard.commands  # count_documents is one


async def test_a_memory_that_only_mongodb_has_is_updated_and_forgotten(world: World, memory: MemoryClient) -> None:
    """An update brings it back first; a forget needs no record to leave a tombstone in both places."""
    updated, forgotten = [
        await only_archived(world, memory, text) for text in ("Ada prefers tea.", "Ada's code is 4711-0815-2342.")
    ]

    changed = await memory.update(updated, content="Ada prefers coffee.", if_version=1)
    receipt = await memory.forget(forgotten, durability="archived")

    assert (changed.version, (await memory.get(updated)).content) == (2, "Ada prefers coffee.")
    assert receipt.outcome == "forgotten"
    with pytest.raises(NotFound):
        await memory.get(forgotten)
    assert b"4711-0815-2342" not in await world.everything_in_redis()
    assert "4711-0815-2342" not in await world.everything_in_mongo()


async def test_the_daemon_leaves_the_runtimes_client_open(settings: Settings, motor: Any) -> None:
    """It belongs to the runtime, which has other work for it."""
    stop = asyncio.Event()
    await asyncio.wait_for(serve(settings, stop, ready=stop.set, mongo=motor), PATIENCE_SECONDS)

    assert (await motor.admin.command("ping"))["ok"] == 1
