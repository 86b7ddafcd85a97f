"""At a limit writers are told so and the rest goes on; a store that hears nothing makes nobody wait without an end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import memoryd.archive.store
import memoryd.hot.client
import memoryd.protocol.connection
from memoryd import MemoryClient, connect
from memoryd.errors import ArchiveUnavailable, HotUnavailable, MemorydError, NotFound, Overloaded
from memoryd.keys import REQUESTS
from memoryd.local.servers import Servers
from tests.faults.proxy import Proxy
from tests.integration.tools import caught_up
from tests.waiting import eventually
from tests.world import World, private_settings

NOBODY = "mem_" + "0" * 32
SOON = 19.0  # seconds; without a limit of our own a driver waits 20 and more


# --- limits -------------------------------------------------------------------------------------------------------------
async def test_a_redis_that_is_nearly_full_takes_no_new_memories(world: World, memory: MemoryClient) -> None:
    """It is not full yet: what was acknowledged is embedded, archived, found and forgotten in the room that is left."""
    kept = await memory.store_many([{"content": f"Memory {number}.", "type": "fact"} for number in range(20)])
    await world.redis.setrange("something else", 64_000_000, "x")  # so that a few percent are some room
    used = (await world.redis.info("memory"))["used_memory"]
    await world.redis.config_set("maxmemory", int(used / 0.93))
    try:
        await eventually(lambda: refused(memory, "maxmemory"), what="new writes are refused")
        await caught_up(world, memory)
        one, *_ = [item for item in kept if not isinstance(item, MemorydError)]
        assert (await memory.recall("Memory 0.")).hits
        assert (await memory.forget(one.id, durability="archived")).outcome == "forgotten"
        with pytest.raises(NotFound):
            await memory.get(one.id)
    finally:
        await world.redis.config_set("maxmemory", 0)
        await world.redis.delete("something else")
    await eventually(lambda: taken(memory), what="writes are taken again")


async def test_a_client_adds_nothing_to_requests_that_nobody_answers(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no daemon runs its clients would fill Redis, one repeat after the other."""
    await world.stop("daemon")
    monkeypatch.setattr(memoryd.protocol.connection, "REQUESTS_STREAM_MAX", 0)

    with pytest.raises(Overloaded) as refusal:
        await memory.store("Nobody hears this.")

    assert refusal.value.details["retry_after_seconds"]
    assert await world.redis.xlen(REQUESTS) == 0


async def refused(memory: MemoryClient, why: str) -> bool:
    """Whether a store is refused with this reason and a hint when to come back."""
    try:
        await memory.store("One more.")
    except Overloaded as error:
        return why in error.message and bool(error.details["retry_after_seconds"])
    return False


async def taken(memory: MemoryClient) -> bool:
    """Whether a store is taken."""
    return not await refused(memory, "")


# --- servers that hear nothing ------------------------------------------------------------------------------------------
@asynccontextmanager
async def before(port: int) -> AsyncIterator[Proxy]:
    """A way to a server that may go deaf."""
    proxy = Proxy(port)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def seconds_of(call: Callable[[], Awaitable[object]], error: type[MemorydError]) -> float:
    """How long it takes until the call fails with this error."""
    began = time.monotonic()
    with pytest.raises(error):
        await call()
    return time.monotonic() - began


async def test_a_mongodb_that_hears_nothing_is_asked_for_a_moment_and_then_left_alone(
    own_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only it could answer fails soon, and at once as soon as it has failed five times; the rest goes on."""
    assert own_servers.mongo is not None
    monkeypatch.setattr(memoryd.archive.store, "ARCHIVE_ANSWER_SECONDS", 0.3)
    async with before(own_servers.mongo.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        async with World(private_settings(own_servers.redis_url, url)) as world, world.connect() as memory:
            await world.start("daemon")

            async def answers() -> bool:
                try:
                    await memory.get(NOBODY)
                except ArchiveUnavailable:
                    return False
                except NotFound:
                    return True
                return False

            await eventually(answers, what="it answers in time")
            proxy.go_deaf()

            for _ in range(5):
                assert await seconds_of(lambda: memory.get(NOBODY), ArchiveUnavailable) < SOON
            assert (await memory.stats()).archive.circuit != "closed"
            kept = await memory.store("Ada prefers tea.", type="fact")
            assert (await memory.recall("tea")).hits
            assert (await memory.forget(kept.id)).outcome == "forgotten"

            proxy.heal()
            await eventually(answers, what="it is asked again")
            assert (await memory.stats()).archive.circuit == "closed"


async def test_a_redis_that_hears_nothing_is_said_to_be_away(
    own_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection stands and nobody answers: one command's time, not three times that."""
    assert own_servers.redis is not None
    async with before(own_servers.redis.port) as proxy, World(
        private_settings(own_servers.redis_url, own_servers.mongo_url)
    ) as world:
        await world.start("daemon")
        monkeypatch.setattr(memoryd.hot.client, "REDIS_ANSWER_SECONDS", 2.0)  # of the client's commands alone
        async with connect(f"redis://127.0.0.1:{proxy.port}", agent="scout") as memory:
            async with world.connect(tenant="default", project="default") as near:
                kept = await near.store("Ada prefers tea.", type="fact")
            await eventually(lambda: _answered(memory, kept.id), what="it answers in time")
            proxy.go_deaf()

            assert await seconds_of(lambda: memory.get(kept.id), HotUnavailable) < SOON

            proxy.heal()
            await eventually(lambda: _answered(memory, kept.id), what="it answers again")


async def _answered(memory: MemoryClient, memory_id: str) -> bool:
    try:
        return (await memory.get(memory_id)).content == "Ada prefers tea."
    except MemorydError:
        return False
