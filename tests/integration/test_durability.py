"""What a caller may ask a write to have survived, and what it is told when that cannot be confirmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import memoryd.durability
from memoryd import MemoryClient
from memoryd.errors import DurabilityNotReached, MemorydError, NotFound
from memoryd.local.servers import Servers
from memoryd.model.results import Receipt, Stored
from tests.integration.tools import archived, caught_up, past
from tests.waiting import eventually
from tests.world import World, private_settings

Write = Callable[[MemoryClient, str, str], Awaitable[Stored | Receipt]]


async def store(memory: MemoryClient, memory_id: str, durability: str) -> Stored:
    return await memory.store("Ada prefers coffee.", type="fact", durability=durability)


async def update(memory: MemoryClient, memory_id: str, durability: str) -> Stored:
    return await memory.update(memory_id, content="Ada prefers water.", durability=durability)


async def forget(memory: MemoryClient, memory_id: str, durability: str) -> Receipt:
    return await memory.forget(memory_id, durability=durability)


EVERY_WRITE = pytest.mark.parametrize("write", [store, update, forget])


@pytest.fixture
async def without_aof(world: World) -> AsyncIterator[World]:
    """Its Redis keeps no append-only file for the length of the test."""
    await world.redis.config_set("appendonly", "no")
    yield world
    await world.redis.config_set("appendonly", "yes")

    async def rewritten() -> bool:
        info: dict[str, Any] = await world.redis.info("persistence")
        return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

    await eventually(rewritten, what="the append-only file is whole again")


@EVERY_WRITE
async def test_fsync_means_that_it_is_on_the_disk(world: World, memory: MemoryClient, write: Write) -> None:
    """Redis has written it to its append-only file and synced that: WAITAOF says so."""
    kept = await memory.store("Ada prefers tea.", type="fact")

    written = await write(memory, kept.id, "fsync")

    assert written.durability == "fsync"
    assert await world.redis.waitaof(1, 0, 1) == [1, 0]


@EVERY_WRITE
async def test_without_an_append_only_file_fsync_says_so_and_the_write_is_there(
    without_aof: World, memory: MemoryClient, write: Write
) -> None:
    """The error is typed and carries the id: the caller knows what it has, and what it has not."""
    kept = await memory.store("Ada prefers tea.", type="fact")

    with pytest.raises(DurabilityNotReached) as refused:
        await write(memory, kept.id, "fsync")

    details = refused.value.details
    assert (details["wanted"], details["reached"]) == ("fsync", "hot")
    await _is_carried_out(memory, write, details["id"])


@EVERY_WRITE
async def test_archived_means_that_mongodb_has_it_at_that_moment(
    world: World, memory: MemoryClient, write: Write
) -> None:
    """Nothing is waited for afterwards."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    assert (await archived(world))[kept.id].memory.content == "Ada prefers tea."
    assert await past(world, kept.id) == [(1, "Ada prefers tea.")]

    written = await write(memory, kept.id, "archived")

    assert written.durability == "archived"
    there = await archived(world)
    if write is forget:
        assert kept.id not in there
        assert not await past(world, kept.id)
    else:
        assert there[written.id].memory.version == written.version


async def test_archived_includes_the_disk(without_aof: World, memory: MemoryClient) -> None:
    """The levels build on each other: a Redis that keeps no file is said, although MongoDB gets the memory."""
    with pytest.raises(DurabilityNotReached) as refused:
        await memory.store("Ada prefers tea.", type="fact", durability="archived")

    details = refused.value.details
    assert (details["wanted"], details["reached"]) == ("archived", "hot")
    await caught_up(without_aof, memory)
    assert details["id"] in await archived(without_aof)


@EVERY_WRITE
async def test_archived_without_an_archiver_is_said_within_the_limit_and_the_write_is_there(
    world: World, memory: MemoryClient, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level that was reached is in the error; the rest follows when sync is back."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    await world.stop("sync")
    monkeypatch.setattr(memoryd.durability, "ARCHIVED_TIMEOUT_SECONDS", 0.2)

    with pytest.raises(DurabilityNotReached) as refused:
        await write(memory, kept.id, "archived")

    details = refused.value.details
    assert (details["wanted"], details["reached"]) == ("archived", "fsync")
    await _is_carried_out(memory, write, details["id"])
    await world.start("sync")
    await caught_up(world, memory)
    assert (details["id"] in await archived(world)) == (write is not forget)


async def test_archived_with_mongodb_away_is_said_within_the_limit(
    own_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of many memories at once: each says it for itself; the repeated request finds it done."""
    assert own_servers.mongo is not None
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon", "sync")
        async with world.connect() as memory:
            await own_servers.mongo.stop()
            many = [{"content": f"Fact {count}.", "type": "fact"} for count in range(5)]
            with monkeypatch.context() as impatient:
                impatient.setattr(memoryd.durability, "ARCHIVED_TIMEOUT_SECONDS", 0.5)
                refused = await memory.store_many(many, durability="archived", request_id="many")
            assert [type(one) for one in refused] == [DurabilityNotReached] * 5
            ids = {one.details["id"] for one in refused if isinstance(one, MemorydError)}
            await own_servers.mongo.start()
            await caught_up(world, memory)

            again = await memory.store_many(many, durability="archived", request_id="many")

        stored = [one for one in again if isinstance(one, Stored)]
        assert {one.id for one in stored} == ids == (await archived(world)).keys()
        assert all(one.replayed and one.version == 1 for one in stored)


async def _is_carried_out(memory: MemoryClient, write: Write, memory_id: str) -> None:
    if write is forget:
        with pytest.raises(NotFound):
            await memory.get(memory_id)
    else:
        contents = {"Ada prefers coffee.", "Ada prefers water."}
        assert (await memory.get(memory_id)).content in contents
