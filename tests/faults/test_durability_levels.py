"""docs/durability.md, sentence by sentence: real processes are killed, a real disk is wiped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.errors import DurabilityNotReached, HotUnavailable, MemorydError, NoAnswer
from memoryd.hot.client import open_redis
from memoryd.local.processes import Process
from memoryd.local.redis_server import RedisServer
from memoryd.local.servers import Servers
from memoryd.local.up import open_services
from memoryd.model.results import Stored
from tests.waiting import eventually

COUNT = 40


@dataclass
class Whole:
    """Servers of this test's own, and the two services as real processes."""

    servers: Servers
    daemon: Process
    sync: Process

    @property
    def redis(self) -> RedisServer:
        assert self.servers.redis is not None
        return self.servers.redis

    def connect(self, **more: Any) -> MemoryClient:
        return connect(self.servers.redis_url, tenant="acme", project="support", agent="scout", **more)

    async def store(self, count: int, durability: str) -> list[str]:
        """Ids of `count` acknowledged writes, stored side by side."""
        async with self.connect() as memory:
            works = [memory.store(f"Kept {durability} {n}.", type="fact", durability=durability) for n in range(count)]
            return [one.id for one in await asyncio.gather(*works)]

    async def archived(self, ids: list[str]) -> int:
        """How many of them MongoDB has."""
        async with open_mongo(self.servers.mongo_url) as mongo:
            return await mongo["aether_memory"]["memories"].count_documents(
                {"_id": {"$in": ids}, "version": {"$gte": 1}}
            )

    async def hot(self, ids: list[str]) -> int:
        """How many of them Redis has."""
        async with open_redis(self.servers.redis_url) as redis:
            keys = [key.decode() async for key in redis.scan_iter(match="aether:memory:*", count=1000)]
        return len({key.rpartition(":")[2] for key in keys} & set(ids))

    async def holds(self, ids: list[str], *, within_seconds: float = 60) -> None:
        """Waits until both stores have all of them."""

        async def both() -> bool:
            return await self.archived(ids) == len(ids) == await self.hot(ids)

        await eventually(both, within_seconds=within_seconds, what=f"both stores hold all {len(ids)} memories")


@pytest.fixture
async def whole(own_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    monkeypatch.setenv("MEMORYD_EMBEDDER", "none")  # durability is not about vectors
    async with open_services(own_servers) as (daemon, sync):
        yield Whole(own_servers, daemon, sync)


@asynccontextmanager
async def without(process: Process) -> AsyncIterator[None]:
    """Kills a process with SIGKILL for the block."""
    process.kill()
    await eventually(lambda: not process.alive, what="the process is dead")
    yield
    await process.start()


async def test_hot_survives_the_death_of_every_memoryd_process(whole: Whole) -> None:
    """Acknowledged means in Redis: the processes may die in the next instant, in the middle of other writes."""
    async with whole.connect(timeout_seconds=20) as memory:
        works = [asyncio.create_task(memory.store(f"Kept hot {n}.", type="fact")) for n in range(COUNT * 5)]
        acknowledged = [await one for one in works[:COUNT]]
        whole.daemon.kill()
        whole.sync.kill()
        rest = await asyncio.gather(*works[COUNT:], return_exceptions=True)
    await whole.daemon.start()
    await whole.sync.start()

    acknowledged += [one for one in rest if isinstance(one, Stored)]
    assert all(isinstance(one, Stored | NoAnswer) for one in rest)
    await whole.holds([one.id for one in acknowledged])


async def test_fsync_survives_the_death_of_redis(whole: Whole) -> None:
    """Killed right after the acknowledgement, Redis has the writes on its disk."""
    async with without(whole.sync):  # nothing is archived: only Redis's disk can know them
        ids = await whole.store(COUNT, "fsync")
        async with without(whole.redis):
            pass
        assert await whole.hot(ids) == COUNT
    await whole.holds(ids)


async def test_archived_survives_the_loss_of_redis_s_disk(whole: Whole) -> None:
    """Redis comes back with nothing; sync fills it from MongoDB, and agents find what they stored."""
    ids = await whole.store(COUNT, "archived")
    assert await whole.archived(ids) == COUNT

    async with without(whole.redis):
        shutil.rmtree(whole.redis.data)

    await whole.holds(ids)
    async with whole.connect() as memory:
        found = await eventually(lambda: _recalled(memory, "kept archived"), what="recall works again")
    assert set(found) <= set(ids)


async def _recalled(memory: MemoryClient, query: str) -> list[str]:
    try:
        return [hit.memory.id for hit in await memory.recall(query, limit=COUNT)]
    except MemorydError:
        return []


async def test_agents_can_store_while_an_emptied_redis_is_filled(whole: Whole) -> None:
    """The daemon prepares the empty Redis within a moment; it does not wait for the copy."""
    ids = await whole.store(COUNT, "archived")
    async with without(whole.redis):
        shutil.rmtree(whole.redis.data)

    async def stored() -> str | None:
        async with whole.connect(timeout_seconds=5) as memory:
            try:
                return (await memory.store("Stored meanwhile.", type="fact")).id
            except (HotUnavailable, NoAnswer):
                return None

    new = await eventually(stored, what="a store is acknowledged")
    await whole.holds([*ids, new])


async def test_fsync_without_an_append_only_file_is_said(whole: Whole) -> None:
    """The level is not pretended; the memory is stored, and the error names it."""
    async with open_redis(whole.servers.redis_url) as redis:
        await redis.config_set("appendonly", "no")

    async with whole.connect() as memory:
        with pytest.raises(DurabilityNotReached) as refusal:
            await memory.store("Kept, but not on disk.", durability="fsync")
        details = refusal.value.details
        assert (details["wanted"], details["reached"]) == ("fsync", "hot")
        assert (await memory.get(details["id"])).content == "Kept, but not on disk."


async def test_whatever_the_level_mongodb_gets_it_when_it_is_back(whole: Whole) -> None:
    """MongoDB is killed under writes: they are acknowledged all the same, and arrive when it lives again."""
    assert whole.servers.mongo is not None
    async with without(whole.servers.mongo):
        ids = await whole.store(COUNT, "hot")
        assert len(ids) == COUNT
    await whole.holds(ids)


async def test_a_repeat_with_the_same_request_id_has_one_effect(whole: Whole) -> None:
    """A caller that heard nothing asks again, after the daemon was killed and replaced, and gets the first answer."""
    async with whole.connect() as memory:
        first = await memory.store("It happened once.", type="episodic", request_id="the-same")
        async with without(whole.daemon):
            pass
        again = await memory.store("It happened once.", type="episodic", request_id="the-same")

    assert (again.id, again.version, again.replayed) == (first.id, first.version, True)
