"""An event of a session knows what it follows: its vector is made in that context, and keeps no trace of what is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from memoryd import MemoryClient
from memoryd.archive.batch import Batch
from memoryd.archive.writing import write_batch
from memoryd.clock import to_microseconds
from memoryd.embed.protocol import InContext, Text
from memoryd.hot.changes import Attached
from memoryd.hot.records import Records
from memoryd.lifecycle.moving import Mover
from memoryd.model.record import Record
from tests.fakes import HashEmbedder
from tests.integration.tools import hot, one_story
from tests.waiting import eventually
from tests.world import World

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TURNS = ("Where were you?", "At the lake.", "Was it cold?", "Very.", "And then?")


@pytest.fixture
async def world(settings: Any) -> Any:
    """A memoryd whose model reads context."""
    async with World(settings) as world:
        world.embedder = HashEmbedder(reads_context=True)
        await world.start("daemon", "sync")
        yield world


async def tell(talk: MemoryClient, number: int, **details: Any) -> str:
    """One turn of the conversation, told at its time; its id."""
    content, moment = details.pop("content", TURNS[number]), START + timedelta(seconds=number)
    return (await talk.store(content, type="episodic", valid_from=moment, **details)).id


async def vector(text: Text) -> bytes:
    """What the model says of a text."""
    model = HashEmbedder(reads_context=True)
    [row] = await (model.embed([text]) if isinstance(text, str) else model.embed_in_context([text]))
    return bytes(row.tobytes())


async def follows(world: World) -> dict[str, list[str]]:
    """What each memory follows."""
    return {key: one.memory.follows for key, one in (await hot(world)).items()}


async def timelines(world: World) -> dict[bytes, list[Any]]:
    """Every timeline."""
    return {
        key: await world.redis.zrange(key, 0, -1, withscores=True)
        async for key in world.redis.scan_iter("aether:timeline:*")
    }


async def test_an_event_follows_the_two_before_it_in_its_session(world: World, talk: MemoryClient) -> None:
    """Nearest first. What has no session, is no event, or is another agent's stands alone."""
    first, second, third, fourth = [await tell(talk, number) for number in range(4)]
    fact = (await talk.store("Ada swims.", type="fact")).id
    async with world.connect() as sessionless, world.connect(agent="other", session="lake") as other:
        loose = await tell(sessionless, 4)
        theirs = await tell(other, 4)

    assert await follows(world) == {
        first: [], second: [first], third: [second, first], fourth: [third, second], fact: [], loose: [], theirs: [],
    }  # fmt: skip
    assert (await talk.get(third)).follows == [second, first]


async def test_what_comes_late_takes_its_place_by_its_time(world: World, talk: MemoryClient) -> None:
    """An import may bring the turns in any order: in the end each follows what was said before it."""
    ids = {number: await tell(talk, number) for number in (4, 1, 3, 0, 2)}
    await world.drained(talk)

    expected = {ids[n]: [ids[b] for b in (n - 1, n - 2) if b >= 0] for n in range(5)}
    await eventually(lambda: told(world, expected), what="everybody knows what they follow")
    await world.drained(talk)
    for record in (await one_story(world)).values():
        assert record.vector == await in_context(record.memory.content, record.memory.follows, ids)


async def told(world: World, expected: dict[str, list[str]]) -> bool:
    """Whether each memory follows these."""
    return await follows(world) == expected


async def in_context(content: str, before: list[str], ids: dict[int, str]) -> bytes:
    """The vector of a turn after the turns with these ids, nearest first."""
    numbers = {memory_id: number for number, memory_id in ids.items()}
    turns = [TURNS[numbers[one]] for one in reversed(before)]
    return await vector(InContext(" ".join(turns), content) if turns else content)


async def test_its_vector_is_made_of_its_own_words_in_context(world: World, talk: MemoryClient) -> None:
    """The speaker belongs to the context, as the turns before do; the words after the name are its own."""
    await tell(talk, 0, content="Ben: Where were you?", metadata={"speaker": "Ben"})
    second = await tell(talk, 1, content="At the lake.", metadata={"speaker": "Ada"})
    await world.drained(talk)

    records = await hot(world)
    assert records[second].vector == await vector(InContext("Ben: Where were you? Ada:", "At the lake."))
    [first] = [one for key, one in records.items() if key != second]
    assert first.vector == await vector(InContext("Ben:", "Where were you?"))


@pytest.mark.parametrize("where", ["here", "in MongoDB"])
async def test_a_forgotten_turn_leaves_the_vectors_of_those_that_followed_it(
    world: World, talk: MemoryClient, where: str
) -> None:
    """In Redis, in the archive and in its history; they get new ones, as if it had never been said."""
    first, second, third, fourth, fifth = [await tell(talk, number) for number in range(5)]
    await world.drained(talk)
    before = await one_story(world)
    traced = {before[one].vector for one in (third, fourth)}

    if where == "here":
        await talk.forget(second)
    else:
        await world.memories.delete_one({"_id": second})
    expected = {first: [], third: [first], fourth: [third, first], fifth: [fourth, third]}
    await eventually(lambda: told(world, expected), what="what followed it follows others now")
    await world.drained(talk)

    ids = {0: first, 2: third, 3: fourth, 4: fifth}
    after = await one_story(world)
    for one in after.values():
        assert one.vector == await in_context(one.memory.content, one.memory.follows, ids)
    assert after[fifth].vector == before[fifth].vector, "nobody else is embedded again"
    assert after[third].memory.version == 1, "nothing was said anew"
    redis, mongo = await world.everything_in_redis(), [one async for one in world.versions.find({})]
    for trace in traced:
        assert trace is not None
        assert trace not in redis
        assert all(trace != bytes(one.get("embedding") or b"")[2:] for one in mongo)


async def forget_elsewhere(world: World, memory_id: str) -> None:
    """Forgets as the archiver of another Redis does, in which the events around it are not."""
    there: Any = await world.memories.find_one({"_id": memory_id})
    kept = {name: there[name] for name in ("_id", "tenant", "project", "agent_id", "session_id", "memory_type")}
    now = to_microseconds(datetime.now(UTC))
    batch = Batch()
    batch.bury({**kept, "tombstone": True, "version": there["version"] + 1, "forgotten_at": now, "said_at": now})
    await write_batch(world.archive, batch)


@pytest.mark.parametrize("where", ["here", "in MongoDB", "by another Redis"])
async def test_a_turn_that_is_in_the_archive_only_leaves_the_vectors_of_those_that_followed_it(
    world: World, talk: MemoryClient, where: str
) -> None:
    """It has no record here, but its place on the timeline."""
    first, second = [await tell(talk, number) for number in range(2)]
    await world.drained(talk)
    records = Records(world.redis, world.keys)
    [one] = await records.read([world.keys.memory("episodic", talk.scope, first)])
    assert await Mover(records, world.archive, model=world.embedder.model).archive([one]) == 1
    trace = (await hot(world))[second].vector
    if where == "here":
        await talk.forget(first)
    elif where == "in MongoDB":
        await world.memories.delete_one({"_id": first})
    else:
        await forget_elsewhere(world, first)

    async def anew() -> bool:
        return (await hot(world))[second].vector == await vector(TURNS[1])

    await eventually(anew, what="the second turn has a vector of its own words")
    assert trace is not None
    assert trace not in await world.everything_in_redis()


async def test_a_trace_does_not_wait_in_the_journal_for_mongodb(world: World, talk: MemoryClient) -> None:
    """While the archive is away the journal keeps what it has to bring there, but not this."""
    await world.stop("sync")
    ids = [await tell(talk, number) for number in range(2)]

    async def embedded() -> bool:
        return not (await talk.stats()).pending

    await eventually(embedded, what="both have their vectors")
    trace = (await hot(world))[ids[1]].vector
    await talk.forget(ids[0])

    async def anew() -> bool:
        return (await hot(world))[ids[1]].vector == await vector(TURNS[1])

    await eventually(anew, what="the second turn has a vector of its own words")
    assert trace is not None
    assert trace not in await world.everything_in_redis()
    await world.start("sync")
    await world.drained(talk)
    assert (await one_story(world))[ids[1]].memory.context == 1


async def test_the_archive_does_not_wait_for_the_model_to_lose_a_trace(world: World, talk: MemoryClient) -> None:
    """The old vectors go although no new one comes, also from the history of what was said otherwise since."""
    ids = [await tell(talk, number) for number in range(2)]
    await world.drained(talk)
    await talk.update(ids[1], content="At the sea.")
    await world.drained(talk)
    assert await world.versions.count_documents({"memory_id": ids[1], "embedding": {"$exists": True}}) == 2
    world.embedder.away = True

    await talk.forget(ids[0])

    async def gone() -> bool:
        left = {"embedding": {"$exists": True}}
        return not await world.versions.count_documents(left) and not await world.memories.count_documents(left)

    await eventually(gone, what="no vector is left in MongoDB")


async def test_a_turn_that_says_something_else_is_another_context(world: World, talk: MemoryClient) -> None:
    """What followed it is embedded again, or it would go on to mean what nobody says any more."""
    ids = {number: await tell(talk, number) for number in range(3)}
    await world.drained(talk)
    await talk.update(ids[0], content="How was the lake?")
    second = InContext("How was the lake?", TURNS[1])

    async def anew() -> bool:
        return (await hot(world))[ids[1]].vector == await vector(second)

    await eventually(anew, what="the second turn is embedded in its new context")
    await world.drained(talk)
    assert (await one_story(world))[ids[2]].vector == await vector(InContext(f"How was the lake? {TURNS[1]}", TURNS[2]))


async def test_an_entry_that_comes_twice_changes_nothing_twice(world: World, talk: MemoryClient) -> None:
    """Who dies between the work and its acknowledgement leaves it to another one."""
    ids = {number: await tell(talk, number) for number in range(3)}
    await world.drained(talk)
    await talk.forget(ids[0])
    await world.drained(talk)
    once = await hot(world)
    assert once[ids[1]].memory.context == 1

    records = Records(world.redis, world.keys)
    await records.refollow(talk.scope, [ids[1], ids[2]], reworded=False, traceparent="")

    assert await hot(world) == once


async def test_a_vector_of_an_earlier_context_comes_too_late(world: World, talk: MemoryClient) -> None:
    """The model was at work on it when what it follows was forgotten: the vector has a trace of that."""
    ids = {number: await tell(talk, number) for number in range(2)}
    await world.drained(talk)
    world.embedder.away = True
    await talk.forget(ids[0])

    async def waiting() -> bool:
        return (await hot(world))[ids[1]].memory.pending

    await eventually(waiting, what="the second turn waits for a vector of its own words")
    memory, records = (await talk.get(ids[1])), Records(world.redis, world.keys)
    late = Attached(memory.content_hash, world.embedder.model, 0, np.ones(32, "<f4").tobytes(), talk.scope, "")
    key = world.keys.memory("episodic", talk.scope, memory.id)

    assert not await records.attach(key, memory.id, late)
    world.embedder.away = False
    await world.drained(talk)
    assert (await hot(world))[memory.id].vector == await vector(TURNS[1])


async def test_a_redis_that_is_filled_from_mongodb_knows_the_same_order(world: World, talk: MemoryClient) -> None:
    """Timelines and what is followed come back with the records, and the next turn follows the last one."""
    ids = {number: await tell(talk, number) for number in (0, 2, 1)}
    await world.drained(talk)
    await talk.forget(ids[0])
    await world.drained(talk)
    before, order = await one_story(world), await timelines(world)

    await world.stop("sync")
    await world.stop("daemon")
    await world.redis.flushall()
    await world.start("daemon", "sync")

    await eventually(lambda: same(world, before), what="everything is back")
    assert await timelines(world) == order
    assert (await talk.get(await tell(talk, 3))).follows == [ids[2], ids[1]]


async def same(world: World, records: dict[str, Record]) -> bool:
    """Whether Redis holds these."""
    return await hot(world) == records


async def test_a_turn_inserted_in_mongodb_takes_its_place(world: World, talk: MemoryClient) -> None:
    """A person adds what was forgotten to be told; what follows it learns of it."""
    first = await tell(talk, 0)
    third = await tell(talk, 2)
    await world.drained(talk)
    second = first[:6] + "0" * 30  # where the session's other turns are: the bucket is in the first two digits
    await world.memories.insert_one(
        {
            "_id": second, "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": "lake",
            "memory_type": "episodic", "content": TURNS[1], "valid_from": int((START + timedelta(seconds=1)).timestamp() * 1e6),
        }
    )  # fmt: skip
    expected = {first: [], second: [first], third: [second, first]}

    await eventually(lambda: told(world, expected), what="it has its place")
    await world.drained(talk)
    records = await one_story(world)
    assert records[second].vector == await vector(InContext(TURNS[0], TURNS[1]))
    assert records[third].vector == await vector(InContext(f"{TURNS[0]} {TURNS[1]}", TURNS[2]))
