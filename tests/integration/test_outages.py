"""Under writes, each part stops for a while: what Redis acknowledged is everywhere in the end, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

import memoryd.retry
from memoryd import MemoryClient
from memoryd.errors import ArchiveUnavailable, HotUnavailable, NoAnswer
from memoryd.local.servers import Servers
from tests.integration.tools import Written, caught_up, contents, dead_letters, one_story, redeliver_after, writers
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World, private_settings

AWAY_SECONDS = 2.5  # longer than one attempt to reach MongoDB, so that failures are met, and not only waits


@pytest.fixture
async def own_world(own_servers: Servers) -> AsyncIterator[World]:
    """A memoryd whose servers belong to this test."""
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon", "sync")
        yield world


def more(written: Written, count: int = 20) -> Callable[[], bool]:
    """Whether the writers have been told of that many more."""
    enough = len(written.acknowledged) + count
    return lambda: len(written.acknowledged) >= enough


async def all_of_it_once(world: World, written: Written) -> None:
    """Asserts that what was acknowledged is in both stores, and that nothing is there twice."""
    async with world.connect(agent="") as project:
        await caught_up(world, project)
    story = await one_story(world)
    assert {content: story[key].memory.content for content, key in written.acknowledged.items()} == {
        content: content for content in written.acknowledged
    }
    every = contents(story.values())
    assert len(every) == len(set(every)), "an event was stored twice"
    assert len(every) <= len(written.acknowledged) + written.refused
    assert await world.versions.count_documents({}) == len(every)
    assert not await dead_letters(world)


# --- memoryd's own parts ------------------------------------------------------------------------------------------------
async def test_requests_wait_for_a_daemon_and_the_next_one_answers_them(world: World) -> None:
    """They are in a stream. A client notices nothing but the wait."""
    async with writers(world) as written:
        await eventually(more(written), what="the first daemon answers")
        await world.stop("daemon")
        await eventually(lambda: _waiting(world), what="a request of each writer waits")
        before = len(written.acknowledged)
        await asyncio.sleep(0.3)
        assert len(written.acknowledged) == before
        await world.start("daemon2")
        await eventually(more(written), what="the second daemon answers")

    assert written.refused == 0
    await all_of_it_once(world, written)


async def test_a_killed_daemon_loses_no_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had read and not answered is asked again by the client, and has its effect once."""
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 0.5)
    async with writers(world, clients=8) as written:
        await eventually(more(written), what="the first daemon answers")
        await world.kill("daemon")
        await world.start("daemon2")
        await eventually(more(written, 100), what="the second daemon answers")

    assert written.refused == 0
    await all_of_it_once(world, written)


async def test_writes_go_on_without_sync_and_are_archived_when_it_is_back(world: World) -> None:
    """The journal keeps what nobody archives; nothing is trimmed before it was seen."""
    async with writers(world) as written:
        await eventually(more(written), what="writes")
        await world.stop("sync")
        await eventually(more(written, 100), what="writes without sync")
        async with world.connect(agent="") as project:
            assert (await project.stats()).archive_backlog >= 100
        await world.start("sync")
        await eventually(more(written), what="writes again")

    assert written.refused == 0
    await all_of_it_once(world, written)


async def test_a_killed_sync_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may die between MongoDB's write and its acknowledgement: its successor repeats, and that does nothing."""
    redeliver_after(0.5, monkeypatch)
    async with writers(world) as written:
        for name in ("sync", "sync2", "sync3"):
            await eventually(more(written), what="writes")
            await world.kill(name)
            await world.start(f"sync{int(name[4:] or 1) + 1}")

    await all_of_it_once(world, written)


async def test_a_loop_ends_although_a_driver_swallows_its_cancellation() -> None:
    """PyMongo does so now and then; the loop that goes on would keep a dying daemon half alive."""
    began = asyncio.Event()

    async def step() -> None:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async def look() -> None:
        await step()
        await memoryd.retry.wait_for_stop(asyncio.Event(), 60)

    for one in (step, look):
        began.clear()
        task = asyncio.create_task(memoryd.retry.persistently(one, asyncio.Event(), doing="test"))
        await began.wait()
        task.cancel()

        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        assert task.cancelled()


# --- the servers --------------------------------------------------------------------------------------------------------
async def test_writes_go_on_without_mongodb_and_are_archived_when_it_is_back(
    own_servers: Servers, own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores, recalls and reads of what is hot need it not, also when Redis restarts meanwhile (`tests.faults.outage` at
    length); what only the archive knows says so."""
    assert own_servers.mongo is not None
    assert own_servers.redis is not None
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 1.0)
    async with writers(own_world) as written, own_world.connect() as memory:
        await eventually(more(written), what="writes")
        await own_servers.mongo.stop()
        await eventually(more(written, 50), what="writes without MongoDB")
        await asyncio.sleep(AWAY_SECONDS)
        kept = await memory.store("Ada paints lighthouses.", type="fact")
        assert (await memory.get(kept.id)).content == "Ada paints lighthouses."
        assert (await memory.recall("lighthouses")).hits
        stats = await memory.stats()
        assert not stats.archive.available
        assert stats.archive_backlog > 50
        with pytest.raises(ArchiveUnavailable):
            await memory.get("mem_" + "0" * 32)
        await memory.forget(kept.id)
        assert written.refused == 0
        await own_servers.redis.restart()
        await eventually(more(written, 50), what="writes after Redis was restarted, without MongoDB")
        await own_servers.mongo.start()
        await eventually(more(written), what="writes again")

    await all_of_it_once(own_world, written)


async def test_a_mongodb_that_hangs_is_no_reason_to_wait(own_servers: Servers, own_world: World) -> None:
    """Paused, it keeps its connections and answers nobody: stores do not notice."""
    assert own_servers.mongo is not None
    async with writers(own_world) as written:
        await eventually(more(written), what="writes")
        own_servers.mongo.pause()
        await eventually(more(written, 100), what="writes while MongoDB hangs")
        own_servers.mongo.resume()

    assert written.refused == 0
    await all_of_it_once(own_world, written)


async def test_mongodb_may_be_away_from_the_very_start(own_servers: Servers) -> None:
    """The daemon needs Redis only; sync waits for MongoDB and then makes its collections."""
    assert own_servers.mongo is not None
    await own_servers.mongo.stop()
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon")
        starting = asyncio.create_task(world.start("sync"))
        async with writers(world, clients=2) as written:
            await eventually(more(written, 30), what="writes")
        assert not starting.done()
        await own_servers.mongo.start()
        await starting

        await all_of_it_once(world, written)


async def test_redis_restarts_and_everyone_comes_back_by_themselves(
    own_servers: Servers, own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is in its append-only file; daemon, sync and clients find it again."""
    assert own_servers.redis is not None
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 1.0)
    async with writers(own_world) as written:
        await eventually(more(written, 50), what="writes")
        await own_servers.redis.restart()
        await eventually(more(written, 50), what="writes after the restart")

    await all_of_it_once(own_world, written)


async def test_a_redis_that_is_away_is_said_and_not_waited_for_without_an_end(
    own_servers: Servers, own_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client gets a typed error, and its next request is answered when Redis is back."""
    assert own_servers.redis is not None
    monkeypatch.setattr(memoryd.retry, "PAUSE_SECONDS_MAX", 0.2)
    async with own_world.connect() as patient, own_world.connect(timeout_seconds=3) as memory:
        kept = await patient.store("Ada prefers tea.", type="fact", durability="fsync")
        await own_servers.redis.stop()
        with pytest.raises((HotUnavailable, NoAnswer)):
            await memory.store("Ada prefers coffee.", type="fact")
        await own_servers.redis.start()
        await eventually(lambda: _answered(memory, kept.id), what="the daemon is back")


async def _waiting(world: World) -> bool:
    return bool(await world.redis.xlen("aether:requests") >= 4)


async def _answered(memory: MemoryClient, memory_id: str) -> bool:
    try:
        return (await memory.get(memory_id)).content == "Ada prefers tea."
    except (HotUnavailable, NoAnswer):
        return False
