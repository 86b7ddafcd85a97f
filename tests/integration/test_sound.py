"""Records and documents that no memoryd writes: each is found, and mended from the store that has the memory whole."""

from __future__ import annotations

from typing import Any

from memoryd import MemoryClient
from memoryd.keys import Keys
from memoryd_sync.reconcile import Reconciler
from memoryd_sync.sound import Flaw, Soundness, Unsound
from tests.integration.commands import Commands, run
from tests.integration.test_tiers import records_of
from tests.integration.tools import SCOPE, a_hand, archived, caught_up, hot, one_story
from tests.waiting import eventually
from tests.world import World

OTHER = "Ben has painted the garage green."


async def look(world: World, *, mend: bool = False) -> tuple[list[Unsound], list[Unsound]]:
    """What is unsound, and what of it is left after a mend."""
    async with a_hand(world) as hand:
        tools = Soundness(records_of(world), world.archive, hand.projector)
        found = await tools.look()
        return found, await tools.mend(found) if mend else []


async def a_field_of_another_form(redis: Any, key: str) -> Flaw:
    await redis.hset(key, "importance", "rather")
    return Flaw.NO_MEMORY


async def a_missing_field(redis: Any, key: str) -> Flaw:
    await redis.hdel(key, "created_at")
    return Flaw.NO_MEMORY


async def another_text_under_the_old_hash(redis: Any, key: str) -> Flaw:
    await redis.hset(key, "content", "Ada hates tea.")
    return Flaw.NO_MEMORY


async def something_else_under_the_key(redis: Any, key: str) -> Flaw:
    await redis.delete(key)
    await redis.set(key, "a string", ex=3600)
    return Flaw.NO_MEMORY


async def a_copy_under_another_key(redis: Any, key: str) -> Flaw:
    await redis.copy(key, key.replace(":support:", ":sales:"))
    return Flaw.STRAY


async def a_vector_of_another_length(redis: Any, key: str) -> Flaw:
    await redis.hset(key, "embedding", b"\0" * 12)
    return Flaw.UNINDEXED


async def a_vector_that_nobody_reads(redis: Any, key: str) -> Flaw:
    await redis.hset(key, mapping={"embedding2": b"\0" * 128, "embedding_model2": "another"})
    return Flaw.VECTOR


async def a_vector_of_another_model(redis: Any, key: str) -> Flaw:
    await redis.hset(key, "embedding_model", "another")
    return Flaw.VECTOR


async def a_vector_that_is_gone(redis: Any, key: str) -> Flaw:
    await redis.hdel(key, "embedding", "embedding_model")
    return Flaw.VECTOR


HARMS = (
    a_field_of_another_form, a_missing_field, another_text_under_the_old_hash, something_else_under_the_key,
    a_copy_under_another_key, a_vector_of_another_length, a_vector_that_nobody_reads, a_vector_of_another_model,
    a_vector_that_is_gone,
)  # fmt: skip


async def test_unsound_records_are_found_and_mended_from_the_archive(world: World, memory: MemoryClient) -> None:
    """Each of them, and no other; a comparison of both stores passes by them, and afterwards all is as it was."""
    texts = {harm: f"Ada has seen {harm.__name__}." for harm in HARMS}
    ids = {harm: (await memory.store(text, type="fact", wait="searchable")).id for harm, text in texts.items()}
    await memory.store(OTHER, type="fact", wait="searchable")
    await caught_up(world, memory)
    before = await one_story(world)
    assert await look(world) == ([], [])
    expected = {(ids[harm], await harm(world.redis, _key(world.keys, ids[harm]))) for harm in HARMS}

    async with a_hand(world) as hand:
        await Reconciler(records_of(world), world.archive, hand.projector).compare()
    found, left = await look(world, mend=True)
    assert {(one.memory_id, one.flaw) for one in found} == expected
    assert (len(found), left) == (len(HARMS), [])
    await caught_up(world, memory)
    assert await look(world) == ([], [])
    after = await one_story(world)
    assert {key: one.memory.content for key, one in after.items()} == {key: one.memory.content for key, one in before.items()}
    for harm, text in texts.items():
        assert (await memory.recall(text)).hits[0].memory.id == ids[harm]


async def test_what_no_other_store_has_is_left_and_said(unsynced: World) -> None:
    """A broken record may be all that there is of a memory: nobody removes it."""
    async with unsynced.connect() as memory:
        kept = await memory.store("Ada prefers tea.", type="fact", wait="searchable")
        await unsynced.redis.hset(_key(unsynced.keys, kept.id), "importance", "rather")
        found, left = await look(unsynced, mend=True)
    assert [one.flaw for one in found] == [Flaw.NO_MEMORY]
    assert left == found
    assert await unsynced.redis.hget(_key(unsynced.keys, kept.id), "content") == b"Ada prefers tea."


async def test_the_commands_find_and_mend_a_document_that_does_not_fit(world: World, memory: MemoryClient) -> None:
    """Whoever goes past the validator leaves something that a lost Redis could not be filled from."""
    memoryd = Commands(world.settings)
    kept = await memory.store("Ada prefers tea.", type="fact", wait="searchable")
    await caught_up(world, memory)
    past_it = world.memories.database.get_collection("memories")
    await past_it.update_one({"_id": kept.id}, {"$set": {"importance": "rather"}}, bypass_document_validation=True)
    said = await run(("sync", "verify", "--json"), memoryd.environment)
    assert (said.code, said.json["unsound"]) == (1, [{"id": kept.id, "flaw": Flaw.DOCUMENT}])

    mended = (await memoryd("sync", "repair", "--json")).json
    assert mended["unsound"] == [{"id": kept.id, "flaw": Flaw.DOCUMENT}]
    assert mended["left"] == []

    async def whole() -> bool:
        return (await archived(world)).keys() == (await hot(world)).keys() and await look(world) == ([], [])

    await eventually(whole, what="the document is one again")


def _key(keys: Keys, memory_id: str) -> str:
    return keys.memory("semantic", SCOPE, memory_id)
