"""The follower: what others write to MongoDB is seen by agents, with a version of its own; nothing is skipped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId, json_util
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import AutoReconnect, OperationFailure
from pymongo.write_concern import WriteConcern

import memoryd_sync.follower
import memoryd_sync.lease
import memoryd_sync.service
from memoryd import MemoryClient
from memoryd.archive.codec import Document
from memoryd.archive.foreign import adopted
from memoryd.errors import ArchiveUnavailable, NotFound
from memoryd.keys import FOLLOWER_LEASE, FOLLOWER_PLACE
from memoryd.limits import FOLLOW_CHANGES_MAX
from memoryd.model.results import Stored
from memoryd_sync.changes import Changes
from tests.integration.tools import a_hand, archived, caught_up, dead_letters, gone, hot, one_story, past, sees
from tests.waiting import eventually
from tests.world import World

PERSON = "mem_" + "ab" * 16  # the id of a memory that a person inserts
MINIMAL: Document = {
    "_id": PERSON, "tenant": "acme", "project": "support", "memory_type": "fact", "content": "Ada sails."
}  # fmt: skip


# --- what a person writes -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "edit",
    [
        {"content": "Ada lives in Lisbon."},
        {"metadata": {"checked": True, "by": {"name": "Grace"}}},
        {"importance": 1},
        {"importance": 0.9, "tags": ["home"], "content": "Ada lives in Faro.", "source_tool": "mongosh"},
    ],
    ids=["content", "metadata", "importance", "several fields"],
)
async def test_a_foreign_edit_gets_a_version_and_is_seen(world: World, memory: MemoryClient, edit: Document) -> None:
    """It is in Redis, in the history, embedded anew where its words are new, and equal on both sides."""
    kept = await memory.store("Ada lives in Porto.", type="fact", metadata={"source": "chat"}, durability="archived")
    await caught_up(world, memory)

    await world.memories.update_one({"_id": kept.id}, {"$set": edit})
    await eventually(sees(memory, kept.id, 2), what="the edit reaches Redis")
    await caught_up(world, memory)

    seen = await memory.get(kept.id)
    assert {name: getattr(seen, name) for name in edit} == edit
    assert [version for version, _ in await past(world, kept.id)] == [1, 2]
    [record] = (await one_story(world)).values()
    [hit] = (await memory.recall(seen.content)).hits
    assert hit.why["meaning"].value > 0, "the vector is not the one of its words"
    assert record.memory.version == 2


async def test_two_foreign_edits_at_once_lose_neither(world: World, memory: MemoryClient) -> None:
    """The second one may come while the first is given its version."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")

    for number in range(10):
        await world.memories.update_one({"_id": kept.id}, {"$set": {f"metadata.note{number}": number}})

    async def all_there() -> bool:
        return len((await memory.get(kept.id)).metadata) == 10

    await eventually(all_there, what="all ten notes reach Redis")
    await caught_up(world, memory)
    await one_story(world)


async def test_an_edit_between_the_look_and_the_adoption_is_not_overwritten(unsynced: World) -> None:
    """The adoption replaces the document only as it was read, field by field."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"importance": 0.9}})
        read = await unsynced.memories.find_one({"_id": kept.id})
        assert read is not None

        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"metadata.late": True}})
        await hand.projector.apply_document(read)

        now = await unsynced.memories.find_one({"_id": kept.id})
        assert now is not None
        assert now["metadata"] == {"late": True}


async def test_an_edit_that_an_agent_overtakes_stays_in_the_history(unsynced: World) -> None:
    """The agent's higher version is current; the follower would have looked for the edit in vain."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        await memory.update(kept.id, content="Ada lives in Faro.")
        await memory.update(kept.id, importance=0.9)
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})

        await hand.archive_all()

        assert await past(unsynced, kept.id) == [
            (1, "Ada lives in Porto."),
            (2, "Ada lives in Faro."),
            (2, "Ada lives in Lisbon."),
            (3, "Ada lives in Faro."),
        ]
        now = await unsynced.memories.find_one({"_id": kept.id})
        assert now is not None
        assert (now["version"], now["content"]) == (3, "Ada lives in Faro.")
        await memory.forget(kept.id)
        await hand.archive_all()
        assert not await past(unsynced, kept.id)


async def test_a_person_inserts_a_memory_with_little_more_than_its_words(world: World, memory: MemoryClient) -> None:
    """What is missing is filled in; it is embedded, found and archived like any other."""
    await world.memories.insert_one(dict(MINIMAL))

    async with world.connect(agent="") as project:  # it belongs to no agent
        await eventually(sees(project, PERSON, 1), what="the insert reaches Redis")
        await caught_up(world, memory)
        [hit] = (await project.recall("Who sails?")).hits

    assert hit.memory.id == PERSON
    assert await past(world, PERSON) == [(1, "Ada sails.")]
    await one_story(world)


async def test_a_person_deletes_a_document_and_that_is_a_forget(world: World, memory: MemoryClient) -> None:
    """A tombstone takes its place, its past goes too, and no tier has it."""
    kept = await memory.store("Ada's locker code is kumquat-4711.", type="fact")
    await caught_up(world, memory)

    await world.memories.delete_one({"_id": kept.id})
    await eventually(gone(memory, kept.id), what="the delete reaches Redis")
    await caught_up(world, memory)

    stone = await world.memories.find_one({"_id": kept.id})
    assert stone is not None
    assert stone["tombstone"]
    assert not await past(world, kept.id)
    assert b"kumquat" not in await world.everything_in_redis()
    assert "kumquat" not in await world.everything_in_mongo()


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), ObjectId()], ids=["a date", "an ObjectId"])
async def test_what_is_no_memory_goes_to_the_dead_letters_and_the_old_value_stays(
    world: World, memory: MemoryClient, value: Any
) -> None:
    """BSON has types that JSON has not. Agents keep what they had; the next edits are followed."""
    kept = await memory.store("Ada lives in Porto.", type="fact", metadata={"a": 1}, durability="archived")
    other = await memory.store("Bob lives in Rome.", type="fact", durability="archived")
    await caught_up(world, memory)

    await world.memories.update_one({"_id": kept.id}, {"$set": {"metadata.when": value}})
    await world.memories.update_one({"_id": other.id}, {"$set": {"content": "Bob lives in Bonn."}})
    await eventually(sees(memory, other.id, 2), what="the edit behind it")

    assert (await memory.get(kept.id)).metadata == {"a": 1}
    await eventually(lambda: dead_letters(world), what="the one before it is a dead letter")
    # Perhaps more than one letter: an event that was still on its way brings the document as it is now.
    assert {(one["group"], one["id"]) for one in await dead_letters(world)} == {("follow", kept.id)}

    await world.memories.update_one({"_id": kept.id}, {"$set": {"metadata": {"a": 2}}})
    await eventually(sees(memory, kept.id, 2), what="the repair reaches Redis")
    assert (await memory.get(kept.id)).metadata == {"a": 2}


async def test_of_two_who_adopt_the_same_edit_one_has_it(unsynced: World) -> None:
    """The followers of two Redis give it the same version and seal, each at its own time; what is in Redis is what stands."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
        [edited] = await unsynced.archive.memories.find({"_id": kept.id}).to_list()
        now = datetime.now(UTC)
        mine, theirs = adopted(edited, now), adopted(edited, now + timedelta(milliseconds=1))
        assert (mine["version"], mine["seal"]) == (theirs["version"], theirs["seal"])

        exactly = {"_id": kept.id, "seal": edited["seal"]}
        assert await unsynced.archive.replace([(exactly, mine)]) == [True]
        assert await unsynced.archive.replace([(exactly, theirs)]) == [False]
        assert await unsynced.archive.replace([(exactly, mine)]) == [True], "its answer was lost, and it is asked again"


async def test_mongodb_may_fail_in_the_middle_of_an_adoption(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no fault of the document: it is followed when MongoDB is back, not buried."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        await unsynced.memories.insert_one(dict(MINIMAL))

        async def away(*_: Any, **__: Any) -> None:
            raise AutoReconnect("connection closed")

        with monkeypatch.context() as patch:
            patch.setattr(unsynced.archive.memories, "bulk_write", away, raising=False)
            with pytest.raises(ArchiveUnavailable):
                await hand.projector.apply_document(dict(MINIMAL))

        assert not await dead_letters(unsynced)
        await hand.projector.apply_document(dict(MINIMAL))
        async with unsynced.connect(agent="") as project:
            assert (await project.get(PERSON)).version == 1
        assert (await memory.stats()).dead_letters == 0


async def test_an_adoption_that_died_half_way_is_finished_by_its_own_event(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document has its version, but neither the history nor Redis has heard of it; its event comes as ours."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        await unsynced.memories.insert_one(dict(MINIMAL))

        async def died(*_: Any, **__: Any) -> None:
            raise asyncio.CancelledError

        with monkeypatch.context() as patch:
            patch.setattr(hand.projector, "_keep_versions", died)
            with pytest.raises(asyncio.CancelledError):
                await hand.projector.apply_document(dict(MINIMAL))

        adopted = await unsynced.memories.find_one({"_id": PERSON})
        assert adopted is not None
        await hand.projector.apply_document(adopted)
        await hand.archive_all()

        async def embedded() -> bool:
            await hand.archive_all()
            return (await memory.stats()).embed_backlog == 0 and (await archived(unsynced))[PERSON].vector is not None

        await eventually(embedded, what="it is embedded and archived")
        await one_story(unsynced)


# --- what we write ------------------------------------------------------------------------------------------------------
async def test_our_own_writes_come_back_and_do_nothing(world: World, memory: MemoryClient) -> None:
    """No version is counted up, and when all is written MongoDB is still: no loop between the two stores."""
    kept = [await memory.store(f"Ada knows fact {count}.", type="fact") for count in range(5)]
    await memory.store("Ada knows fact 0.", type="fact")
    await memory.update(kept[1].id, importance=0.9)
    await caught_up(world, memory)
    before = await one_story(world)

    async with await world.memories.watch(max_await_time_ms=100) as changes:
        seen, until = [], time.monotonic() + 2
        while time.monotonic() < until:
            if (change := await changes.try_next()) is not None:
                seen.append(change["operationType"])

    assert seen == []
    assert await one_story(world) == before
    assert not await dead_letters(world)


async def test_a_version_that_the_follower_gave_comes_back_to_it_for_nothing(unsynced: World) -> None:
    """Once. When it follows anew, Redis may have lost what it had; and what was written after that version comes."""
    looked_up: Any = {"full_document": "updateLookup"}
    async with unsynced.connect() as memory, a_hand(unsynced) as hand, await unsynced.memories.watch(**looked_up) as stream:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        record = unsynced.keys.memory("semantic", memory.scope, kept.id)

        async def given(content: str) -> Any:
            """The event of the version that an edit is given."""
            await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": content}})
            [edited] = await unsynced.memories.find({}).to_list(None)
            await hand.projector.apply_document(edited)
            while (change := await stream.next())["operationType"] != "replace" or change["fullDocument"]["content"] != content:
                pass
            return change

        event = await given("Ada lives in Lisbon.")
        await unsynced.redis.delete(record)
        await hand.projector.apply_changes([event])
        assert not await unsynced.redis.exists(record), "known to be there, and not looked for"
        await hand.projector.apply_changes([event])
        assert (await memory.get(kept.id)).content == "Ada lives in Lisbon."

        event = await given("Ada lives in Faro.")
        await unsynced.redis.delete(record)
        hand.projector.begin(1)
        await hand.projector.apply_changes([event])
        assert (await memory.get(kept.id)).content == "Ada lives in Faro."

        event = await given("Ada lives in Braga.")
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada sails."}})
        await hand.projector.apply_changes([event, await stream.next()])
        assert (await memory.get(kept.id)).content == "Ada sails."


async def test_what_this_redis_knows_costs_one_look_and_what_it_does_not_know_comes(unsynced: World) -> None:
    """No atomic step for our own writes; but one for a vector, a count or a record that only the archive has."""

    async def steps() -> int:
        stats: Any = await unsynced.redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = [await memory.store(f"Ada knows fact {number}.", type="fact") for number in range(4)]
        await eventually(lambda: _none_pending(memory), what="all have their vectors")
        await unsynced.stop("daemon")  # whose own steps would be counted, too
        await hand.archive_all()
        documents = await unsynced.memories.find({}).to_list(None)
        before, known = await steps(), await hot(unsynced)

        await hand.projector.apply_all(documents)
        assert await steps() == before
        assert await hot(unsynced) == known

        keys: list[Any] = [unsynced.keys.memory("semantic", memory.scope, one.id) for one in kept]
        redis: Any = unsynced.redis
        await redis.delete(keys[0])
        await redis.hdel(keys[1], "embedding", "embedding_model")
        await redis.hset(keys[1], "pending", "1")
        documents[2]["access_count"] = 7
        await hand.projector.apply_all(documents)
        now = await hot(unsynced)
        assert {key: one.vector for key, one in now.items()} == {key: one.vector for key, one in known.items()}
        assert now[documents[2]["_id"]].memory.access_count == 7


async def _none_pending(memory: MemoryClient) -> bool:
    stats = await memory.stats()
    return stats.pending == 0 and stats.embed_backlog == 0


async def test_many_edits_by_hand_are_adopted_together_and_one_that_mongodb_refuses_hinders_none(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its version, its place in the history and its record; only those that nobody has changed since."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        items = [{"content": f"Ada knows fact {number}.", "type": "fact"} for number in range(8)]
        kept = [one.id for one in await memory.store_many(items) if isinstance(one, Stored)]
        refused, late, *others = kept
        await hand.archive_all()
        await unsynced.memories.update_many({}, {"$set": {"importance": 0.9}})
        read = await unsynced.memories.find({}).to_list(None)
        await unsynced.memories.update_one({"_id": late}, {"$set": {"importance": 0.8}})
        replace, sizes = hand.projector._archive.replace, []

        async def refuses_one(many: Any) -> Any:
            sizes.append(len(many))
            if any(document["_id"] == refused for _, document in many):
                raise OperationFailure("Document failed validation", 121)
            return await replace(many)

        with monkeypatch.context() as patch:
            patch.setattr(hand.projector._archive, "replace", refuses_one)
            await hand.projector.apply_all(read)

        assert {one["id"] for one in await dead_letters(unsynced)} == {refused}
        here = await hot(unsynced)
        assert {key: one.memory.version for key, one in here.items()} == {refused: 1, late: 1, **dict.fromkeys(others, 2)}
        assert sizes == [8, *[1] * 9], "one by one after the refusal; the late one is looked at twice"
        await hand.projector.apply_all(await unsynced.memories.find({}).to_list(None))
        assert {one.memory.version for one in (await hot(unsynced)).values()} == {2}
        for memory_id in kept:
            assert [version for version, _ in await past(unsynced, memory_id)] == [1, 2]


@pytest.mark.parametrize("dies", [False, True], ids=["whole", "before Redis has it"])
async def test_what_the_follower_has_archived_itself_the_archiver_leaves_alone(
    unsynced: World, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """Its journal entry is for the embedder. One that died half-way says nothing of that, and is archived by its entry."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
        [edited] = await unsynced.archive.memories.find({}).to_list()

        async def died(*_: Any, **__: Any) -> None:
            raise asyncio.CancelledError

        if dies:
            with monkeypatch.context() as patch:
                patch.setattr(hand.projector, "_keep_versions", died)
                with pytest.raises(asyncio.CancelledError):
                    await hand.projector.apply_document(edited)
            [edited] = await unsynced.archive.memories.find({}).to_list()
        await hand.projector.apply_document(edited)
        assert (await memory.get(kept.id)).content == "Ada lives in Lisbon."

        entries = await hand.take()
        batch = hand.archiver._batch([one for one in entries if one.op == "updated"])
        assert [one["version"] for one in batch.versions.values()] == ([2] if dies else [])
        assert batch.current.keys() == ({kept.id} if dies else set())
        await hand.archiver.archive(entries)
        assert await past(unsynced, kept.id) == [(1, "Ada lives in Porto."), (2, "Ada lives in Lisbon.")]
        await eventually(lambda: _none_pending(memory), what="the new words have their vector")
        await hand.archive_all()
        await one_story(unsynced)


async def test_what_the_driver_has_read_comes_together_and_nobody_waits_for_more(unsynced: World) -> None:
    """In order, none twice, and the place is that of the last one; a driver that does not tell what it has is asked in turns."""
    collection = unsynced.archive.database["elsewhere"]
    await collection.insert_one({"_id": "first"})
    for told in (True, False):
        async with await collection.watch(max_await_time_ms=100) as stream:
            changes = Changes(stream if told else Hidden(stream))
            ids = [f"{told} {number}" for number in range(FOLLOW_CHANGES_MAX + 10)]
            await collection.insert_many([{"_id": one} for one in ids])
            found: list[str] = []
            sizes: list[int] = []
            while len(found) < len(ids):
                some = await changes.some()
                await asyncio.sleep(0.01)  # the next are read, and their place is not yet that of what was given
                assert not some or changes.token == some[-1]["_id"]
                found += [one["documentKey"]["_id"] for one in some]
                sizes += [len(some)]
            assert found == ids
            assert max(sizes) > 1
            assert await changes.some() == []
            await changes.close()


class Hidden:
    """A change stream whose inside is not to be seen."""

    def __init__(self, stream: Any) -> None:
        self.try_next = stream.try_next
        self.resume_token = stream.resume_token


# --- its place ----------------------------------------------------------------------------------------------------------
async def place_of(world: World) -> dict[bytes, bytes]:
    redis: Any = world.redis
    found: dict[bytes, bytes] = await redis.hgetall(FOLLOWER_PLACE)
    return found


async def test_what_was_edited_while_sync_was_stopped_is_followed_without_a_copy(
    world: World, memory: MemoryClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The follower goes on from its place."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    lost = await memory.store("Ada lived in Rome.", type="fact", durability="archived")
    await eventually(lambda: place_of(world), what="the place is saved")
    await world.stop("sync")
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
    await world.memories.delete_one({"_id": lost.id})

    with caplog.at_level(logging.INFO, logger="memoryd"):
        await world.start("sync")
        await eventually(sees(memory, kept.id, 2), what="the edit reaches Redis")
        await eventually(gone(memory, lost.id), what="the delete reaches Redis")
        await eventually(lambda: "follow.adopted" in caplog.text, what="that is said")

    assert "follow.copied" not in caplog.text


async def test_the_place_is_saved_when_nothing_happens(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the place in a quiet collection would age out of the oplog. Another collection's writes move it on."""
    await eventually(lambda: place_of(world), what="the first place")
    first = (await place_of(world))[b"token"]
    monkeypatch.setattr(memoryd_sync.follower, "SAVE_SECONDS", 0.05)

    await world.archive.database["elsewhere"].insert_one({})

    async def moved() -> bool:
        return (await place_of(world))[b"token"] != first

    await eventually(moved, what="the place moves on")


# What MongoDB 6 answers to each: 280, 9, 15, 40647.
LOST_PLACES: dict[str, Callable[[str], Document]] = {
    "an event that the oplog does not hold": lambda event: {"_data": event[:2] + "60000001" + event[10:]},
    "a place that is no hex": lambda _: {"_data": "zz"},
    "a place that ends too early": lambda _: {"_data": "8263"},
    "a place without a token": lambda _: {},
}


async def test_an_edit_that_no_majority_has_when_the_follower_begins_is_followed(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream begins after it, and the comparison sees what a majority has: it was in neither."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await world.stop("sync")
    await world.redis.delete(FOLLOWER_PLACE)
    hasty = world.memories.with_options(write_concern=WriteConcern(w=1, j=False))
    watch = AsyncCollection.watch

    async def just_after_an_edit(collection: Any, *arguments: Any, **options: Any) -> Any:
        await hasty.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
        return await watch(collection, *arguments, **options)

    monkeypatch.setattr(AsyncCollection, "watch", just_after_an_edit)
    await world.start("sync")

    await eventually(sees(memory, kept.id, 2), what="the edit reaches Redis")


@pytest.mark.parametrize("lost", LOST_PLACES.values(), ids=LOST_PLACES)
async def test_a_lost_place_is_said_and_everything_is_compared(
    world: World, memory: MemoryClient, caplog: pytest.LogCaptureFixture, lost: Callable[[str], Document]
) -> None:
    """Nothing is skipped: what nobody saw is found, and sync goes on from there."""
    async with await world.memories.watch() as changes:
        kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
        event: str = (await changes.next())["_id"]["_data"]
    await eventually(lambda: place_of(world), what="the place is saved")
    await world.stop("sync")
    await world.redis.hset(FOLLOWER_PLACE, "token", json_util.dumps(lost(event)))

    await _everything_is_compared(world, memory, kept.id, caplog)


async def test_a_place_that_the_oplog_has_passed_is_said_and_everything_is_compared(
    world: World, memory: MemoryClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ChangeStreamHistoryLost, 286, takes a gigabyte of oplog to come by itself: it is answered for MongoDB here."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await eventually(lambda: place_of(world), what="the place is saved")
    await world.stop("sync")
    watch = AsyncCollection.watch

    async def passed(self: Any, *args: Any, **options: Any) -> Any:
        if options.get("resume_after"):
            raise OperationFailure("Resume of change stream was not possible", 286)
        return await watch(self, *args, **options)

    monkeypatch.setattr(AsyncCollection, "watch", passed)
    await _everything_is_compared(world, memory, kept.id, caplog)


async def _everything_is_compared(
    world: World, memory: MemoryClient, memory_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await world.memories.update_one({"_id": memory_id}, {"$set": {"content": "Ada lives in Lisbon."}})

    with caplog.at_level(logging.INFO, logger="memoryd"):
        await world.start("sync")
        await eventually(sees(memory, memory_id, 2), what="the edit reaches Redis")
        await eventually(lambda: "follow.copied" in caplog.text, what="that all was compared is said")
    await caught_up(world, memory)

    assert "follow.place_lost" in caplog.text
    await one_story(world)
    await world.memories.update_one({"_id": memory_id}, {"$set": {"content": "Ada lives in Faro."}})
    await eventually(sees(memory, memory_id, 3), what="the next edit is followed")


async def test_a_dropped_collection_does_not_end_sync(world: World, memory: MemoryClient) -> None:
    """Its stream ends with it. Redis still has every memory and gives them back."""
    kept = await memory.store("Ada lives in Porto.", type="fact")
    await caught_up(world, memory)

    await world.memories.drop()

    async def back() -> bool:
        return kept.id in await archived(world)

    await eventually(back, what="the memory is archived again")
    await caught_up(world, memory)
    await one_story(world)
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Faro."}})
    await eventually(sees(memory, kept.id, 2), what="edits are followed again")


async def test_an_emptied_redis_gets_everything_back_with_vectors(world: World, memory: MemoryClient) -> None:
    """The first copy brings all memories, those that a person inserted too, and no tombstone comes to life."""
    for number in range(30):
        await memory.store(f"Ada knows fact {number}.", type="fact")
    forgotten = await memory.store("Ada's locker code is kumquat-4711.", type="fact")
    await memory.forget(forgotten.id)
    await caught_up(world, memory)
    before = await one_story(world)
    await world.stop("sync")
    await world.stop("daemon")

    calls = world.embedder.calls
    await world.redis.flushall()
    await world.start("daemon", "sync")

    async def full() -> bool:
        return (await hot(world)).keys() == before.keys()

    await eventually(full, what="Redis is full again")
    await caught_up(world, memory)
    assert await one_story(world) == before
    assert world.embedder.calls == calls, "vectors were computed again instead of copied"
    assert forgotten.id not in {hit.memory.id for hit in await memory.recall("Ada's locker code", limit=50)}
    with pytest.raises(NotFound):
        await memory.get(forgotten.id)


async def test_a_copy_that_was_stopped_begins_again(world: World, memory: MemoryClient) -> None:
    """A place after half a copy would leave the other half out of Redis for ever."""
    await memory.store_many([{"content": f"Ada knows fact {count}.", "type": "fact"} for count in range(250)])
    await memory.store_many([{"content": f"Bob knows fact {count}.", "type": "fact"} for count in range(251)])
    await caught_up(world, memory)
    await world.stop("sync")
    await world.stop("daemon")
    await world.redis.flushall()
    await world.start("daemon")

    stopped = asyncio.Event()
    stopped.set()  # it is noticed after 500 memories
    _, follower, _ = memoryd_sync.service.build(world.redis, world.redis, world.archive, world.settings, name="by hand")
    await follower.step(stopped)
    await follower.leave()
    assert not await place_of(world)
    await world.start("sync")

    async def full() -> bool:
        return len(await hot(world)) == 501

    await eventually(full, what="Redis is full again")


# --- the lease ----------------------------------------------------------------------------------------------------------
async def holder(world: World) -> bytes:
    redis: Any = world.redis
    return bytes(await redis.get(FOLLOWER_LEASE) or b"")


async def test_one_follower_is_active_and_the_next_one_begins_at_once_when_it_stops(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that is given back need not run out: this one would not within the test."""
    monkeypatch.setattr(memoryd_sync.lease, "LEASE_SECONDS", 600.0)
    await world.stop("sync")
    await world.start("sync")
    await eventually(lambda: holder(world), what="the first one is active")
    first = await holder(world)
    await world.start("sync2")
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    assert await holder(world) == first

    await world.stop("sync")
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})

    await eventually(sees(memory, kept.id, 2), what="the second follows")
    assert await holder(world) not in (b"", first)


async def test_a_killed_follower_is_replaced_when_its_lease_runs_out(world: World, memory: MemoryClient) -> None:
    """It cannot give the lease back; the other takes over where it stood."""
    await eventually(lambda: holder(world), what="the first one is active")
    await eventually(lambda: place_of(world), what="its place is saved")
    first = await holder(world)
    await world.start("sync2")
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")

    await world.kill("sync")
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})

    await eventually(sees(memory, kept.id, 2), what="the second follows")

    async def replaced() -> bool:
        return await holder(world) not in (b"", first)

    await eventually(replaced, what="the second has the lease")


async def test_agents_edits_and_a_persons_at_the_same_time_lose_neither(world: World, memory: MemoryClient) -> None:
    """The person's edit of version 1 becomes version 2 while the agent's version 2 is on its way: it is lifted."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await world.stop("sync")
    await memory.update(kept.id, content="Ada lives in Faro.")
    async with a_hand(world) as hand:
        await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})
        edited = await world.memories.find_one({"_id": kept.id})
        assert edited is not None
        await hand.projector.apply_document(edited)
    await world.start("sync")
    await caught_up(world, memory)

    versions = await past(world, kept.id)
    assert {content for version, content in versions if version == 2} == {"Ada lives in Lisbon.", "Ada lives in Faro."}
    assert versions[-1] == (3, "Ada lives in Faro.")
    await one_story(world)


# --- several at a time --------------------------------------------------------------------------------------------------
async def test_changes_that_come_together_have_the_effect_of_each(unsynced: World) -> None:
    """Edits, a deletion between them, what another memoryd wrote, and what cannot be followed: none hinders another."""
    looked_up: Any = {"full_document": "updateLookup"}
    async with unsynced.connect() as memory, a_hand(unsynced) as hand, await unsynced.memories.watch(**looked_up) as stream:
        items = [{"content": f"Ada knows fact {number}.", "type": "fact"} for number in range(8)]
        kept = [one.id for one in await memory.store_many(items) if isinstance(one, Stored)]
        edited, twice, deleted, broken, strange, *elsewhere = kept
        await hand.archive_all()
        for memory_id, content in ((edited, "Ada sails."), (twice, "Ada runs."), (broken, ""), (twice, "Ada swims.")):
            await unsynced.memories.update_one({"_id": memory_id}, {"$set": {"content": content}})
        await unsynced.memories.delete_one({"_id": deleted})
        for memory_id in elsewhere:  # this Redis has lost what the archive has
            await unsynced.redis.delete(unsynced.keys.memory("semantic", memory.scope, memory_id))
        record = unsynced.keys.memory("semantic", memory.scope, strange)
        await unsynced.redis.delete(record)
        await unsynced.redis.set(record, "not a hash")
        await unsynced.memories.update_one({"_id": PERSON}, {"$set": MINIMAL}, upsert=True)
        changes: list[Any] = []
        while not changes or changes[-1]["documentKey"]["_id"] != PERSON:
            changes.append(await stream.next())

        await hand.projector.apply_changes([one for one in changes if one["documentKey"]["_id"] != strange])
        await hand.projector.apply_changes(changes)  # events come at least once

        await unsynced.redis.delete(record)
        here = {key: one.memory for key, one in (await hot(unsynced)).items()}
        assert here.keys() == {edited, twice, broken, PERSON, *elsewhere}
        assert (here[edited].content, here[twice].content, here[broken].version) == ("Ada sails.", "Ada swims.", 1)
        assert {one["id"] for one in await dead_letters(unsynced)} == {broken, strange}
