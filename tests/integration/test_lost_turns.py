"""Redis has lost an event that MongoDB has, as with its last second: when it is back it has its place between the others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from memoryd import MemoryClient
from memoryd.archive.codec import to_document
from memoryd.keys import FOLLOWER_PLACE
from memoryd.model.record import Record
from tests.faults.test_found import lose_in_redis
from tests.integration.test_context import TURNS, tell, vector
from tests.integration.test_later_turns import each_by_rights, embedded, reads
from tests.integration.tools import a_hand, one_story
from tests.waiting import eventually
from tests.world import World

HOW = ("with everything", "in the stream")


@pytest.fixture(params=[0, 1])
async def after(request: pytest.FixtureRequest) -> Any:
    """How many later turns the vectors read."""
    return request.param


@pytest.fixture
async def world(settings: Any, after: int) -> Any:
    """A memoryd whose vectors read so many."""
    async with World(settings) as world:
        world.embedder = reads(after)
        await world.start("daemon", "sync")
        yield world


async def lose(world: World, memory_id: str) -> None:
    """Nobody brings it back for the time being."""
    await world.stop("sync")
    await lose_in_redis(world, memory_id)
    async for key in world.redis.scan_iter("aether:timeline:*"):
        await world.redis.zrem(key, memory_id)


async def bring_back(world: World, talk: MemoryClient, memory_id: str, how: str) -> None:
    """By a comparison of everything, or because the follower reads again what it had read."""
    await eventually(lambda: embedded(talk), what="what was said meanwhile has its vectors")
    if how == "with everything":
        await world.redis.delete(FOLLOWER_PLACE)
    else:
        async with a_hand(world) as hand:
            document = await world.memories.find_one({"_id": memory_id})
            await hand.projector.apply_changes([{"operationType": "insert", "fullDocument": document}])
    await world.start("sync")
    await eventually(lambda: world.redis.hexists(FOLLOWER_PLACE, "token"), what="it is back")
    await world.drained(talk)


@pytest.mark.parametrize("how", HOW)
async def test_what_was_said_meanwhile_knows_it_when_it_is_back(
    world: World, talk: MemoryClient, after: int, how: str
) -> None:
    """Those before it read it again, too, and it reads those after it (laboratory, seed 700138)."""
    ids = [await tell(talk, number) for number in range(2)]
    await world.drained(talk)
    await lose(world, ids[1])
    ids += [await tell(talk, number) for number in range(2, 4)]
    await bring_back(world, talk, ids[1], how)

    await each_by_rights(world, {one: TURNS[number] for number, one in enumerate(ids)}, after)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("lost", "forgotten"), [(2, 0), (0, 1)])
async def test_what_was_forgotten_meanwhile_leaves_no_trace_in_it(
    world: World, talk: MemoryClient, after: int, how: str, lost: int, forgotten: int
) -> None:
    """Its vector had read it, before its own words or after them."""
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    await lose(world, ids[lost])
    await talk.forget(ids[forgotten])
    await bring_back(world, talk, ids[lost], how)

    await each_by_rights(world, {one: TURNS[number] for number, one in enumerate(ids) if number != forgotten}, after)


@pytest.mark.parametrize("after", [0], indirect=True)
async def test_a_context_that_redis_has_lost_is_not_taken_for_another_of_its_number(world: World, talk: MemoryClient) -> None:
    """MongoDB has a vector of the second turn after one that nobody has any more."""
    ids = [await tell(talk, number) for number in (0, 2)]
    await world.drained(talk)
    ids.insert(1, await tell(talk, 1))
    await world.drained(talk)
    await world.stop("sync")
    record: Record = (await one_story(world))[ids[2]]
    assert record.memory.context == 1
    other = msgspec.structs.replace(record.memory, follows=[ids[0]])
    document = to_document(Record(other, await vector("of something else")))
    await world.memories.replace_one({"_id": ids[2]}, document)
    async with a_hand(world) as hand:
        await hand.projector.apply_document(document)
    await world.start("sync")
    await world.drained(talk)

    records = await each_by_rights(world, dict(zip(ids, TURNS, strict=False)), 0)
    assert records[ids[2]].memory.context == 2


@pytest.mark.parametrize("after", [0], indirect=True)
async def test_a_context_that_redis_has_lost_together_with_its_vector_gets_one(world: World, talk: MemoryClient) -> None:
    """MongoDB has heard of the context only: who was to make the vector was this Redis (laboratory, seed 700138)."""
    ids = [await tell(talk, number) for number in range(2)]
    await world.drained(talk)
    await world.stop("sync")
    record = (await one_story(world))[ids[1]]
    document = to_document(Record(msgspec.structs.replace(record.memory, context=1, embedding_model="")))
    await world.memories.replace_one({"_id": ids[1]}, document)
    async with a_hand(world) as hand:
        await hand.projector.apply_document(document)
    await world.start("sync")
    await world.drained(talk)

    await each_by_rights(world, dict(zip(ids, TURNS, strict=False)), 0)
