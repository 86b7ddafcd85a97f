"""The archiver: everything acknowledged reaches MongoDB exactly once, whoever reads it, in whatever order, how often."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from unittest.mock import AsyncMock

import pytest
from pymongo.errors import BulkWriteError

import memoryd.engine
import memoryd_sync.archiver
from memoryd import MemoryClient
from memoryd.archive.batch import Batch
from memoryd.archive.codec import Document
from memoryd.archive.writing import write_batch
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.journal import backlogs
from memoryd.keys import DEAD_LETTERS
from memoryd.model.results import Stored
from tests.integration.tools import a_hand, archived, caught_up, dead_letters, hot, one_story, past, redeliver_after
from tests.waiting import eventually
from tests.world import World

CLIENTS, EACH = 8, 125


# --- all of it, once ----------------------------------------------------------------------------------------------------
async def test_a_thousand_memories_of_eight_clients_are_everywhere_once(world: World, memory: MemoryClient) -> None:
    """Acknowledged means: in Redis, in `memories` and in `versions`, once, with equal content, vector and version."""

    async def write(number: int) -> list[Stored]:
        async with world.connect(agent=f"agent-{number}") as client:
            texts = [f"Client {number} learned fact {count}." for count in range(EACH)]
            return list(await asyncio.gather(*(client.store(text, type="fact") for text in texts)))

    stored = [one for many in await asyncio.gather(*(write(number) for number in range(CLIENTS))) for one in many]
    await caught_up(world, memory)

    assert len({one.id for one in stored}) == CLIENTS * EACH
    story = await one_story(world)
    assert story.keys() == {one.id for one in stored}
    assert {one.memory.version for one in story.values()} == {1}
    assert await world.versions.count_documents({}) == CLIENTS * EACH


async def test_every_version_of_many_updates_is_kept_once(world: World, memory: MemoryClient) -> None:
    """One bulk write may hold several versions of one memory: the last is current, all are history."""
    kept = await memory.store("The plan has 0 steps.")
    for count in range(1, 20):
        await memory.update(kept.id, content=f"The plan has {count} steps.")
    await caught_up(world, memory)

    assert await past(world, kept.id) == [(count + 1, f"The plan has {count} steps.") for count in range(20)]
    await one_story(world)


async def test_a_reinforced_memory_counts_in_the_archive_too(world: World, memory: MemoryClient) -> None:
    """Counters follow as `touched` entries; they make no version."""
    for _ in range(4):
        kept = await memory.store("Ada prefers tea.", type="fact")
    await caught_up(world, memory)

    story = await one_story(world)
    assert (story[kept.id].memory.version, story[kept.id].memory.access_count) == (1, 3)


async def test_the_journal_is_trimmed_when_all_followers_have_seen_it(world: World, memory: MemoryClient) -> None:
    """Otherwise Redis would hold every memory twice for ever."""
    await memory.store_many([{"content": f"Event {count}.", "type": "episodic"} for count in range(50)])
    await caught_up(world, memory)

    async def entries() -> int:
        return sum([await world.redis.xlen(world.keys.journal(bucket)) for bucket in world.keys.all_buckets()])

    async def trimmed() -> bool:
        return await entries() == 0

    await eventually(trimmed, what="the journals are empty")


# --- poison -------------------------------------------------------------------------------------------------------------
WHOLE: dict[str, str | bytes] = {
    "op": "updated", "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": "", "memory_type": "fact",
    "tier": "short", "content": "poison", "content_hash": "0" * 64, "importance": "0.5", "created_at": "1",
    "last_accessed": "1", "access_count": "0", "source_tool": "", "metadata": "{}", "tags": "", "related": "",
    "derived_from": "", "version": "7", "valid_from": "1", "recorded_at": "1",
}  # fmt: skip
POISON = {
    "an unknown operation": WHOLE | {"op": "exploded"},
    "no operation": {"id": "mem_" + "0" * 32},
    "no version": {name: value for name, value in WHOLE.items() if name != "version"},
    "no content": {name: value for name, value in WHOLE.items() if name != "content"},
    "no scope": {name: value for name, value in WHOLE.items() if name not in ("tenant", "project")},
    "an unknown type": WHOLE | {"memory_type": "rumour"},
    "metadata that is not JSON": WHOLE | {"metadata": "{"},
    "a document the validator refuses": WHOLE | {"importance": "7.0"},
    "a forgetting without a version": {"op": "forgotten", "tenant": "acme", "project": "support", "content_hash": ""},
    "a vector without bytes": WHOLE | {"op": "embedded"},
    "a field that is not UTF-8": WHOLE | {"op": b"\xff\xfe"},
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_poison_goes_to_the_dead_letters_and_its_bucket_goes_on(
    world: World, memory: MemoryClient, poison: dict[str, str | bytes]
) -> None:
    """What cannot be archived or embedded is kept by reference and reason; what comes behind it is not held up."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    bucket = world.keys.bucket(kept.id)
    fields: dict[str, str | bytes] = {"id": f"mem_{kept.id[4:6]}{'0' * 30}", **poison}

    redis: Any = world.redis
    entry: bytes = await redis.xadd(world.keys.journal(bucket), fields)
    await memory.update(kept.id, content="Ada prefers coffee.")
    stats = await caught_up(world, memory)

    letters = [one for one in await dead_letters(world) if one["group"] == "archive"]
    assert [(one["bucket"], one["entry"]) for one in letters] == [(bucket, entry.decode())]
    assert letters[0]["reason"]
    assert stats.dead_letters >= 1
    assert await past(world, kept.id) == [(1, "Ada prefers tea."), (2, "Ada prefers coffee.")]
    await one_story(world)


async def test_a_drained_journal_has_all_its_letters(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given up while a caller's `stats` is answered is in its backlog or among its letters, never in neither."""
    await caught_up(world, memory)

    async def given_up_meanwhile(*asked: Any) -> list[dict[str, int]]:
        found = await backlogs(*asked)
        await world.redis.xadd(DEAD_LETTERS, {"group": "archive", "id": "mem_" + "0" * 32, "reason": "poison"})
        return found

    monkeypatch.setattr(memoryd.engine, "backlogs", given_up_meanwhile)
    stats = await memory.stats()
    assert (stats.archive_backlog, stats.dead_letters) == (0, 1)


async def test_poison_takes_none_of_its_batch_with_it(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bulk write that fails is tried entry by entry."""
    monkeypatch.setattr(memoryd_sync.archiver, "REFUSED_SECONDS_MAX", 0)
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = [await memory.store(f"Fact {count}.", type="fact") for count in range(10)]
        bucket = unsynced.keys.bucket(kept[3].id)
        poison = WHOLE | {"id": f"mem_{bucket}{'0' * 30}", "importance": "7.0"}
        redis: Any = unsynced.redis
        await redis.xadd(unsynced.keys.journal(bucket), poison)

        await hand.archive_all()

        assert (await archived(unsynced)).keys() == {one.id for one in kept}
        assert len(await dead_letters(unsynced)) == 1


async def test_a_mongodb_that_refuses_everything_for_a_while_buries_nothing(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody gave the collection a validator that nothing passes, and takes it away again."""
    monkeypatch.setattr(memoryd_sync.archiver, "REFUSED_SECONDS_MAX", 600)
    await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    database, name = world.archive.database, "memories"
    options = (await (await database.list_collections(filter={"name": name})).next())["options"]
    await database.command("collMod", name, validator={"$expr": False})
    kept = await memory.store("Ada prefers tea.", type="fact")

    async def refused() -> bool:
        journal: str = world.keys.journal(world.keys.bucket(kept.id))
        pending: list[Any] = await world.redis.xpending_range(journal, "archive", "-", "+", 10)
        return any(one["times_delivered"] > 1 for one in pending)

    await eventually(refused, what="it is tried again")
    await database.command("collMod", name, validator=options["validator"])

    await caught_up(world, memory)
    await one_story(world)
    assert not await dead_letters(world)


@pytest.mark.parametrize("code", [14031, 11601])
async def test_a_server_in_trouble_is_not_the_entrys_fault(
    unsynced: World, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A full disk, say: the entry waits, as while MongoDB is away."""
    failure = BulkWriteError({"writeErrors": [{"index": 0, "code": code}]})
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        await memory.store("Ada prefers tea.", type="fact")
        with monkeypatch.context() as trouble:
            trouble.setattr(type(unsynced.memories), "bulk_write", AsyncMock(side_effect=failure))
            with pytest.raises(ArchiveUnavailable):
                await hand.archive_all()
        await hand.archiver.archive(await hand.journals.take_over(10, idle_seconds=0))

        assert len(await archived(unsynced)) == 1


async def test_a_vector_whose_memory_was_buried_does_not_wait_for_ever(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its memory's own entry, which may be with another archiver; but not without an end."""
    monkeypatch.setattr(memoryd_sync.archiver, "EARLY_SECONDS_MAX", 0.2)
    redeliver_after(0.0, monkeypatch)
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada prefers tea.", type="fact")
        await eventually(lambda: _journal_has(unsynced, kept.id, b"embedded"), what="the vector's entry")
        [stored, embedded] = await hand.take()
        await hand.journals.bury(stored, "as if it could not be archived")

        await hand.archiver.archive([embedded])
        assert [one["op"] for one in await dead_letters(unsynced)] == ["stored"]

        async def over() -> bool:
            await hand.archiver.step()
            return (await memory.stats()).archive_backlog == 0

        await eventually(over, what="the vector is given up")
        assert [one["op"] for one in await dead_letters(unsynced)] == ["stored", "embedded"]


# --- several archivers, in any order, more than once --------------------------------------------------------------------
async def test_two_archivers_share_the_work(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets are shared through the consumer group; nothing is written twice and nothing is left."""
    redeliver_after(0.3, monkeypatch)  # of a vector that came early
    await world.start("sync2")
    await asyncio.gather(*(memory.store(f"Event {count}.", type="episodic") for count in range(200)))
    await caught_up(world, memory)

    assert len(await one_story(world)) == 200
    assert await world.versions.count_documents({}) == 200


async def an_archived_one(unsynced: World) -> Document:
    """A fact, as MongoDB has it."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Ada lives in Porto.", type="fact")
        await hand.archive_all()
        document = await unsynced.memories.find_one({"_id": kept.id})
        assert document is not None
        return document


async def test_two_archivers_that_write_two_versions_at_once_leave_the_higher_one(unsynced: World) -> None:
    """Neither finds a document to replace, so both insert one; whose version is the higher must not be left to chance."""
    document = await an_archived_one(unsynced)
    for _ in range(20):
        ids = [f"mem_{secrets.token_hex(16)}" for _ in range(100)]
        await asyncio.gather(*(
            write_batch(unsynced.archive, Batch({one: {**document, "_id": one, "version": version} for one in ids}))
            for version in (1, 2)
        ))  # fmt: skip
        assert await unsynced.memories.count_documents({"_id": {"$in": ids}, "version": 2}) == len(ids)


async def test_a_first_version_goes_over_a_lower_one_and_whoever_is_as_high_refuses_it(unsynced: World) -> None:
    """Most of them are new there, and are inserted; that one is there already must not be taken for its being archived."""
    document = await an_archived_one(unsynced)
    new, lower, equal, higher = (f"mem_{secrets.token_hex(16)}" for _ in range(4))
    for version, one in enumerate((lower, equal, higher)):
        await unsynced.memories.insert_one({**document, "_id": one, "version": version}, bypass_document_validation=True)
    refused = await write_batch(unsynced.archive, Batch({one: {**document, "_id": one} for one in (new, lower, equal, higher)}))
    assert set(refused) == {equal, higher}
    found = {one["_id"]: one["version"] async for one in unsynced.memories.find({"_id": {"$ne": document["_id"]}})}
    assert found == {new: 1, lower: 1, equal: 1, higher: 2}


async def test_what_a_dead_archiver_had_read_is_taken_over(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries are acknowledged after the write, so a death between the two costs a repetition and nothing else."""
    redeliver_after(0.0, monkeypatch)
    async with unsynced.connect() as memory, a_hand(unsynced, "dead") as dead, a_hand(unsynced, "alive") as alive:
        await _store_embedded(unsynced, memory, "Ada prefers tea.")
        read = await dead.take()

        await alive.archiver.step()
        story = await one_story(unsynced)
        await dead.archiver.archive(read)  # it was only asleep

        assert await one_story(unsynced) == story
        assert await unsynced.versions.count_documents({}) == 1


async def test_a_vector_may_come_before_its_memory(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two archivers have no order between them: the vector waits until the other one has written the memory."""
    redeliver_after(0.0, monkeypatch)
    async with unsynced.connect() as memory, a_hand(unsynced, "slow") as slow, a_hand(unsynced, "fast") as fast:
        await _store_embedded(unsynced, memory, "Ada prefers tea.")
        stored, embedded = await slow.take()

        await fast.archiver.archive([embedded])
        assert not await archived(unsynced)
        await slow.archiver.archive([stored])
        await fast.archiver.step()

        await one_story(unsynced)


async def test_a_vector_may_come_before_the_update_that_it_belongs_to(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive knows the memory, but not yet the words of this vector."""
    redeliver_after(0.0, monkeypatch)
    async with unsynced.connect() as memory, a_hand(unsynced, "slow") as slow, a_hand(unsynced, "fast") as fast:
        kept = await _store_embedded(unsynced, memory, "Ada prefers tea.")
        await fast.archive_all()
        await memory.update(kept.id, content="Ada prefers coffee.")
        await eventually(lambda: _journal_has(unsynced, kept.id, b"embedded", version=2), what="the new vector")
        updated, embedded = await slow.take()

        await fast.archiver.archive([embedded])
        await slow.archiver.archive([updated])
        await fast.archiver.step()

        await one_story(unsynced)


async def test_entries_in_reverse_order_end_the_same(unsynced: World) -> None:
    """Higher versions win, whenever they come."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await _store_embedded(unsynced, memory, "Ada prefers tea.")
        await memory.update(kept.id, content="Ada prefers coffee.")
        await memory.update(kept.id, importance=0.9)
        entries = await hand.take()

        for entry in sorted(entries, key=lambda one: -one.version):
            await hand.archiver.archive([entry])

        current = (await archived(unsynced))[kept.id].memory
        assert (current.version, current.content, current.importance) == (3, "Ada prefers coffee.", 0.9)
        assert [version for version, _ in await past(unsynced, kept.id)] == [1, 2, 3]


async def _store_embedded(world: World, memory: MemoryClient, content: str) -> Stored:
    kept = await memory.store(content, type="fact")

    async def embedded() -> bool:
        return (await hot(world))[kept.id].vector is not None

    await eventually(embedded, what="the memory has its vector")
    return kept


async def _journal_has(world: World, memory_id: str, op: bytes, version: int = 1) -> bool:
    redis: Any = world.redis
    rows = await redis.xrange(world.keys.journal(world.keys.bucket(memory_id)))
    return any(fields[b"op"] == op and int(fields[b"version"]) == version for _, fields in rows)
