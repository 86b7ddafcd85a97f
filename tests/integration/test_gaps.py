"""Gaps are never skipped: what one store loses, sync notices, compares whole, and brings back from the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.clock import SystemClock
from memoryd.errors import HotUnavailable, NotFound
from memoryd.hot.projecting import raise_fences
from memoryd.hot.records import Records
from memoryd_schemas.mongo_apply import apply_mongo
from memoryd_sync.dead import DeadLetters
from memoryd_sync.projector import Fenced, Projector
from memoryd_sync.reconcile import Comparison, Kind, Reconciler, rejournal
from memoryd_sync.status import SyncStatus
from memoryd_sync.status import status as sync_status
from tests.integration.tools import a_hand, gone, past
from tests.waiting import eventually
from tests.world import World


def reconciler_of(world: World) -> Reconciler:
    records = Records(world.redis, world.keys)
    return Reconciler(records, world.archive, projector_of(world))


def projector_of(world: World) -> Projector:
    projector = Projector(Records(world.redis, world.keys), world.archive, SystemClock())
    projector.model = world.embedder.model
    return projector


async def stored(memory: MemoryClient, count: int) -> list[str]:
    items = [{"content": f"Observation {number} of the harbour.", "type": "episodic"} for number in range(count)]
    return [one.id for one in await memory.store_many(items) if not isinstance(one, Exception)]


async def test_an_emptied_redis_is_filled_from_mongodb_while_agents_store(world: World, memory: MemoryClient) -> None:
    """FLUSHALL under a running daemon: the indexes, groups, memories and vectors come back by themselves."""
    ids = await stored(memory, 40)
    await world.drained(memory)

    await world.redis.flushall()

    async def can_store() -> Any:
        try:
            return await memory.store("Written while Redis is being filled.", type="fact")
        except HotUnavailable:
            return None

    new = await eventually(can_store, what="a store is acknowledged again")

    async def all_back() -> bool:
        comparison = await reconciler_of(world).compare()
        return comparison.hot == comparison.archived == len(ids) + 1 and not comparison.differences

    await eventually(all_back, what="Redis holds what MongoDB holds")
    assert {one.memory.id for one in await memory.recall("harbour observation", limit=50)} >= set(ids)
    assert (await memory.get(new.id)).content == "Written while Redis is being filled."
    assert (await world.drained(memory)).pending == 0


async def test_a_dropped_collection_is_filled_from_redis(world: World, memory: MemoryClient) -> None:
    """A collection that is dropped takes nothing acknowledged with it: Redis still has it, and sync writes it again."""
    ids = await stored(memory, 20)
    await world.drained(memory)

    await world.memories.drop()

    async def all_back() -> bool:
        return await world.memories.count_documents({"_id": {"$in": ids}, "embedding": {"$exists": True}}) == len(ids)

    await eventually(all_back, what="MongoDB holds what Redis holds")
    assert not (await reconciler_of(world).compare()).differences


async def test_a_place_that_mongodb_does_not_know_is_not_trusted(world: World, memory: MemoryClient) -> None:
    """A resume token from another cluster: sync says that the place is lost, compares both stores, and goes on."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")
    await world.stop("sync")
    token = '{"_data": "8263A1B2C3000000012B022C0100296E5A1004"}'
    await world.redis.hset("aether:follower:place", mapping={"token": token, "saved_at": 1})
    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Faro."}})

    await world.start("sync")

    async def followed() -> bool:
        return (await memory.get(kept.id)).content == "Ada lives in Faro."

    await eventually(followed, what="the edit from the gap reaches Redis")

    async def mended() -> SyncStatus | None:
        now = await sync_status(world.redis, world.archive, world.keys)
        return now if now.place else None

    status = await eventually(mended, what="the follower has a place again")
    assert "no longer holds the history" in status.gap_why
    assert status.gap_age_seconds is not None
    assert status.compared_age_seconds is not None
    assert status.compared_age_seconds <= status.gap_age_seconds


async def differing(world: World) -> Comparison:
    return await reconciler_of(world).compare()


Damage = Callable[[World, str], Awaitable[Any]]


async def lose_from_archive(world: World, memory_id: str) -> None:
    """As in an older backup of MongoDB."""
    await world.memories.delete_one({"_id": memory_id})
    await world.versions.delete_many({"memory_id": memory_id})


async def delete_by_hand(world: World, memory_id: str) -> None:
    await world.memories.delete_one({"_id": memory_id})


async def lose_from_redis(world: World, memory_id: str) -> None:
    await world.redis.delete(await key_of(world, memory_id))


async def lose_vector_in_archive(world: World, memory_id: str) -> None:
    await world.memories.update_one({"_id": memory_id}, {"$unset": {"embedding": ""}, "$set": {"embedding_model": ""}})


async def lose_vector_in_redis(world: World, memory_id: str) -> None:
    key = await key_of(world, memory_id)
    await world.redis.hdel(key, "embedding", "embedding_model")
    await world.redis.hset(key, "pending", "1")


async def lose_history(world: World, memory_id: str) -> None:
    await world.versions.delete_many({"memory_id": memory_id})


async def age_in_redis(world: World, memory_id: str) -> None:
    await world.memories.update_one({"_id": memory_id}, {"$set": {"content": "Edited while sync was away."}})
    await projector_of(world).apply_document(await whole_document(world, memory_id))
    await world.redis.hset(await key_of(world, memory_id), "version", "1")


async def bury_in_archive(world: World, memory_id: str) -> None:
    document = await whole_document(world, memory_id)
    names = {name: document[name] for name in ("tenant", "project", "agent_id", "session_id", "memory_type")}
    stone = {"tombstone": True, "version": 2, "forgotten_at": document["recorded_at"] + 1, **names}
    await world.memories.replace_one({"_id": memory_id}, stone)


async def key_of(world: World, memory_id: str) -> str:
    keys = [key async for key in world.redis.scan_iter(match=f"aether:memory:*:{memory_id}")]
    return str(keys[0].decode())


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lose_from_archive, Kind.ARCHIVE_LACKS),
        (delete_by_hand, Kind.HOT_NOT_DELETED),
        (lose_from_redis, Kind.HOT_LACKS),
        (lose_vector_in_archive, Kind.ARCHIVE_LACKS_VECTOR),
        (lose_vector_in_redis, Kind.HOT_LACKS_VECTOR),
        (lose_history, Kind.ARCHIVE_LACKS_HISTORY),
        (age_in_redis, Kind.HOT_BEHIND),
        (bury_in_archive, Kind.HOT_NOT_FORGOTTEN),
    ],
)
async def test_each_kind_of_difference_is_found_and_mended(
    world: World, memory: MemoryClient, damage: Damage, kind: Kind
) -> None:
    """`verify` names what differs, `repair` mends it from the side that is right, and then nothing differs."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    await stored(memory, 5)
    await world.drained(memory)
    await world.stop("sync")

    await damage(world, kept.id)
    comparison = await differing(world)
    assert [(one.place.memory_id, one.kind) for one in comparison.differences] == [(kept.id, kind)]
    assert sum(hot != archived for hot, archived in comparison.digests.values()) == (
        0 if "VECTOR" in kind.name or "HISTORY" in kind.name else 1
    )

    reconciler = reconciler_of(world)
    await reconciler.mend(await reconciler.still_differing(comparison.differences))
    await world.redis.delete("aether:follower:place")
    await world.start("sync")

    async def agree() -> bool:
        return not (await differing(world)).differences

    await eventually(agree, what="both stores tell the same story again")
    if kind in (Kind.HOT_NOT_FORGOTTEN, Kind.HOT_NOT_DELETED):
        with pytest.raises(NotFound):
            await memory.get(kept.id)
    else:
        assert (await memory.get(kept.id)).content


async def test_what_a_person_deleted_while_no_follower_could_hear_stays_deleted(world: World, memory: MemoryClient) -> None:
    """The place is lost as well, so both stores are compared whole: what was archived and is missing was deleted.

    What was acknowledged meanwhile and is not archived yet is missing too, and is not lost.
    """
    deleted, kept = [await memory.store(f"Locker {number} is kumquat.", type="fact") for number in range(2)]
    await world.drained(memory)
    await world.stop("sync")
    await world.memories.delete_one({"_id": deleted.id})
    new = await memory.store("Stored while sync was away.", type="fact")
    token = '{"_data": "8263A1B2C3000000012B022C0100296E5A1004"}'
    await world.redis.hset("aether:follower:place", mapping={"token": token, "saved_at": 1})

    await world.start("sync")
    await eventually(gone(memory, deleted.id), what="the deletion reaches Redis")
    await world.drained(memory)

    stone = await world.memories.find_one({"_id": deleted.id})
    assert stone is not None
    assert stone["tombstone"]
    assert not await past(world, deleted.id)
    assert {one.memory.id for one in await memory.recall("kumquat stored")} == {kept.id, new.id}
    assert not (await differing(world)).differences


async def test_what_a_person_has_edited_and_then_deleted_before_the_archiver_came_stays_deleted(unsynced: World) -> None:
    """The journal's entry of an adopted edit waits for a dead archiver; but the archive had the edit, and lost it since."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("Locker 1 is kumquat.", type="fact")
        await hand.archive_all()
        await unsynced.redis.hset("aether:follower:place", "collection", await unsynced.archive.identity())
        await unsynced.memories.update_one({"_id": kept.id}, {"$set": {"content": "Locker 1 is marmalade."}})
        await hand.projector.apply_document(await whole_document(unsynced, kept.id))
        await unsynced.memories.delete_one({"_id": kept.id})

        reconciler = reconciler_of(unsynced)
        differences = (await reconciler.compare()).differences
        assert [one.kind for one in differences] == [Kind.HOT_NOT_DELETED]
        await reconciler.mend(differences)
        await hand.archive_all()
        assert await gone(memory, kept.id)()
        assert not await past(unsynced, kept.id)


async def whole_document(world: World, memory_id: str) -> dict[str, Any]:
    document: dict[str, Any] | None = await world.memories.find_one({"_id": memory_id})
    assert document is not None
    return document


async def test_what_is_on_its_way_to_a_new_collection_was_not_deleted_there(world: World, memory: MemoryClient) -> None:
    """The history has it and the collection has it not; but the archiver has still to write it."""
    await stored(memory, 3)
    await world.drained(memory)
    await world.stop("sync")
    await world.memories.drop()
    await apply_mongo(world.archive.database)
    await world.redis.hset("aether:follower:place", "collection", await world.archive.identity())
    missing = (await differing(world)).differences
    await rejournal(Records(world.redis, world.keys), [one.place for one in missing])

    assert [one.kind for one in (await differing(world)).differences] == [Kind.ARCHIVE_LACKS] * 3

    async with a_hand(world) as hand:
        await hand.archive_all()
        assert not (await differing(world)).differences
        await world.memories.delete_many({})
    assert [one.kind for one in (await differing(world)).differences] == [Kind.HOT_NOT_DELETED] * 3


async def test_a_deletion_between_the_archivers_two_writes_is_heard(unsynced: World) -> None:
    """The document is there and its history is not yet: the journal knows what it was."""
    async with unsynced.connect() as memory, a_hand(unsynced) as hand:
        kept = await memory.store("The locker code is kumquat.", type="fact")
        entries = await hand.take()

        await hand.projector.forget_deleted(kept.id)  # of a document that was there for a moment
        await hand.archiver.archive(entries)
        await hand.archive_all()

        with pytest.raises(NotFound):
            await memory.get(kept.id)
        assert "kumquat" not in await unsynced.everything_in_mongo()


async def test_a_follower_that_lost_its_lease_cannot_write(world: World, memory: MemoryClient) -> None:
    """It may wake up with an old change in its hands; the higher fence of its successor shuts it out."""
    kept = await memory.store("Ada prefers tea.", type="fact", durability="archived")
    document = await world.memories.find_one({"_id": kept.id})
    assert document is not None
    document["access_count"] += 7  # something that this Redis does not know
    stale, successor = projector_of(world), projector_of(world)
    stale.fence, successor.fence = 1_000, 1_001
    await raise_fences(Records(world.redis, world.keys), successor.fence)

    with pytest.raises(Fenced):
        await stale.apply_document(document)
    assert (await memory.get(kept.id)).access_count < 7

    await successor.apply_document(document)
    assert (await memory.get(kept.id)).access_count >= 7


async def test_a_dead_letter_can_be_tried_again_or_dropped(world: World, memory: MemoryClient) -> None:
    """What the model refused once may be embedded later; the letter says where it came from and why it is there."""
    world.embedder.refused = "kumquat"
    kept = await memory.store("A kumquat is a fruit.", type="fact")
    letters = DeadLetters(Records(world.redis, world.keys), world.archive, projector_of(world).apply_document)
    [letter] = await eventually(letters.list, what="a dead letter is written")
    assert (letter.group, letter.id) == ("embed", kept.id)
    assert "kumquat" not in repr(letter)

    world.embedder.refused = ""
    assert await letters.retry(letter.letter)
    await world.drained(memory)

    assert not (await memory.get(kept.id)).pending
    assert await letters.list() == []
    with pytest.raises(NotFound):
        await letters.drop(letter.letter)
