"""Events: who was away is told what it missed, once and in order, or is told that it cannot be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from memoryd import MemoryClient, connect
from memoryd.config import Settings
from memoryd.errors import BadRequest, EventsLost
from memoryd.limits import EVENTS_TTL_SECONDS, PLACE_LIFE_SECONDS
from memoryd.model.events import Event, Place
from memoryd.model.scope import Scope
from tests.faults.proxy import Link, Proxy
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.wire import Wire
from tests.world import World

PROJECT = Scope("acme", "support")


async def told(memory: MemoryClient, after: str, count: int) -> list[Event]:
    """The next `count` events behind a place."""
    heard = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(memory.events(after=after)) as events:
        async for event in events:
            heard.append(event)
            if len(heard) == count:
                break
    return heard


async def changed(memory: MemoryClient, count: int) -> list[str]:
    """Stores `count` memories and forgets every second one; what happened, in the order of each memory."""
    kept = [await memory.store(f"Ada owns {number} kites.", type="fact") for number in range(count)]
    for one in kept[::2]:
        await memory.forget(one.id)
    return sorted([f"{one.id} stored" for one in kept] + [f"{one.id} forgotten" for one in kept[::2]])


def named(events: list[Event]) -> list[str]:
    return [f"{one.id} {one.op}" for one in events if one.op != "embedded"]


# --- replay -------------------------------------------------------------------------------------------------------------
async def test_who_was_away_is_told_what_happened_meanwhile(world: World, memory: MemoryClient) -> None:
    """Every event, once; a memory is stored before it is forgotten."""
    place = await memory.place()
    happened = await changed(memory, 20)
    await world.drained(memory)

    heard = await told(memory, place, 30 + len([one for one in happened if "stored" in one]) - await unembedded(world))

    assert sorted(named(heard)) == happened
    for one in heard:
        if one.op == "forgotten":
            assert f"{one.id} stored" in named(heard[: heard.index(one)])


async def unembedded(world: World) -> int:
    """How many memories of the scope were forgotten before they had a vector: their events lack that one."""
    redis: Any = world.redis
    embedded = 0
    for bucket in world.keys.all_buckets():
        rows = await redis.xrange(world.keys.kept_events(bucket, PROJECT))
        embedded += sum(fields[b"op"] == b"embedded" for _, fields in rows)
    return 20 - embedded


async def test_each_event_carries_the_place_that_goes_on_with_the_next(world: World, memory: MemoryClient) -> None:
    """An agent saves it when it has handled the event, and may die then."""
    start = await memory.place()
    for number in range(8):
        await memory.store(f"Ada owns {number} kites.", type="fact")
    await world.drained(memory)

    heard = await told(memory, start, 16)

    for number, event in enumerate(heard[:-1]):
        [following] = await told(memory, event.place, 1)
        assert following.at == heard[number + 1].at
    async with world.connect() as another, aclosing(another.events(after=heard[-1].place)) as events:
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await memory.store("Ada owns a balloon.", type="fact")
        assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).op == "stored"


async def test_pages_of_any_size_tell_the_same(world: World, memory: MemoryClient) -> None:
    """What one page leaves out, the next ones bring: nothing falls between buckets."""
    place = await memory.place()
    happened = await changed(memory, 20)
    await world.drained(memory)
    async with Wire(world) as wire:
        for limit in (1, 3, 16, 40):
            heard: list[str] = []
            answer: dict[str, Any] = {"next": place, "more": True}
            while answer["more"]:
                answer = await wire.result("events", {"after": answer["next"], "limit": limit})
                assert len(answer["events"]) <= limit
                assert not answer["gap"]
                heard += [f"{one['id']} {one['op']}" for one in answer["events"] if one["op"] != "embedded"]
            assert sorted(heard) == happened
            assert (await wire.result("events", {"after": answer["next"]}))["events"] == []


async def test_pages_go_by_time(world: World, memory: MemoryClient) -> None:
    """What is left behind a page is younger than the page: its place is as old as its last event, and no older one waits."""
    redis: Any = world.redis
    place = await memory.place()
    start = Place.parse(place).moment
    fields = {"op": "stored", "id": "mem_" + "0" * 32, "type": "fact", "agent": "scout", "session": "", "version": 1, "entry": ""}
    for bucket, times in {"00": range(1, 20), "01": range(100, 103), "02": range(50, 70)}.items():
        for time_ in times:
            await redis.xadd(world.keys.kept_events(bucket, PROJECT), fields, id=f"{start + time_}-0")
    async with Wire(world) as wire:
        told: list[int] = []
        answer: dict[str, Any] = {"next": place, "more": True}
        while answer["more"]:
            answer = await wire.result("events", {"after": answer["next"], "limit": 32})
            told += [int(one["at"].split("-")[1]) - start for one in answer["events"]]
            assert not answer["more"] or Place.parse(answer["next"]).moment == start + told[-1]

    assert told == [*range(1, 20), *range(50, 70), *range(100, 103)]


async def test_what_comes_from_the_archive_is_told_too(world: World, memory: MemoryClient) -> None:
    """An edit by a person in MongoDB reaches who was away when it was made."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    await world.drained(memory)
    place = await memory.place()
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada prefers coffee."}})

    [event] = await told(memory, place, 1)

    assert (event.id, event.op, event.version) == (kept.id, "updated", 2)


async def test_a_listener_is_told_only_of_its_scope(world: World, memory: MemoryClient) -> None:
    """The daemon leaves out the others' events; the place passes them all the same."""
    async with (
        world.connect(agent="other") as other,
        world.connect(agent="") as project,
        world.connect(session="s1") as session,
    ):
        place = await project.place()
        mine = await memory.store("Ada prefers tea.", type="fact")
        theirs = await other.store("Bo prefers milk.", type="fact")
        inside = await session.store("Ada is tired.", type="fact")
        await world.drained(project)

        assert {one.id for one in await told(memory, place, 4)} == {mine.id, inside.id}
        assert {one.id for one in await told(other, place, 2)} == {theirs.id}
        assert {one.id for one in await told(session, place, 2)} == {inside.id}
        assert {one.id for one in await told(project, place, 6)} == {mine.id, theirs.id, inside.id}


# --- without a gap ------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def behind_a_proxy(settings: Settings) -> AsyncIterator[Proxy]:
    """A line to Redis that can be cut."""
    proxy = Proxy(int(settings.redis_url.rpartition(":")[2]))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.mark.parametrize("silently", [False, True])
async def test_a_lost_connection_loses_no_event(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, silently: bool
) -> None:
    """Where redis-py is set to retry, it subscribes anew in silence: what was said in between has to be asked for."""
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 0.3)
    heard: list[Event] = []
    async with behind_a_proxy(world.settings) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with connect(url, tenant="acme", project="support", agent="scout") as listener:
            place = await memory.place()
            if silently:
                retry = Retry(ExponentialBackoff(cap=0.05), 5_000)
                listener._connection.blocking = Redis.from_url(url, socket_timeout=None, retry=retry)

            async def listen() -> None:
                async for event in listener.events(after=place):
                    heard.append(event)

            listening = asyncio.create_task(listen())
            for number in range(24):
                if number % 4 == 1:
                    proxy.go_deaf()  # the next connection cannot subscribe before two more memories have been stored
                    proxy.each(Link.close if number % 8 == 1 else Link.reset)
                await memory.store(f"Ada owns {number} kites.", type="fact")
                await world.drained(memory)
                if number % 4 == 2:
                    proxy.heal()
                    count = 2 * number + 2
                    await eventually(lambda: len(heard) >= count or listening.done(), what="it has heard all")  # noqa: B023
            await eventually(lambda: len(heard) >= 48 or listening.done(), what="it has heard all")
            listening.cancel()
            await listener._connection.blocking.aclose()

    assert len({one.at for one in heard}) == len(heard) == 48
    for one, later in pairwise(Place.parse(event.place).seen for event in heard):
        assert all(later[bucket] >= entry for bucket, entry in one.items()), "told out of order"


async def test_without_a_place_it_begins_now_and_goes_on_without_a_gap(world: World, memory: MemoryClient) -> None:
    """What was before is not told."""
    await memory.store("Ada prefers tea.", type="fact")
    await world.drained(memory)
    async with aclosing(memory.events()) as events:
        first = asyncio.create_task(anext(events))
        await eventually(lambda: _listens(world), what="it listens")
        kept = await memory.store("Ada prefers coffee.", type="fact")
        assert (await asyncio.wait_for(first, PATIENCE_SECONDS)).id == kept.id


async def _listens(world: World) -> bool:
    [(_, count)] = await world.redis.pubsub_numsub("aether:events:acme:support:scout")
    return bool(count)


async def test_a_listener_that_hears_nothing_asks_now_and_then(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection can be dead without a word: what was said on it comes when it is asked for."""
    monkeypatch.setattr("memoryd.protocol.listener.ASK_SECONDS", 0.3)
    async with aclosing(memory.events(after=await memory.place())) as events:
        first = asyncio.create_task(anext(events))
        await eventually(lambda: _listens(world), what="it listens")
        kept = await memory.store("Ada prefers coffee.", type="fact")
        assert (await asyncio.wait_for(first, PATIENCE_SECONDS)).id == kept.id
        [name] = await streams(world)
        redis: Any = world.redis
        [(_, fields), *_] = await redis.xrange(name)
        unheard = await redis.xadd(name, fields)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await anext(events)).at.endswith(unheard.decode()):
                continue


# --- a gap --------------------------------------------------------------------------------------------------------------
async def streams(world: World) -> list[str]:
    """The project's kept events, bucket by bucket, where there are any."""
    names = [world.keys.kept_events(bucket, PROJECT) for bucket in world.keys.all_buckets()]
    return [name for name in names if await world.redis.exists(name)]


async def some_events(world: World, memory: MemoryClient) -> str:
    """A place with many events before and behind it."""
    for start in (0, 40):
        await world.drained(memory)
        place = await memory.place()
        await memory.store_many([{"content": f"Ada owns {start + number} kites."} for number in range(40)])
    await world.drained(memory)
    return place


async def trim(world: World) -> None:
    for name in await streams(world):
        await world.redis.xtrim(name, maxlen=1, approximate=False)


async def expire(world: World) -> None:
    await world.redis.delete(*await streams(world))


async def lose_the_last_second(world: World) -> None:
    """A killed Redis comes back without what it had not written: the listener has heard of more than there is."""
    redis: Any = world.redis
    for name in await streams(world):
        rows = await redis.xrevrange(name)
        await redis.delete(name)
        for entry, fields in reversed(rows[len(rows) // 2 + 1 :]):
            await redis.xadd(name, fields, id=entry)


async def empty(world: World) -> None:
    await world.redis.flushall()
    await eventually(lambda: world.redis.hexists("aether:schema", "origin"), what="the daemon has prepared Redis anew")


async def test_events_that_are_gone_are_never_skipped_in_silence(world: World, memory: MemoryClient) -> None:
    """The listener learns that it has missed something, and from where it can go on."""
    for lose in (trim, expire, lose_the_last_second, empty):
        place = await some_events(world, memory)
        await lose(world)

        with pytest.raises(EventsLost) as lost:
            await told(memory, place, 1)

        await memory.store(f"Ada owns a balloon ({lose.__name__}).", type="fact")
        [event] = await told(memory, lost.value.place, 1)
        assert event.op == "stored"


async def test_an_emptied_redis_is_noticed_also_where_nothing_was_kept(world: World, memory: MemoryClient) -> None:
    """A place before the first event has no event that could be missing; it knows the Redis that it belongs to."""
    place = await memory.place()
    await memory.store("Ada prefers tea.", type="fact")
    await empty(world)
    with pytest.raises(EventsLost):
        await told(memory, place, 1)


async def test_a_place_is_good_for_a_week(world: World, memory: MemoryClient) -> None:
    """Afterwards events may have come and expired without a trace."""
    now = Place.parse(await memory.place())
    kept = await memory.store("Ada prefers tea.", type="fact")

    young = replace(now, moment=now.moment - PLACE_LIFE_SECONDS * 1000 + 600_000)
    assert (await told(memory, str(young), 1))[0].id == kept.id
    with pytest.raises(EventsLost):
        await told(memory, str(replace(now, moment=now.moment - PLACE_LIFE_SECONDS * 1000 - 1)), 1)


async def test_a_quiet_bucket_whose_events_have_expired_is_no_gap(world: World, memory: MemoryClient) -> None:
    """The last event that was seen there has outlived its time, and nothing came after it."""
    now = Place.parse(await memory.place())
    long_ago = (now.moment - EVENTS_TTL_SECONDS * 1000 - 1, 0)
    place = replace(now, seen=dict.fromkeys(world.keys.all_buckets(), long_ago))
    kept = await memory.store("Ada prefers tea.", type="fact")

    [event] = await told(memory, str(place), 1)
    assert event.id == kept.id

    not_so_long_ago = (long_ago[0] + 600_000, 0)
    with pytest.raises(EventsLost):
        await told(memory, str(replace(place, seen={"00": not_so_long_ago})), 1)


async def test_what_is_no_place_is_refused(world: World, memory: MemoryClient) -> None:
    """By the daemon; a client that is ours says so before it asks."""
    async with Wire(world) as wire:
        for place in ("", "now", "0" * 12, "x" * 20_000, "g" * 12 + ".1", "0" * 12 + ".1.00zz-0", "0" * 12 + ".1\n"):
            assert (await wire.refused("events", {"after": place}))["details"] == {"field": "after"}
            with pytest.raises(BadRequest):
                await told(memory, place, 1)


async def test_a_place_of_another_project_is_a_gap(world: World, memory: MemoryClient) -> None:
    """It says nothing about this one."""
    async with world.connect(project="another") as another:
        with pytest.raises(EventsLost):
            await told(memory, await another.place(), 1)


async def test_kept_events_live_for_as_long_as_they_are_promised(world: World, memory: MemoryClient) -> None:
    """Each write renews the life of its bucket's stream."""
    started = time.time()
    await memory.store("Ada prefers tea.", type="fact")
    [name] = await streams(world)
    await world.redis.expire(name, 100)
    await memory.store("Ada prefers tea.", type="fact")
    assert await world.redis.expiretime(name) >= int(started) + EVENTS_TTL_SECONDS
