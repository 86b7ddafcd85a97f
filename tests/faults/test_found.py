"""What the laboratory has found, each as the shortest schedule that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

import memoryd.hot.scripts
import memoryd_sync.follower
from memoryd import MemoryClient, connect
from memoryd.archive.documents import DocumentArchive
from memoryd.archive.history import History
from memoryd.clock import SystemClock
from memoryd.config import Settings
from memoryd.errors import HotUnavailable, MemorydError, NotFound
from memoryd.hot import scripts
from memoryd.hot.client import entry_order, hot_errors, open_redis, run_of
from memoryd.hot.journal import Follower, archived_up_to, backlogs, create_groups
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.hot.tombstones import Tombstones
from memoryd.keys import FOLLOWER_PLACE, Keys
from memoryd.local.servers import Servers
from memoryd.model.results import Stored
from memoryd.protocol.connection import Connection
from memoryd.retry import persistently
from memoryd_schemas.mongo_apply import apply_mongo
from memoryd_sync.lease import follower_lease
from memoryd_sync.place import Places
from memoryd_sync.reconcile import Kind, Reconciler
from tests.faults.lab import Lab
from tests.faults.plan import Shape
from tests.integration.tools import (
    SCOPE,
    a_hand,
    caught_up,
    dead_letters,
    new_fact,
    one_story,
    past,
    redeliver_after,
    sees,
)
from tests.waiting import eventually
from tests.world import World, private_settings


async def test_a_repeated_request_is_confirmed_only_when_it_is_on_disk(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAITAOF waits for its own connection's writes, and a repeat wrote nothing: it was confirmed before any fsync."""
    monkeypatch.setattr(memoryd.hot.scripts, "FSYNC_TIMEOUT_SECONDS", 0.2)
    keys = Keys(settings.buckets)
    await redis.config_set("appendfsync", "no")  # whatever is written now stays off the disk
    try:
        await HotStoring(Records(redis, keys)).store([new_fact("Ada lives in Porto.")])
        async with open_redis(settings.redis_url) as another:
            [again], fsynced = await HotStoring(Records(another, keys)).store([new_fact("Ada lives in Porto.")], fsync=True)
    finally:
        await redis.config_set("appendfsync", "everysec")
    assert again.replayed
    assert not fsynced


async def test_a_caller_who_gives_up_as_the_answer_arrives_has_given_up() -> None:
    """Python 3.11's `wait_for` swallows a cancellation that comes together with the result: the task ran on for ever."""
    connection = Connection("redis://127.0.0.1:1", SCOPE, timeout_seconds=5)
    connection._send = AsyncMock()  # type: ignore[method-assign]
    call = asyncio.create_task(connection._answer_to("r-1", {}))
    await eventually(lambda: "r-1" in connection._waiting)
    await asyncio.sleep(0)

    connection._waiting["r-1"].set_result(b"an answer")
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_connection_that_uvloop_finds_closed_is_a_redis_that_does_not_answer() -> None:
    """uvloop raises a RuntimeError when Redis has closed the connection a moment ago: it ended the whole daemon."""
    stop, tries = asyncio.Event(), 0

    async def step() -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            stop.set()
            return
        with hot_errors("read"):
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    await persistently(step, stop, doing="read")

    assert tries == 2


async def test_what_redis_says_is_understood_in_a_pipeline_too() -> None:
    """The client puts the command before it: on a full disk, daemon and sync ended (seed 3021)."""
    error = ResponseError("MISCONF Errors writing to the AOF file: No space left on device")
    async with Redis() as client:
        client.pipeline().annotate_exception(error, 1, ["XAUTOCLAIM", "aether:journal:{00}"])
    with pytest.raises(HotUnavailable, match="MISCONF"), hot_errors("take over"):
        raise error


async def test_a_programmers_error_is_still_raised() -> None:
    with pytest.raises(RuntimeError), hot_errors("read"):
        raise RuntimeError("a bug of ours")


async def test_a_redis_that_goes_away_while_a_write_waits_for_the_archive_is_named() -> None:
    """The wait for `archived` answered `internal` when its connection broke, so that no client tried again."""
    async with Redis.from_url("redis://127.0.0.1:1", retry=Retry(NoBackoff(), 0)) as nowhere:
        with pytest.raises(HotUnavailable):
            await archived_up_to(nowhere, Keys(16), ["00"])


async def test_a_write_that_redis_lost_while_it_waited_for_the_archive_is_done_again(
    own_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later writes moved the archive's place past it, and it was confirmed although nobody had it (seed 3027)."""
    assert own_servers.redis is not None
    awake = asyncio.Event()

    async def when_awake(*args: Any) -> dict[str, tuple[int, int]]:
        await awake.wait()
        return await archived_up_to(*args)

    monkeypatch.setattr("memoryd.durability.archived_up_to", when_awake)  # a daemon that was paused
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 60)
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon", "sync")
        await world.stop("sync")
        async with world.connect() as memory:
            waiting = asyncio.create_task(memory.store("Ada lives in Porto.", type="fact", durability="archived"))
            journals = [world.keys.journal(bucket) for bucket in world.keys.all_buckets()]
            await eventually(lambda: _lengths(world, journals), what="the write waits for the archive")
            own_servers.redis.kill()
            shutil.rmtree(own_servers.redis.data)
            await own_servers.redis.start()
            later = f"{time.time_ns() // 1_000_000 - 1}-0"
            for bucket in world.keys.all_buckets():
                await world.redis.hset(world.keys.place(bucket), "archive", later)
            await eventually(lambda: world.redis.pubsub_channels("aether:replies:*"), what="the client listens again")
            starting = asyncio.create_task(world.start("sync"))
            awake.set()

            done = await waiting
            assert await world.memories.count_documents({"_id": done.id}) == 1
            await starting


async def _lengths(world: World, journals: list[str]) -> int:
    return sum([await world.redis.xlen(one) for one in journals])


async def test_a_follower_that_renews_its_lease_in_an_emptied_redis_fills_it_first(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lease gone too, the renewal took a new one, and the follower went on behind the gap as if all was there."""
    monkeypatch.setattr(memoryd_sync.follower, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(memoryd_sync.follower, "SAVE_SECONDS", 60)  # a save would have noticed: it must not come first
    kept = await memory.store("Ada lives in Porto.", durability="archived")
    await eventually(lambda: world.redis.exists("aether:follower:place"), what="the follower has its place")

    await world.redis.flushall()

    key = world.keys.memory("semantic", memory.scope, kept.id)
    await eventually(lambda: world.redis.exists(key), what="the memory is back")


async def test_a_place_is_not_saved_over_a_redis_that_was_restarted(own_servers: Servers) -> None:
    """A restart of a moment is hidden by the client's own retries, and what was applied in the lost second stayed lost."""
    assert own_servers.redis is not None
    async with open_redis(own_servers.redis_url) as redis:
        places, lease = Places(redis, SystemClock()), follower_lease(redis, "follower")
        await places.load()
        assert await lease.hold()
        assert await places.save({"_data": "01"}, lease)
        run = places._run

        await own_servers.redis.restart()
        with contextlib.suppress(HotUnavailable):  # one of the old connections
            await places.load()
        places._run = run

        assert await lease.renew()
        assert not await places.save({"_data": "02"}, lease)
        place = await places.load()
        assert place is not None
        assert place.token == {"_data": "01"}
        assert await places.save({"_data": "02"}, lease)


async def test_what_was_done_in_a_redis_that_was_restarted_is_done_again(own_servers: Servers) -> None:
    """A vector went with the last second, and its entry was acknowledged after that: pending for ever (seed 601019)."""
    assert own_servers.redis is not None
    keys = Keys(1)
    [journal] = map(keys.journal, keys.all_buckets())
    async with open_redis(own_servers.redis_url) as redis:
        client: Any = redis
        await create_groups(redis, keys)
        follower = Follower(redis, redis, keys, group="embed", consumer="one")
        await redis.xadd(journal, {"op": "stored", "id": "mem_1"})
        entries = await follower.read(1, block_seconds=0.01)
        await client.execute_command("WAITAOF", 1, 0, 0)

        await own_servers.redis.restart()
        with contextlib.suppress(HotUnavailable):  # one of the old connections
            await run_of(redis)

        await follower.done(entries)
        assert await backlogs(redis, [journal]) == [{"embed": 1, "archive": 1}]
        again = await follower.take_over(1, idle_seconds=0)
        assert again == entries
        await follower.done(again)
        assert await backlogs(redis, [journal]) == [{"embed": 0, "archive": 1}]


async def test_what_a_lost_answer_has_told_of_holds_up_no_journal(own_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forget removes an entry that an archiver had and never acknowledges. Who takes over hears of that once: with the answer
    lost, what lies behind the entry stayed in its journal until something else came there."""
    keys = Keys(1)
    [journal] = map(keys.journal, keys.all_buckets())
    async with open_redis(own_servers.redis_url, tries=0) as redis:
        await redis.flushall()
        await create_groups(redis, keys)
        removed: Any = await redis.xadd(journal, {"op": "stored", "id": "mem_1"})
        await redis.xadd(journal, {"op": "stored", "id": "mem_2"})
        embed, archive = (Follower(redis, redis, keys, group=one, consumer="one") for one in ("embed", "archive"))
        await embed.done(await embed.read(10, block_seconds=0.01))
        entries = await archive.read(10, block_seconds=0.01)
        await archive.take_over(10)  # it has noted where it begins
        await redis.xdel(journal, removed)
        await archive.done(entries[1:])
        assert await redis.xlen(journal) == 1

        with monkeypatch.context() as cut:
            cut.setattr(Pipeline, "execute", executed_unheard(Pipeline.execute))
            with pytest.raises(HotUnavailable):
                await archive.take_over(10, idle_seconds=0)

        assert await redis.xlen(journal) == 0
        for told in ([removed.decode()], [], []):
            await archive.take_over(10, idle_seconds=0)
            assert archive.removed() == told


def executed_unheard(execute: Any) -> Any:
    """What a connection does that is cut behind the question."""

    async def unheard(pipe: Any, *arguments: Any, **options: Any) -> Any:
        await execute(pipe, *arguments, **options)
        raise RedisConnectionError("cut")

    return unheard


async def test_an_oplog_that_rolls_over_beneath_an_open_stream_is_a_gap_that_is_noticed() -> None:
    """The follower slept with its stream open; when it asks on, MongoDB has forgotten where it was."""
    async with Lab(Shape(aof="everysec", members=1, daemons=1, syncs=1)) as lab:
        async with connect(lab.redis_url, tenant="t", project="p", agent="a") as memory:
            kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
            await eventually(lambda: lab.redis.hexists(FOLLOWER_PLACE, "token"), what="it follows")
            lab.services["sync0"].pause()
            await asyncio.sleep(1)  # the question that it had asked is answered: nothing is new
            await lab.archive.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Faro."}})
            await lab.mongo_set.roll_oplog_over()
            lab.services["sync0"].resume()

            await eventually(sees(memory, kept.id, 2), what="the edit from the gap reaches Redis")
            assert (await memory.get(kept.id)).content == "Ada lives in Faro."
        log = (lab.data / "logs" / "sync0.log").read_text()
        assert "follow.place_lost" in log
        assert not lab.trouble


async def lose_in_redis(world: World, memory_id: str) -> None:
    """What a loss of power does to a memory of the last second that MongoDB has already."""
    for key in [key async for key in world.redis.scan_iter(match=f"*:{{{world.keys.bucket(memory_id)}}}*")]:
        if memory_id.encode() in key or key.startswith(b"aether:idempotency:"):
            await world.redis.delete(key)


async def test_an_event_that_only_the_archive_has_is_not_stored_a_second_time(world: World, memory: MemoryClient) -> None:
    """Its id was random: the repeat of a request whose event Redis had lost made another one (seeds 1005, 1007)."""
    first = await memory.store("It happened once.", type="episodic", durability="archived", request_id="the-same")
    await lose_in_redis(world, first.id)

    again = await memory.store("It happened once.", type="episodic", durability="archived", request_id="the-same")

    assert again.id == first.id
    await caught_up(world, memory)
    await one_story(world)
    assert await world.memories.count_documents({}) == 1


async def test_an_event_that_came_back_from_the_archive_meets_its_own_repeat(world: World, memory: MemoryClient) -> None:
    """Redis knows the event again, but not the request; the confirmation of the repeat is not waited for in vain."""
    first = await memory.store("It happened once.", type="episodic", durability="archived", request_id="the-same")
    await world.redis.flushall()
    key = world.keys.memory("episodic", memory.scope, first.id)
    await eventually(lambda: world.redis.exists(key), what="the event is back")

    again = await memory.store("It happened once.", type="episodic", durability="archived", request_id="the-same")

    assert (again.id, again.version, again.replayed) == (first.id, 1, True)
    assert await past(world, first.id) == [(1, "It happened once.")]


async def test_a_forgotten_event_is_not_brought_back_by_its_own_repeat(world: World, memory: MemoryClient) -> None:
    """The request that stored it came late, and Redis knew only the tombstone."""
    first = await memory.store("It happened once.", type="episodic", request_id="the-same")
    await memory.forget(first.id, durability="archived")
    for key in [key async for key in world.redis.scan_iter(match="aether:idempotency:*")]:
        await world.redis.delete(key)

    again = await memory.store("It happened once.", type="episodic", durability="archived", request_id="the-same")

    assert (again.id, again.version, again.replayed) == (first.id, 1, True)
    assert not await world.redis.exists(world.keys.memory("episodic", memory.scope, first.id))


@asynccontextmanager
async def a_forget_that_redis_has_lost(
    world: World, memory: MemoryClient, clock_ahead: timedelta = timedelta(0)
) -> AsyncIterator[Stored]:
    """The memory of a forget that the archive has and Redis has lost; sync hears of it after the block."""
    true_now = SystemClock.now
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await world.stop("sync")
    key, redis = world.keys.memory("semantic", memory.scope, kept.id), world.redis
    fields: Any = await redis.hgetall(key)
    async with a_hand(world) as hand:
        with pytest.MonkeyPatch.context() as jumped:
            jumped.setattr(SystemClock, "now", lambda self: true_now(self) + clock_ahead)
            await memory.forget(kept.id)
        await hand.archive_all()
    await redis.delete(world.keys.tombstone(kept.id))
    await redis.hset(key, mapping=fields)
    yield kept
    await world.start("sync")


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_what_is_stored_again_after_a_forget_that_redis_has_lost_stays(
    world: World, memory: MemoryClient, hours: int
) -> None:
    """It was reinforced at its old version; the tombstone came later from the archive, and took it away (seed 2003).

    The clock of the daemon that forgot it may have been wrong.
    """
    async with a_forget_that_redis_has_lost(world, memory, timedelta(hours=hours)) as kept:
        again = await memory.store("Ada lives in Porto.", type="fact")
        assert (again.outcome, again.version) == ("reinforced", 1)

    await eventually(sees(memory, kept.id, 3), what="the memory is above the tombstone")
    await caught_up(world, memory)
    await one_story(world)
    assert await past(world, kept.id) == [(3, "Ada lives in Porto.")]
    assert not await dead_letters(world)


async def test_an_update_after_a_forget_that_redis_has_lost_stays(world: World, memory: MemoryClient) -> None:
    """It made the version that the tombstone has, and the tombstone went over it."""
    async with a_forget_that_redis_has_lost(world, memory) as kept:
        assert (await memory.update(kept.id, content="Ada lives in Lisbon.")).version == 2

    await eventually(sees(memory, kept.id, 3), what="the update is above the tombstone")
    await caught_up(world, memory)
    await one_story(world)
    assert await past(world, kept.id) == [(3, "Ada lives in Lisbon.")]


async def test_a_forget_that_redis_has_lost_is_made_up_for(world: World, memory: MemoryClient) -> None:
    """Nobody has said anything since: the tombstone wins."""
    async with a_forget_that_redis_has_lost(world, memory) as kept:
        pass

    await eventually(lambda: world.redis.exists(world.keys.tombstone(kept.id)), what="the tombstone is back")
    with pytest.raises(NotFound):
        await memory.get(kept.id)


async def test_a_memory_that_comes_back_without_a_vector_gets_one(world: World, memory: MemoryClient) -> None:
    """The entry that would have embedded it was lost with Redis, and nobody made another: it was pending for ever."""
    world.embedder.away = True
    kept = await memory.store("Ada lives in Porto.", durability="archived")
    await world.kill("daemon")
    await world.redis.flushall()
    world.embedder.away = False
    await world.start("daemon")

    async def embedded() -> bool:
        with contextlib.suppress(MemorydError):  # Redis is being filled
            return not (await memory.get(kept.id)).pending
        return False

    await eventually(embedded, what="the memory has its vector")


async def test_an_acknowledgement_that_redis_refuses_is_not_half_done(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged and not noted, an entry stayed in its journal, and its place waited for the bucket's next write."""
    await world.stop("sync")
    stored = await memory.store("Ada lives in Porto.", type="fact")
    bucket = world.keys.bucket(stored.id)
    async with a_hand(world) as hand:
        with monkeypatch.context() as restarted:
            restarted.setattr(scripts.advance, "many", AsyncMock(side_effect=RedisConnectionError("restarted")))
            with pytest.raises(HotUnavailable):
                await hand.archive_all()
        [again] = [one for one in await hand.journals.take_over(10, idle_seconds=0) if one.op == "stored"]
        await hand.archiver.archive([again])
        await hand.archive_all()

    assert (await archived_up_to(world.redis, world.keys, [bucket]))[bucket] >= entry_order(again.entry_id)


async def test_a_place_that_nobody_noted_is_noted_by_the_next_archiver(world: World, memory: MemoryClient) -> None:
    """What a forget takes out of a pending journal is acknowledged by nobody; the archiver that knew of it may die."""
    await world.stop("sync")
    stored = await memory.store("Ada lives in Porto.", type="fact")
    async with a_hand(world, "one") as hand:
        await hand.archive_all()
    await world.redis.delete(world.keys.place(world.keys.bucket(stored.id)))

    async with a_hand(world, "two") as hand:
        await hand.journals.take_over(10, idle_seconds=0)

    bucket = world.keys.bucket(stored.id)
    assert (await archived_up_to(world.redis, world.keys, [bucket]))[bucket] > (0, 0)


async def test_what_a_dead_archiver_wrote_of_the_forgotten_is_removed_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died between its write and its look for tombstones, and the forget had taken its entries out of the journal: nobody
    was given them again (seed 600822). The same of an event's data and a session's messages."""
    redeliver_after(0.0, monkeypatch)
    async with (
        World(settings) as world, a_hand(world, "dead") as dead, a_hand(world, "alive") as alive, world.connect() as memory
    ):  # fmt: skip
        await apply_mongo(world.archive.database)
        await world.start("daemon")
        await alive.archiver.step()  # it has begun, and looked back as far as it does then
        fact = await memory.store("The code is kumquat.", type="fact")
        event = await memory.episodes.record("tool_call", {"page": "kumquat " * 2000}, outcome="ok")
        await memory.working("s1").append({"role": "user", "content": "The code is kumquat."})
        read = await dead.take()
        for one in (fact.id, event.id):
            await memory.forget(one)
        await memory.forget_many(session="s1")
        await alive.archive_all()

        with monkeypatch.context() as killed:
            for owner, looks in ((History, "bury"), (DocumentArchive, "bury_parts"), (Tombstones, "versions")):
                killed.setattr(owner, looks, AsyncMock(return_value={}))
            killed.setattr(Follower, "done", AsyncMock())
            await dead.archiver.archive(read)
        left = await world.everything_in_mongo()
        assert all(f"'{name}'" in left for name in ("memory_id", "data", "owner"))
        assert "kumquat" in left

        async def gone() -> bool:
            await alive.archiver.step()
            left = await world.everything_in_mongo()
            return not any(one in left for one in ("kumquat", "'data'", "'owner'"))

        await eventually(gone, what="the next archiver has looked, as it does each second")


async def test_an_entry_that_is_done_again_brings_back_no_document_that_a_person_has_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis had lost that it was done, and MongoDB's history that it was deleted: nothing else told of that (seed 601936)."""
    async with World(settings) as world, a_hand(world) as hand, world.connect() as memory:
        await apply_mongo(world.archive.database)
        await world.start("daemon")
        kept = await memory.store("Locker 1 is kumquat.", type="fact")
        await world.redis.hset(FOLLOWER_PLACE, "collection", await world.archive.identity())
        entries = await hand.take()
        with monkeypatch.context() as lost:
            lost.setattr(Follower, "done", AsyncMock())
            await hand.archiver.archive(entries)
        await world.memories.delete_one({"_id": kept.id})
        reconciler = Reconciler(Records(world.redis, world.keys), world.archive, hand.projector)
        assert [one.kind for one in (await reconciler.compare()).differences] == [Kind.HOT_NOT_DELETED]

        await hand.archiver.archive(entries)

        assert await world.memories.count_documents({}) == 0
        differences = (await reconciler.compare()).differences
        assert [one.kind for one in differences] == [Kind.HOT_NOT_DELETED]
        await reconciler.mend(differences)
        await hand.archive_all()
        assert not await world.redis.exists(world.keys.memory("semantic", memory.scope, kept.id))
        assert not await past(world, kept.id)


async def test_half_of_a_transaction_that_was_cut_never_comes_alive(own_servers: Servers) -> None:
    """Redis drops it at the next start, and leaves its beginning in the file: the start after that would carry it out (601375)."""
    server = own_servers.redis
    assert server is not None
    both = "redis.call('SET', KEYS[1], ARGV[1]); redis.call('SET', KEYS[2], ARGV[1])"  # two effects are one transaction
    async with open_redis(server.url) as redis:
        client: Any = redis
        await client.eval(both, 2, "before", "cut", "x" * 1000)
        await client.waitaof(1, 0, 60_000)
    server.kill()
    [file] = (server.data / "appendonlydir").glob("*.incr.aof")
    with file.open("r+b") as cut:
        cut.truncate(file.stat().st_size - 500)  # the second SET and the EXEC never came to the disk

    await server.start()
    async with open_redis(server.url) as redis:
        client = redis
        assert await client.exists("before", "cut") == 0
        await client.eval(both, 2, "after", "confirmed", "y")
        assert (await client.waitaof(1, 0, 60_000))[0] == 1
    await server.restart()
    async with open_redis(server.url) as redis:
        assert await redis.mget("before", "cut", "after", "confirmed") == [None, None, b"y", b"y"]
