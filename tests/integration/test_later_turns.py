"""Where an event's vector reads what comes after it, too: it is made again when that comes, and keeps no trace of what goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from memoryd import MemoryClient
from memoryd.archive.batch import Batch, Vector
from memoryd.archive.codec import to_bson_vector
from memoryd.archive.writing import write_batch
from memoryd.clock import to_microseconds
from memoryd.embed.protocol import InContext
from memoryd.errors import SchemaMismatch
from memoryd.hot.changes import Attached, Heard
from memoryd.hot.records import Records
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.refill import Refill
from memoryd.lifecycle.reindex import reindex
from memoryd.model.record import Record
from tests.fakes import HashEmbedder
from tests.integration.test_context import START, TURNS, forget_elsewhere, same, tell, timelines, told, vector
from tests.integration.test_tiers import demoted, fields_of, remember
from tests.integration.tools import caught_up, hot, one_story
from tests.waiting import eventually
from tests.world import World


def reads(turns_after: int) -> HashEmbedder:
    """A model whose vectors read so many later turns."""
    return HashEmbedder(model=f"hash-embedder+context{f'+{turns_after}' if turns_after else ''}", reads_context=True)


@pytest.fixture(params=[1])
async def world(settings: Any, request: pytest.FixtureRequest) -> Any:
    """A memoryd whose vectors read one later turn, or as many as a test says."""
    async with World(settings) as world:
        world.embedder = reads(request.param)
        await world.start("daemon", "sync")
        yield world


async def made(words: list[str], at: int, after: int) -> bytes:
    """The vector that the turn `at` of these has by rights."""
    before, later = words[max(0, at - 2) : at], words[at + 1 : at + 1 + after]
    return await vector(InContext(" ".join(before), words[at], " ".join(later)) if before or later else words[at])


async def each_by_rights(world: World, order: Mapping[str, str], after: int) -> dict[str, Record]:
    """Asserts that both stores have the vectors which these turns, by id in the order of their time, have by rights."""
    records, ids, words = await one_story(world), list(order), list(order.values())
    assert sorted(records) == sorted(ids)
    for at, one in enumerate(ids):
        assert records[one].vector == await made(words, at, after), f"turn {at}"
        assert records[one].followed_by == tuple(ids[at + 1 : at + 1 + after])
    there = {one["_id"]: one async for one in world.memories.find({})}
    assert {one: tuple(there[one].get("followed_by", ())) for one in ids} == {one: records[one].followed_by for one in ids}
    return records


async def nowhere(world: World, *vectors: bytes | None) -> None:
    """Asserts that none of the vectors is anywhere in Redis, the journal included, or in MongoDB, the history included."""
    redis = await world.everything_in_redis()
    mongo = [bytes(one.get("embedding") or b"")[2:] for place in (world.memories, world.versions) async for one in place.find({})]
    for one in vectors:
        assert one
        assert one not in redis
        assert one not in mongo


async def ops(world: World) -> list[str]:
    """What the journals hold, in no order."""
    redis: Any = world.redis
    streams = [await redis.xrange(world.keys.journal(bucket)) for bucket in world.keys.all_buckets()]
    return sorted(fields[b"op"].decode() for rows in streams for _, fields in rows)


async def without_vector(world: World, *ids: str) -> bool:
    """Whether none of these has a vector, in Redis and in MongoDB."""
    records = await hot(world)
    kept = {"memory_id": {"$in": ids}, "embedding": {"$exists": True}}
    there = await world.memories.count_documents({"_id": {"$in": ids}, "embedding": {"$exists": True}})
    return not (any(records[one].vector for one in ids) or there or await world.versions.count_documents(kept))


@pytest.mark.parametrize(("world", "after"), [(1, 1), (2, 2)], indirect=["world"])
async def test_a_later_turn_is_read_when_it_has_come(world: World, talk: MemoryClient, after: int) -> None:
    """One after the other: each time the turns before it are made again, with it, and nobody else is."""
    order: dict[str, str] = {}
    for number in range(5):
        before = await hot(world)
        order[await tell(talk, number)] = TURNS[number]
        await world.drained(talk)
        now = await each_by_rights(world, order, after)
        changed = {one for one in before if now[one].vector != before[one].vector}
        assert changed == set(list(order)[max(0, number - after) : number])
    assert all(one.memory.version == 1 for one in now.values()), "nothing was said anew"


@pytest.mark.parametrize("world", [0], indirect=True)
async def test_where_none_is_read_nothing_happens_when_it_comes(world: World, talk: MemoryClient) -> None:
    """No vector changes, no entry is written, and no record knows what comes after it."""
    await world.stop("sync")  # so that the journal keeps what is written there
    first = await tell(talk, 0)
    await eventually(lambda: embedded(talk), what="it has its vector")
    before = await fields_of(world, first)
    assert await ops(world) == ["embedded", "stored"]
    await tell(talk, 1)
    await eventually(lambda: embedded(talk), what="the second has its vector")

    assert await fields_of(world, first) == before
    assert "followed_by" not in before
    assert await ops(world) == ["embedded", "embedded", "stored", "stored"]


async def embedded(talk: MemoryClient) -> bool:
    """Whether nothing is left to embed."""
    stats = await talk.stats()
    return not (stats.embed_backlog or stats.pending)


async def test_until_its_new_vector_is_made_a_turn_keeps_the_one_it_has(world: World, talk: MemoryClient) -> None:
    """What only comes makes nothing unfindable: while the model is away the older vector is as good as it was."""
    first = await tell(talk, 0)
    await world.drained(talk)
    before = (await hot(world))[first]
    world.embedder.away = True
    second = await tell(talk, 1)
    await eventually(lambda: tried(world), what="the model was asked")
    assert (await hot(world))[first] == before
    assert (await talk.stats()).pending == 1
    world.embedder.away = False
    await world.drained(talk)
    await each_by_rights(world, {first: TURNS[0], second: TURNS[1]}, 1)


async def tried(world: World) -> bool:
    """Whether the model was asked in vain."""
    calls, world.embedder.calls = world.embedder.calls, 0
    return world.embedder.away and calls > 0


@pytest.mark.parametrize(("world", "after"), [(1, 1), (2, 2)], indirect=["world"])
@pytest.mark.parametrize("one_by_one", [True, False])
async def test_turns_that_come_in_any_order_have_the_same_vectors_in_the_end(
    world: World, talk: MemoryClient, after: int, one_by_one: bool
) -> None:
    ids = {}
    for number in (4, 1, 3, 0, 2):
        ids[number] = await tell(talk, number)
        if one_by_one:
            await world.drained(talk)
    await world.drained(talk)
    await eventually(lambda: told(world, {ids[n]: [ids[b] for b in (n - 1, n - 2) if b >= 0] for n in ids}), what="all know")
    await world.drained(talk)
    await each_by_rights(world, {ids[number]: TURNS[number] for number in sorted(ids)}, after)


@pytest.mark.parametrize(("world", "after"), [(1, 1), (2, 2)], indirect=["world"])
@pytest.mark.parametrize("where", ["here", "in MongoDB", "by another Redis"])
async def test_a_forgotten_turn_leaves_the_vectors_of_those_before_it(
    world: World, talk: MemoryClient, after: int, where: str
) -> None:
    """In both stores, the journal and the history, at once; then they get new ones, as if it had never been said. It is the last:
    nobody else tells them."""
    ids = [await tell(talk, number) for number in range(4)]
    await world.drained(talk)
    before = await one_story(world)
    heard = ids[3 - after : 3]
    world.embedder.away = True
    if where == "here":
        await talk.forget(ids[3])
    elif where == "in MongoDB":
        await world.memories.delete_one({"_id": ids[3]})
    else:
        await forget_elsewhere(world, ids[3])
    await eventually(lambda: without_vector(world, *heard), what="no vector with a trace is left")
    await nowhere(world, *(before[one].vector for one in heard))

    world.embedder.away = False
    await world.drained(talk)
    now = await each_by_rights(world, {ids[n]: TURNS[n] for n in range(3)}, after)
    assert {one for one in now if now[one].vector == before[one].vector} == set(ids[:3]) - set(heard)
    assert (await talk.get(ids[2])).version == 1, "nothing was said anew"


async def test_a_trace_does_not_wait_in_the_journal_for_mongodb(world: World, talk: MemoryClient) -> None:
    """While the archive is away the journal keeps what it has to bring there, but not this, nor what was there before it."""
    await world.stop("sync")
    first = await tell(talk, 0)
    await eventually(lambda: embedded(talk), what="it has its vector")
    second = await tell(talk, 1)
    await eventually(lambda: embedded(talk), what="both have their vectors")
    trace = (await hot(world))[first].vector
    assert trace == await made(list(TURNS), 0, 1)
    await talk.forget(second)

    async def anew() -> bool:
        return (await hot(world))[first].vector == await vector(TURNS[0])

    await eventually(anew, what="the first turn has a vector of its own words")
    assert trace not in await world.everything_in_redis()
    await world.start("sync")
    await world.drained(talk)
    await each_by_rights(world, {first: TURNS[0]}, 1)


async def test_a_vector_that_has_read_a_forgotten_turn_comes_too_late(world: World, talk: MemoryClient) -> None:
    """The model was at work on it when that was forgotten: it is refused in Redis and in MongoDB, also where the record did not
    know yet that it would read it."""
    first = await tell(talk, 0)
    await world.drained(talk)
    memory, alone = await talk.get(first), await vector(TURNS[0])
    second = await tell(talk, 1)
    await world.drained(talk)
    heard = (await hot(world))[first]
    await talk.forget(second)
    await world.drained(talk)
    key, records = world.keys.memory("episodic", memory.scope, first), Records(world.redis, world.keys)

    for context in (memory.context, heard.memory.context):
        late = Attached(
            memory.content_hash, world.embedder.model, context, np.ones(32, "<f4").tobytes(), memory.scope, "",
            followed_by=second, turns_after=1,
        )  # fmt: skip
        assert not await records.attach(key, first, late)
        there = Vector(first, memory.content_hash, world.embedder.model, to_bson_vector(late.vector), context, [], [second])
        await write_batch(world.archive, Batch(vectors=[there]))
    await nowhere(world, late.vector, heard.vector)
    assert (await one_story(world))[first].vector == alone
    now = (await talk.get(first)).context
    assert not await records.attach(key, first, replace(late, context=now)), "what it has read does not come after it"


async def test_a_vector_that_has_read_what_stands_there_no_more_is_made_again(world: World, talk: MemoryClient) -> None:
    """Another daemon has made it while one came in between: nobody else would tell it."""
    world.embedder.away = True
    first, third = await tell(talk, 0), await tell(talk, 2)
    second = await tell(talk, 1)
    memory, records = await talk.get(first), Records(world.redis, world.keys)
    key = world.keys.memory("episodic", memory.scope, first)
    late = Attached(
        memory.content_hash, world.embedder.model, memory.context, np.ones(32, "<f4").tobytes(), memory.scope, "",
        followed_by=third, turns_after=1,
    )  # fmt: skip
    assert not await records.attach(key, first, late)
    now = await talk.get(first)
    assert (now.pending, now.context) == (True, memory.context + 1)
    world.embedder.away = False
    await world.drained(talk)
    await each_by_rights(world, {first: TURNS[0], second: TURNS[1], third: TURNS[2]}, 1)


async def test_one_whose_vector_another_daemon_makes_waits_for_another_one(world: World, talk: MemoryClient) -> None:
    """That daemon has perhaps not seen what has come. Whoever makes it here has yet to look."""
    world.embedder.away = True
    first = await tell(talk, 0)
    await tell(talk, 1)
    records, place = Records(world.redis, world.keys), (talk.scope, first)
    for under_way, context in ((True, 0), (False, 1)):
        assert await records.hear({place: Heard("", under_way=under_way)}, turns_after=1) == []
        assert (await talk.get(first)).context == context


async def test_mongodb_names_what_the_vector_that_it_has_has_read(world: World, talk: MemoryClient) -> None:
    """Whether it hears first of the new vector or of the new context."""
    memory = await talk.get(await tell(talk, 0))
    await world.drained(talk)

    async def write(context: int, vector: Any, *read: str) -> list[str] | None:
        one = Vector(memory.id, memory.content_hash, world.embedder.model, vector, context, [], read)
        await write_batch(world.archive, Batch(vectors=[one]))
        there: Any = await world.memories.find_one({"_id": memory.id})
        return there.get("followed_by")  # type: ignore[no-any-return]

    made = to_bson_vector(np.ones(32, "<f4").tobytes())
    assert await write(1, made, memory.id) == [memory.id]
    assert await write(2, made) is None
    assert await write(3, made, memory.id) == [memory.id]
    assert await write(4, None) is None


async def test_a_vector_that_reads_what_says_something_else_by_now_comes_too_late(world: World, talk: MemoryClient) -> None:
    """Another daemon was at work on it, and the record does not know yet what it reads."""
    first, second = [await tell(talk, number) for number in range(2)]
    await world.drained(talk)
    await talk.forget(second)
    await world.drained(talk)
    memory, records = await talk.get(first), Records(world.redis, world.keys)
    world.embedder.away = True
    third = await tell(talk, 2)

    assert await records.hear({(memory.scope, first): Heard("", gone=True)}, turns_after=1) == []
    late = Attached(
        memory.content_hash, world.embedder.model, memory.context, np.ones(32, "<f4").tobytes(), memory.scope, "",
        followed_by=third, turns_after=1,
    )  # fmt: skip
    assert not await records.attach(world.keys.memory("episodic", memory.scope, first), first, late)
    world.embedder.away = False
    await world.drained(talk)
    await each_by_rights(world, {first: TURNS[0], third: TURNS[2]}, 1)


@pytest.mark.parametrize("where", ["here", "in MongoDB"])
async def test_a_turn_that_says_something_else_is_read_as_it_is_now(world: World, talk: MemoryClient, where: str) -> None:
    """The one before it loses its vector at once, and gets one that has read the new words."""
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    before = await one_story(world)
    world.embedder.away = True
    if where == "here":
        await talk.update(ids[1], content="At the sea.")
    else:
        await world.memories.update_one({"_id": ids[1]}, {"$set": {"content": "At the sea."}})
    await eventually(lambda: without_vector(world, ids[0], ids[2]), what="those around it have no vector")
    world.embedder.away = False
    await world.drained(talk)
    await each_by_rights(world, {ids[0]: TURNS[0], ids[1]: "At the sea.", ids[2]: TURNS[2]}, 1)
    await nowhere(world, before[ids[0]].vector)


@pytest.mark.parametrize(("world", "after"), [(1, 1), (2, 2)], indirect=["world"])
@pytest.mark.parametrize(("moved", "second", "order"), [(1, 3, (0, 2, 3, 1, 4)), (4, 0, (0, 4, 1, 2, 3)), (0, 9, (1, 2, 3, 4, 0))])
async def test_a_turn_that_moves_is_read_where_it_is(
    world: World, talk: MemoryClient, after: int, moved: int, second: int, order: tuple[int, ...]
) -> None:
    """Those before its former place have not read it any more, those before its new one have."""
    ids = [await tell(talk, number) for number in range(5)]
    await world.drained(talk)
    await talk.update(ids[moved], valid_from=START.replace(second=second, microsecond=500_000))
    await world.drained(talk)
    place = {ids[number]: at for at, number in enumerate(order)}
    await eventually(lambda: told(world, {
        one: [ids[order[before]] for before in (at - 1, at - 2) if before >= 0] for one, at in place.items()
    }), what="it has its place")  # fmt: skip
    await world.drained(talk)
    await each_by_rights(world, {ids[number]: TURNS[number] for number in order}, after)


async def test_one_that_has_moved_away_and_is_forgotten_leaves_no_trace_where_it_was(world: World, talk: MemoryClient) -> None:
    """Whose vector has read it loses that when it goes, whether or not a new one can be made."""
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    trace = (await hot(world))[ids[0]].vector
    world.embedder.away = True
    await talk.update(ids[1], valid_from=START.replace(second=9))
    await talk.forget(ids[1])
    await eventually(lambda: without_vector(world, ids[0]), what="the first has no vector")
    world.embedder.away = False
    await world.drained(talk)
    await nowhere(world, trace)
    await each_by_rights(world, {ids[0]: TURNS[0], ids[2]: TURNS[2]}, 1)


async def test_what_an_inserted_turn_has_pushed_away_leaves_no_trace(world: World, talk: MemoryClient) -> None:
    """It stands no longer next to the one that has read it, so that its forget would not find that one."""
    first, third = await tell(talk, 0), await tell(talk, 2)
    await world.drained(talk)
    trace = (await hot(world))[first].vector
    world.embedder.away = True
    second = await tell(talk, 1)
    await talk.forget(third)
    await eventually(lambda: without_vector(world, first), what="the first has no vector")
    world.embedder.away = False
    await world.drained(talk)
    await nowhere(world, trace)
    await each_by_rights(world, {first: TURNS[0], second: TURNS[1]}, 1)


async def test_a_turn_inserted_in_mongodb_is_read(world: World, talk: MemoryClient) -> None:
    first = await tell(talk, 0)
    await world.drained(talk)
    second = first[:6] + "0" * 30  # where the session's other turns are: the bucket is in the first two digits
    await world.memories.insert_one(
        {
            "_id": second, "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": "lake",
            "memory_type": "episodic", "content": TURNS[1], "valid_from": to_microseconds(START.replace(second=1)),
        }
    )  # fmt: skip
    await eventually(lambda: told(world, {first: [], second: [first]}), what="it has its place")
    await world.drained(talk)
    await each_by_rights(world, {first: TURNS[0], second: TURNS[1]}, 1)


async def test_an_entry_that_comes_twice_changes_nothing_twice(world: World, talk: MemoryClient) -> None:
    """Who dies between the work and its acknowledgement leaves it to another one."""
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    once = await hot(world)
    records = Records(world.redis, world.keys)
    told_again = {(talk.scope, one): Heard("") for one in ids}

    assert await records.hear(told_again, turns_after=1) == []
    assert await hot(world) == once


async def test_what_is_in_the_archive_only_loses_the_vector_that_has_read_it(world: World, talk: MemoryClient) -> None:
    """Nobody makes it a new one there."""
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    mover = Mover(Records(world.redis, world.keys), world.archive, model=world.embedder.model)
    [first] = await Records(world.redis, world.keys).read([world.keys.memory("episodic", talk.scope, ids[0])])
    assert await mover.archive([first]) == 1
    assert ids[0] not in await hot(world)
    assert await world.memories.count_documents({"_id": ids[0], "embedding": {"$exists": True}}) == 1
    await talk.forget(ids[1])

    async def gone() -> bool:
        kept = {"embedding": {"$exists": True}}
        there = await world.memories.count_documents({"_id": ids[0], **kept})
        return not there + await world.versions.count_documents({"memory_id": ids[0], **kept})

    await eventually(gone, what="its vector is gone")


async def test_a_light_turn_is_made_again_from_what_the_archive_has(world: World, talk: MemoryClient) -> None:
    """Its content is only there; what comes after it late is read, what is forgotten is not."""
    async with world.connect() as memory:
        ids = await remember(memory, TURNS[:3])
        await demoted(world, memory, ids)
        late = await memory.store("Good.", type="episodic", session="s1")
        await caught_up(world, memory)
        there: Any = await world.memories.find_one({"_id": ids[2]})
        expected = InContext(" ".join(TURNS[:2]), TURNS[2], "Good.")
        assert (there["embedding"][2:], there["followed_by"]) == (await vector(expected), [late.id])
        assert (await fields_of(world, ids[2]))["embedding"] == there["embedding"][2:]
        await memory.forget(ids[1])
        await caught_up(world, memory)
        there = await world.memories.find_one({"_id": ids[0]})
        assert there["embedding"][2:] == await vector(InContext("", TURNS[0], TURNS[2]))


async def test_a_redis_that_is_filled_from_mongodb_knows_what_its_vectors_have_read(world: World, talk: MemoryClient) -> None:
    ids = [await tell(talk, number) for number in range(3)]
    await world.drained(talk)
    before, order = await one_story(world), await timelines(world)
    await world.stop("sync")
    await world.stop("daemon")
    await world.redis.flushall()
    await world.start("daemon", "sync")

    await eventually(lambda: same(world, before), what="everything is back")
    assert await timelines(world) == order
    await talk.forget(ids[1])
    await world.drained(talk)
    await each_by_rights(world, {ids[0]: TURNS[0], ids[2]: TURNS[2]}, 1)


@pytest.mark.parametrize("what", ["is forgotten", "is pushed away"])
async def test_a_daemon_without_a_model_takes_away_what_must_not_stay(world: World, talk: MemoryClient, what: str) -> None:
    first, third = await tell(talk, 0), await tell(talk, 2)
    await world.drained(talk)
    trace = (await hot(world))[first].vector
    await world.stop("daemon")
    world.embedder = None  # type: ignore[assignment]
    await world.start("daemon")
    if what == "is forgotten":
        await talk.forget(third)
    else:
        await tell(talk, 1)
    await eventually(lambda: without_vector(world, first), what="no vector with a trace is left")
    await nowhere(world, trace)


@pytest.mark.parametrize("world", [0], indirect=True)
async def test_a_store_whose_vectors_read_no_later_turn_has_to_be_made_anew(world: World, talk: MemoryClient) -> None:
    """A daemon with the other setting says so and names the command; beside each other they are not filled; after `reindex` each
    vector is as the setting says."""
    order = {await tell(talk, number): TURNS[number] for number in range(4)}
    await world.drained(talk)
    await each_by_rights(world, order, 0)
    await world.stop("daemon")
    for before, after in ((0, 1), (1, 0)):
        world.embedder = reads(after)
        with pytest.raises(SchemaMismatch) as refused:
            await world.start("daemon")
        assert "memoryd reindex" in (refused.value.hint or "")
        with pytest.raises(SchemaMismatch, match=f"read {before} events after their own") as beside:
            await Refill(world.redis, world.settings, world.embedder, archive=world.archive).run()
        assert "memoryd reindex" in (beside.value.hint or "")
        assert {one.memory.embedding_model for one in (await hot(world)).values()} == {reads(before).model}

        await world.stop("sync")
        await reindex(world.redis, world.settings, world.embedder, archive=world.archive, progress=lambda _: None)
        await world.start("daemon", "sync")
        await world.drained(talk)
        await each_by_rights(world, order, after)
        await world.stop("daemon")


async def test_vectors_of_another_model_that_read_as_far_are_filled_beside_these(world: World, talk: MemoryClient) -> None:
    order = {await tell(talk, number): TURNS[number] for number in range(4)}
    await world.drained(talk)
    other = HashEmbedder(model="another+context+1", reads_context=True)
    await world.stop("daemon")
    await Refill(world.redis, world.settings, other, archive=world.archive).run()
    world.embedder = other
    await world.start("daemon")
    await world.drained(talk)
    await each_by_rights(world, order, 1)
