"""What is forgotten does not come back: not from a tier, a queue, a cache, a replay, nor from work that was in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from bson.timestamp import Timestamp

from memoryd import MemoryClient
from memoryd.embed.protocol import Vectors
from memoryd.errors import NotFound
from memoryd.hot.changes import Doomed, Request
from memoryd.hot.forgetting import forget
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.hot.tiers import HotTiers
from memoryd.keys import DEAD_LETTERS
from memoryd.local.servers import Servers
from memoryd.model.ids import hash_content
from memoryd.model.memory import MemoryType, Tier
from memoryd_schemas.mongo_apply import apply_mongo
from tests.integration.tools import a_hand, archived, caught_up, hot, new_fact, one_story, past
from tests.waiting import eventually
from tests.world import World, private_settings

SECRET = "Ada's locker code is kumquat-4711."
CHANGED = "Ada's locker code is mangosteen-0815."


async def nothing_is_left(world: World, memory: MemoryClient, memory_id: str, *words: str) -> None:
    """Asserts that no verb, key, entry, vector or document has any of it; only the tombstone says that it was."""
    with pytest.raises(NotFound):
        await memory.get(memory_id)
    for query in (SECRET, CHANGED, *words):  # by words and by the very vector
        assert memory_id not in {hit.memory.id for hit in await memory.recall(query, limit=50)}
    for content in (SECRET, CHANGED, *words):  # the cache of those questions is not of the memory
        await world.redis.delete(*[key async for key in world.redis.scan_iter(f"*:{hash_content(content)}")] or [b"-"])
    await world.redis.delete(*[key async for key in world.redis.scan_iter("aether:gaps:*")] or [b"-"])  # nor their notes
    in_redis, in_mongo = await world.everything_in_redis(), await world.everything_in_mongo()
    for word in ("kumquat", "mangosteen", *words):
        assert word.encode() not in in_redis
        assert word not in in_mongo
    stone = await world.memories.find_one({"_id": memory_id})
    assert stone is not None
    assert stone["tombstone"]
    assert "embedding" not in stone
    assert "content_hash" not in stone
    assert not await past(world, memory_id)


async def cached(world: World, *contents: str) -> list[bytes]:
    """The keys of the embedding cache that belong to these contents."""
    hashes = [hash_content(one).encode() for one in contents]
    keys = [key async for key in world.redis.scan_iter("aether:cache:embedding:*")]
    return [key for key in keys if key.rpartition(b":")[2] in hashes]


# --- everywhere ---------------------------------------------------------------------------------------------------------
async def test_after_a_forget_no_tier_has_it(world: World, memory: MemoryClient) -> None:
    """Former versions too; a receipt says what was done, and a second forget finds the tombstone."""
    kept = await memory.store(SECRET, type="fact", metadata={"where": "rambutan"}, tags=["salak"])
    await memory.store(SECRET, type="fact")
    await memory.update(kept.id, content=CHANGED)
    await caught_up(world, memory)
    assert len(await past(world, kept.id)) == 2

    receipt = await memory.forget(kept.id)
    await caught_up(world, memory)

    assert (receipt.outcome, receipt.version) == ("forgotten", 3)
    assert not await cached(world, SECRET, CHANGED)
    await nothing_is_left(world, memory, kept.id, "rambutan", "salak")
    assert (await memory.forget(kept.id)).outcome == "already"


async def test_what_was_never_archived_is_forgotten_as_well(unsynced: World) -> None:
    """A forget overtakes the archiver: its entries are gone before anyone has read them."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store(SECRET, type="fact")
        await memory.update(kept.id, content=CHANGED)

        receipt = await memory.forget(kept.id)

        assert receipt.journal_entries_removed >= 2
        assert [entry.op for entry in await hand.take()] == ["forgotten"]


async def test_what_was_forgotten_may_be_stored_again(world: World, memory: MemoryClient) -> None:
    """It is a new memory above the tombstone's version, and nothing of its former life is in the history."""
    kept = await memory.store(SECRET, type="fact")
    await memory.update(kept.id, content=CHANGED)
    await memory.forget(kept.id)
    again = await memory.store(SECRET, type="fact")
    await caught_up(world, memory)

    assert (again.id, again.version) == (kept.id, 4)
    assert await past(world, kept.id) == [(4, SECRET)]
    assert "mangosteen" not in await world.everything_in_mongo()
    await one_story(world)


async def test_what_was_stored_again_and_is_only_in_the_archive_is_there(world: World, memory: MemoryClient) -> None:
    """The tombstone of its former life still stands in Redis, below it: get brings it, and storing it meets it again.

    While MongoDB has not heard of a forget yet, the tombstone has the last word.
    """
    kept = await memory.store(SECRET, type="fact")
    await memory.forget(kept.id)
    again = await memory.store(SECRET, type="fact")
    await caught_up(world, memory)
    await world.stop("sync")
    key = world.keys.memory("semantic", memory.scope, kept.id)
    await world.redis.delete(key)

    assert (await memory.get(kept.id)).version == again.version == 3
    met = await memory.store(SECRET, type="fact")
    assert (met.id, met.outcome, met.version) == (kept.id, "reinforced", 3)

    await memory.forget(kept.id)
    with pytest.raises(NotFound):
        await memory.get(kept.id)


# --- replays ------------------------------------------------------------------------------------------------------------
async def saved_copies(world: World, memory: MemoryClient) -> tuple[str, list[tuple[str, dict[Any, Any]]]]:
    """Stores and updates a secret; its id and a copy of every entry that its journal ever had."""
    kept = await memory.store(SECRET, type="fact")
    await eventually(lambda: _embedded(world, kept.id), what="the first vector")
    journal = world.keys.journal(world.keys.bucket(kept.id))
    redis: Any = world.redis
    copies = [fields for _, fields in await redis.xrange(journal)]
    await memory.update(kept.id, content=CHANGED)
    await eventually(lambda: _embedded(world, kept.id), what="the second vector")
    copies += [fields for _, fields in await redis.xrange(journal) if fields not in copies]
    assert {fields[b"op"] for fields in copies} == {b"stored", b"updated", b"embedded"}
    return kept.id, [(journal, fields) for fields in copies]


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "in reverse order"])
async def test_an_old_journal_entry_that_is_added_again_brings_nothing_back(unsynced: World, order: int) -> None:
    """A restored backup of a journal, say: `stored`, `updated` and `embedded` of a forgotten memory do nothing."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        memory_id, copies = await saved_copies(unsynced, memory)
        await hand.archive_all()
        await memory.forget(memory_id)
        await hand.archive_all()

        for journal, fields in copies[::order]:
            await unsynced.redis.xadd(journal, fields)

        async def read() -> bool:
            await hand.archive_all()
            stats = await memory.stats()
            return not (stats.embed_backlog or stats.archive_backlog)

        await eventually(read, what="every follower has read the replay")
        for journal, _ in copies:
            await unsynced.redis.xtrim(journal, maxlen=0)  # the copies themselves
        await nothing_is_left(unsynced, memory, memory_id)


async def test_an_old_journal_entry_does_not_reach_the_history_of_what_was_stored_again(unsynced: World) -> None:
    """MongoDB has no tombstone then: its document is the new memory. What was forgotten stays so all the same."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        memory_id, copies = await saved_copies(unsynced, memory)
        await hand.archive_all()
        await memory.forget(memory_id)
        await memory.store(SECRET, type="fact")
        await hand.archive_all()

        for journal, fields in copies:
            await unsynced.redis.xadd(journal, fields)
        await hand.archive_all()

        assert await past(unsynced, memory_id) == [(4, SECRET)]
        assert "mangosteen" not in await unsynced.everything_in_mongo()


async def test_a_late_archiver_brings_nothing_back(unsynced: World) -> None:
    """It had read the entries before the forget, slept, and writes them after another one has archived the forget."""
    async with unsynced.connect() as memory, a_hand(unsynced, "late") as late, a_hand(unsynced, "other") as other:
        memory_id, _ = await saved_copies(unsynced, memory)
        read = await late.take()
        await memory.forget(memory_id)
        await other.archive_all()

        await late.archiver.archive(read)
        await eventually(lambda: _no_backlog(memory), what="all is acknowledged")

        await nothing_is_left(unsynced, memory, memory_id)


async def test_a_late_archiver_brings_nothing_back_into_what_was_stored_again(unsynced: World) -> None:
    """The same, and the memory was stored again meanwhile."""
    async with unsynced.connect() as memory, a_hand(unsynced, "late") as late, a_hand(unsynced, "other") as other:
        memory_id, _ = await saved_copies(unsynced, memory)
        read = await late.take()
        await memory.forget(memory_id)
        await memory.store(SECRET, type="fact")
        await other.archive_all()

        await late.archiver.archive(read)

        assert await past(unsynced, memory_id) == [(4, SECRET)]
        assert (await archived(unsynced))[memory_id].memory.version == 4


async def test_an_old_change_event_brings_nothing_back(unsynced: World) -> None:
    """Events come at least once: a follower that died before it saved its place sees them again."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        await apply_mongo(unsynced.archive.database)
        async with await unsynced.memories.watch(full_document="updateLookup", max_await_time_ms=200) as changes:
            kept = await memory.store(SECRET, type="fact")
            await hand.archive_all()
            await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": CHANGED}})  # a person's
            events = [await changes.next(), await changes.next()]
        await hand.projector.apply_changes([events[1]])
        assert (await memory.get(kept.id)).content == CHANGED
        await hand.archive_all()
        await memory.forget(kept.id)
        await hand.archive_all()

        for event in events:
            await hand.projector.apply_changes([event])
        await hand.archive_all()

        await eventually(lambda: _no_backlog(memory), what="all is acknowledged")
        await nothing_is_left(unsynced, memory, kept.id)


async def test_an_old_delete_event_does_not_forget_what_was_stored_again(unsynced: World) -> None:
    """The other direction: what is acknowledged is not lost to an event that comes twice."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store(SECRET, type="fact")
        await hand.archive_all()
        await unsynced.memories.delete_one({"_id": kept.id})
        event = {"operationType": "delete", "documentKey": {"_id": kept.id}, "clusterTime": Timestamp(1, 0)}
        await hand.projector.apply_changes([event])
        await hand.archive_all()
        again = await memory.store(SECRET, type="fact")
        await hand.archive_all()

        await hand.projector.apply_changes([event])

        assert (await memory.get(kept.id)).version == again.version


@pytest.mark.parametrize("what", ["of a version from elsewhere", "of a version of its own"])
async def test_a_deletion_by_hand_outlives_what_the_archiver_still_has_to_write(unsynced: World, what: str) -> None:
    """A person edits a document and deletes it, before the archiver has written what the edit left in the journal.

    The edit itself has been there; its tier as memoryd gave it afterwards has not, but nobody has said anything since.
    """
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store(SECRET, type="fact")
        await hand.archive_all()
        async with await unsynced.memories.watch() as stream:
            await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": CHANGED}})
            document = await unsynced.memories.find_one({"_id": kept.id})
            assert document is not None
            await hand.projector.apply_document(document)
            if what == "of a version of its own":
                await hand.archive_all()
                edited = await memory.get(kept.id)
                records = Records(unsynced.redis, unsynced.keys)
                [moved] = await HotTiers(records).move([edited], Tier.WORKING, with_vector=False, traceparent="")
                assert moved.outcome == "moved"
            await unsynced.memories.delete_one({"_id": kept.id})
            while (deletion := await stream.next())["operationType"] != "delete":
                continue
            await hand.archive_all()
            await hand.projector.apply_changes([deletion])
            await hand.archive_all()

        await eventually(lambda: _no_backlog(memory), what="all is acknowledged")
        await nothing_is_left(unsynced, memory, kept.id)


@pytest.mark.parametrize("gone", ["forgotten", "deleted by hand"])
async def test_a_request_that_is_done_again_brings_nothing_back_that_has_gone_since(unsynced: World, gone: str) -> None:
    """A Redis that has lost its last second has perhaps lost that a request was done, and has the request still.

    It counts from when it came: what was forgotten or deleted after that stays so.
    """
    async with unsynced.connect() as memory, a_hand(unsynced) as hand, await unsynced.memories.watch() as stream:
        kept = await memory.store(SECRET, type="fact")
        await hand.archive_all()
        new = new_fact(SECRET, request_id="again", asked_at=await redis_time(unsynced))
        if gone == "forgotten":
            await memory.forget(kept.id)
        else:
            await unsynced.memories.delete_one({"_id": kept.id})
            while (deletion := await stream.next())["operationType"] != "delete":
                continue
            await unsynced.redis.delete(unsynced.keys.memory("semantic", memory.scope, kept.id))
            await asyncio.sleep(0.01)  # the two servers' clocks are one here, and tell milliseconds

        # The archive was asked, and has none.
        [written], _ = await HotStoring(Records(unsynced.redis, unsynced.keys)).store([replace(new, archived_version=0)])
        assert (written.outcome, written.replayed) == ("stored", gone == "forgotten")
        await hand.archive_all()
        if gone == "deleted by hand":
            await hand.projector.apply_changes([deletion])
            await hand.archive_all()

        await eventually(lambda: _no_backlog(memory), what="all is acknowledged")
        await nothing_is_left(unsynced, memory, kept.id)
        assert (await memory.store(SECRET, type="fact")).outcome == "stored"


@pytest.mark.parametrize("record", ["in Redis", "lost from Redis"])
async def test_a_forget_that_is_done_again_takes_nothing_that_was_stored_since(unsynced: World, record: str) -> None:
    """Redis has lost that it was done, and has the request still (seed 601188); a new forget takes it all the same."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store(SECRET, type="fact")
        asked_at = await redis_time(unsynced)
        await memory.forget(kept.id)
        again = await memory.store(SECRET, type="fact")
        assert (again.outcome, again.version) == ("stored", 3)
        await hand.archive_all()
        if record == "lost from Redis":
            await unsynced.redis.delete(unsynced.keys.memory("semantic", memory.scope, kept.id))

        records, scope = Records(unsynced.redis, unsynced.keys), memory.scope
        late = Doomed(
            kept.id, MemoryType.FACT, scope, scope, Request("again", "f", asked_at=asked_at), archived_version=again.version
        )
        for _ in range(2):
            [written] = await forget(records, [late], now=asked_at)
            assert (written.outcome, written.version) == ("already", 2)
        assert (await memory.get(kept.id)).version == again.version

        new = replace(late, request=Request("new", "f", asked_at=await redis_time(unsynced)))
        [written] = await forget(records, [new], now=asked_at)
        assert (written.outcome, written.version) == ("forgotten", 4)


async def test_a_forget_that_found_it_forgotten_is_not_done_again_either(unsynced: World) -> None:
    """Its answer was lost, the content stored again, and the request sent once more."""
    async with unsynced.connect() as memory:
        kept = await memory.store(SECRET, type="fact")
        await memory.forget(kept.id)
        receipt = await memory.forget(kept.id, request_id="late")
        assert receipt.outcome == "already"
        again = await memory.store(SECRET, type="fact")

        assert await memory.forget(kept.id, request_id="late") == receipt
        assert (await memory.get(kept.id)).version == again.version


async def redis_time(world: World) -> int:
    """Now, in microseconds, by Redis's clock."""
    redis: Any = world.redis
    seconds, microseconds = await redis.time()
    return int(seconds) * 1_000_000 + int(microseconds)


@pytest.mark.parametrize("what", ["from before", "from after", "from another Redis", "heard twice", "a copy by hand"])
async def test_what_is_written_again_after_a_deletion_stays_if_it_was_said_since(unsynced: World, what: str) -> None:
    """The archiver is behind, and the follower behind the archiver: a document is there again when the deletion is heard.

    What an agent had said before the deletion goes too. What it said afterwards stays, and so does what a person put back
    and what was said to another Redis, also when that has come here before the deletion is heard a second time.
    """
    async with unsynced.connect() as memory, a_hand(unsynced) as hand, await unsynced.memories.watch() as stream:
        kept = await memory.store(SECRET, type="fact")
        await hand.archive_all()
        copy = await unsynced.memories.find_one({"_id": kept.id})
        assert copy is not None
        if what in ("from before", "from another Redis", "heard twice"):
            await memory.update(kept.id, content=CHANGED)
        await unsynced.memories.delete_one({"_id": kept.id})
        if what == "from after":
            await asyncio.sleep(0.01)  # the two servers' clocks are one here, and tell milliseconds
            await memory.update(kept.id, content=CHANGED)
        if what == "a copy by hand":
            await unsynced.memories.insert_one(copy)
        await hand.archive_all()
        assert await unsynced.memories.find_one({"_id": kept.id, "tombstone": {"$ne": True}})

        while (deletion := await stream.next())["operationType"] != "delete":
            continue
        if what in ("from another Redis", "heard twice"):  # which alone knows when it was said; this one has the version before
            record = unsynced.keys.memory("semantic", memory.scope, kept.id)
            await unsynced.redis.hset(record, mapping={"version": 1, "said_at": 1})
        if what == "heard twice":
            document = await unsynced.memories.find_one({"_id": kept.id})
            assert document is not None
            await hand.projector.apply_document(document)
        await hand.projector.apply_changes([deletion])
        await hand.archive_all()

        if what == "from before":
            await eventually(lambda: _no_backlog(memory), what="all is acknowledged")
            await nothing_is_left(unsynced, memory, kept.id)
        else:
            assert (await memory.get(kept.id)).content == (SECRET if what == "a copy by hand" else CHANGED)


# --- in flight ----------------------------------------------------------------------------------------------------------
async def test_a_vector_that_is_being_computed_does_not_outlive_the_forget(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One daemon computes while another one purges the cache; the vector must not be left there afterwards."""
    started, go, embed = asyncio.Event(), asyncio.Event(), unsynced.embedder.embed

    async def slow(texts: Sequence[str]) -> Vectors:
        started.set()
        await go.wait()
        return await embed(texts)

    monkeypatch.setattr(unsynced.embedder, "embed", slow)
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store(SECRET, type="fact")
        await started.wait()  # by the only daemon there is
        await unsynced.start("daemon2")
        await memory.forget(kept.id)

        async def purged() -> bool:
            return (await memory.stats()).embed_backlog <= 1  # the entry that the first daemon works on

        await eventually(purged, what="the second daemon has read the forget")
        go.set()
        await hand.archive_all()
        await eventually(lambda: _no_backlog(memory), what="the first daemon is done")

        assert not await cached(unsynced, SECRET)
        await nothing_is_left(unsynced, memory, kept.id)


async def test_a_forget_in_the_middle_of_many_writes_is_final(world: World, memory: MemoryClient) -> None:
    """Stores, updates and forgets of the same content from many clients at once: the last forget wins."""
    kept = await memory.store(SECRET, type="fact")

    async def meddle(number: int) -> None:
        for _ in range(5):
            try:
                await memory.update(kept.id, content=CHANGED if number % 2 else SECRET)
            except NotFound:
                await memory.store(SECRET, type="fact")

    async def forget() -> None:
        for _ in range(5):
            await memory.forget(kept.id)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(meddle(number) for number in range(6)), forget())
    for memory_id in await hot(world):
        await memory.forget(memory_id)
    await caught_up(world, memory)

    assert not await hot(world)
    await nothing_is_left(world, memory, kept.id)


async def test_a_forget_while_mongodb_is_away_is_carried_out_when_it_is_back(own_servers: Servers) -> None:
    """The receipt comes at once; the archive follows, and the follower brings nothing back on its way."""
    assert own_servers.mongo is not None
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon", "sync")
        async with world.connect() as memory:
            kept = await memory.store(SECRET, type="fact", durability="archived")
            await caught_up(world, memory)
            await own_servers.mongo.stop()
            receipt = await memory.forget(kept.id)
            with pytest.raises(NotFound):
                await memory.get(kept.id)
            await own_servers.mongo.start()
            await caught_up(world, memory)

            assert receipt.outcome == "forgotten"
            await nothing_is_left(world, memory, kept.id)
            assert not await world.redis.xlen(DEAD_LETTERS)


async def _embedded(world: World, memory_id: str) -> bool:
    return (await hot(world))[memory_id].vector is not None


async def _no_backlog(memory: MemoryClient) -> bool:
    stats = await memory.stats()
    return not (stats.archive_backlog or stats.embed_backlog)
