"""A forget reaches what was said in sessions: by place, by age, by words, and by the memory that a message has become."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import NotFound
from memoryd.hot.documents import Documents
from memoryd.hot.sessions import Gone, Sessions
from memoryd.model.session import session_place
from memoryd.protocol.sessions import WorkingMemory
from tests.integration.test_sessions import contents, expire, said, small
from tests.integration.tools import verified
from tests.waiting import eventually
from tests.world import World

__all__ = ["small"]  # the fixture: sessions of twenty messages


async def is_there(session: WorkingMemory) -> bool:
    try:
        await session.rehydrate()
    except NotFound:
        return False
    return True


async def texts(world: World) -> str:
    """Every document of the three collections, and every session in Redis."""
    found = ""
    for name in ("sessions", "messages", "checkpoints"):
        found += str([one async for one in world.archive.database[name].find({})])
    redis: Any = world.redis
    async for key in redis.scan_iter(match="aether:memory:working:*"):
        found += (await redis.execute_command("JSON.GET", key)).decode()
    for bucket in world.keys.all_buckets():
        found += str(await redis.xrange(world.keys.journal(bucket)))
    return found


async def test_everything_of_a_place_takes_its_sessions(world: World, memory: MemoryClient) -> None:
    """A session's, an agent's; those in Redis and those that only MongoDB has; others stay. The receipt can be verified."""
    async with world.connect(agent="other") as other, world.connect(agent="") as project:
        for client in (memory, other):
            for name in ("s1", "s2", "s3"):
                await client.working(name).append(*said(f"{name} of kumquat"))
        await world.drained(memory)
        await expire(world)
        await memory.working("s3").window()  # only this one is in Redis again

        plan = await memory.plan_forget(session="s1")
        receipt = await memory.forget_many(session="s1")
        assert plan.removes["mongodb"]["sessions"] == receipt.removed["mongodb"]["sessions"] == 1
        assert not await is_there(memory.working("s1"))
        assert await is_there(memory.working("s2"))
        assert await is_there(other.working("s1"))

        whole = await project.forget_many(agent="scout", durability="archived")
        assert whole.removed["mongodb"]["sessions"] == 2
        assert [await is_there(memory.working(name)) for name in ("s1", "s2", "s3")] == [False] * 3
        assert [await is_there(other.working(name)) for name in ("s1", "s2", "s3")] == [True] * 3
        await memory.working("s2").append(*said("begun since"))
        assert (await verified(project, whole.id)).ok

        await project.forget_many(everything=True)
        await world.drained(project)
        assert "kumquat" not in await texts(world)


async def test_words_and_age_take_messages_out_of_sessions(world: World, memory: MemoryClient) -> None:
    """By words also values and what checkpoints have captured of them; a session that is older than asked goes whole."""
    old = {"role": "user", "content": "An old remark.", "at": datetime.now(UTC) - timedelta(days=9)}
    session, quiet = memory.working("s1"), memory.working("quiet")
    await quiet.append(*said("nothing since"))
    await asyncio.sleep(0.01)  # Redis tells milliseconds
    between = datetime.now(UTC)
    await asyncio.sleep(0.01)
    await session.append(old, *said("the code is kumquat", "after"))
    await session.set("note", {"code": "Kumquat!"})
    await session.checkpoint("with the code")

    receipt = await memory.forget_many(words="code kumquat")
    counts = receipt.removed["mongodb"]
    assert (counts["session_messages"], counts["session_values"], counts["checkpoints"]) == (1, 1, 1)
    assert contents(await session.window()) == ["An old remark.", "after"]
    assert (await session.get()).value == {}
    await world.drained(memory)
    saved = await world.archive.database["sessions"].find_one({"session_id": "quiet"})
    assert saved is not None
    aged = await memory.forget_many(before=between, durability="archived")
    assert contents(await session.window()) == ["after"]
    assert not await is_there(quiet)
    await world.drained(memory)
    assert "umquat" not in await texts(world)

    assert (await verified(memory, aged.id)).findings == []
    await world.archive.database["sessions"].replace_one({"_id": saved["_id"]}, saved)  # from a backup
    assert {one.where for one in (await memory.verify_receipt(aged.id)).findings} == {"sessions"}


async def test_what_only_memories_have_reaches_no_session(world: World, memory: MemoryClient) -> None:
    """A forget by id, query, tag or type must not take along what merely lies in the same place."""
    session = memory.working("s1")
    await session.append(*said("kumquat"))
    kept = await memory.store("kumquat", type="fact", tags=["fruit"])
    await world.drained(memory)
    for selection in ({"query": "kumquat"}, {"types": ["fact"]}, {"tags": ["fruit"]}, {"ids": [kept.id]}, {"types": ["episodic"]}):
        await memory.forget_many(**selection)
        await memory.store("kumquat", type="fact", tags=["fruit"])
        await world.drained(memory)
    assert contents(await session.window()) == ["kumquat"]


@pytest.mark.parametrize("in_redis", [True, False])
async def test_a_memory_that_was_a_message_takes_the_message_with_it(
    small: None, world: World, memory: MemoryClient, in_redis: bool
) -> None:
    """Else a rollback, or a look at the archive, would bring back what was forgotten. What was said beside it stays."""
    session = memory.working("s1")
    await session.append(*said("the code is kumquat", *(f"remark {number}" for number in range(9))))
    taken = await session.checkpoint("all of it")
    await session.append(*said(*(f"more {number}" for number in range(12))))
    await world.drained(memory)
    if in_redis:
        await session.rollback(taken.number)
    await world.stop("sync")
    async with world.connect(session="s1") as inside:
        [hit] = [hit for hit in await inside.recall("kumquat") if "kumquat" in hit.memory.content]
    fake = await memory.store("kumquat too", type="episodic", session="s1", metadata={"message": 5}, tags=["message"])
    if not in_redis:
        await expire(world)

    await memory.forget(hit.memory.id)
    await memory.forget(fake.id)
    await world.start("sync")
    await world.drained(memory)

    assert "kumquat" not in await texts(world)
    await session.rollback(taken.number)
    assert contents(await session.window(50)) == [f"remark {number}" for number in range(9)]
    await eventually(lambda: _parts(world, 21), what="the archive has all other messages")


async def test_what_was_said_in_one_breath_with_the_forgotten_is_archived_all_the_same(
    world: World, memory: MemoryClient
) -> None:
    """The journal's entry carries all messages of an append, and it has to go."""
    await world.stop("sync")
    session = memory.working("s1")
    await session.append(*said("one", "kumquat", "three"))
    place = session_place(memory.scope.narrowed("s1"))
    hand = Sessions(Documents(world.redis, world.keys))

    assert await hand.forget(place, Gone([1], [], [], []), now=1) == 1

    assert "kumquat" not in await texts(world)
    await world.start("sync")
    await world.drained(memory)
    await expire(world)
    assert contents(await session.window()) == ["one", "three"]


async def _parts(world: World, count: int) -> bool:
    kept = world.archive.database["messages"].count_documents({"tombstone": {"$ne": True}})
    return bool(await kept == count)
