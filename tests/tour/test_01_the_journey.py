"""Read these in order: the life of one memory, on real servers. Nothing here is mocked."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from memoryd import MemoryClient
from memoryd.errors import Conflict, NotFound
from tests.waiting import eventually
from tests.world import World


async def test_what_is_stored_is_there_at_once(memory: MemoryClient) -> None:
    """`store` answers after one atomic step in Redis; `get` sees it in the next breath."""
    kept = await memory.store(
        "Ada prefers tea to coffee.", type="fact", importance=0.8, session="s1", metadata={"source": "chat"}
    )

    one = await memory.get(kept.id)

    assert one.content == "Ada prefers tea to coffee."
    assert (one.version, one.session_id, one.metadata) == (1, "s1", {"source": "chat"})


async def test_it_is_found_by_its_words_before_it_has_a_vector(world: World) -> None:
    """No model stands between a write and its acknowledgement, and none is needed to find it by its words."""
    world.embedder.away = True
    async with world.connect() as memory:
        kept = await memory.store("Ada paints lighthouses on Sundays.")

        [hit] = await memory.recall("Which lighthouses did Ada paint?")

        assert hit.memory.id == kept.id
        assert hit.memory.pending


async def test_its_vector_follows(world: World, memory: MemoryClient) -> None:
    """The embedding follower reads the journal; then the memory is found by meaning too."""
    kept = await memory.store("Ada paints lighthouses on Sundays.")

    stats = await world.drained(memory)
    [hit] = await memory.recall("Ada paints lighthouses on Sundays.")

    assert stats.pending == 0
    assert hit.memory.id == kept.id
    assert hit.memory.embedding_model == world.embedder.model
    assert hit.score == pytest.approx(sum(part.contribution for part in hit.why.values()))
    assert hit.why["meaning"].value > 0
    assert hit.why["words"].value > 0


async def test_the_archive_keeps_every_version(world: World, memory: MemoryClient) -> None:
    """MongoDB holds what is in `memories`, and all that ever was in `versions`."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    await memory.update(kept.id, content="Ada now prefers coffee.", if_version=1, durability="archived")

    current = await world.memories.find_one({"_id": kept.id})
    past = [one["content"] async for one in world.versions.find({"memory_id": kept.id}).sort("version", 1)]

    assert current is not None
    assert (current["content"], current["version"]) == ("Ada now prefers coffee.", 2)
    assert past == ["Ada prefers tea.", "Ada now prefers coffee."]


async def test_the_same_fact_twice_is_one_memory(memory: MemoryClient) -> None:
    """Dedup is part of the atomic step: the second store reinforces the first memory."""
    first = await memory.store("Ada prefers tea.", type="fact")
    second = await memory.store(" Ada  prefers tea. ", type="fact")

    assert (first.outcome, second.outcome) == ("stored", "reinforced")
    assert first.id == second.id
    assert (await memory.get(first.id)).access_count == 1


async def test_two_equal_events_are_two_memories(memory: MemoryClient) -> None:
    """What happened twice happened twice."""
    first = await memory.store("The build failed.", type="episodic")
    second = await memory.store("The build failed.", type="episodic")

    assert first.id != second.id


async def test_an_update_from_the_past_is_refused(memory: MemoryClient) -> None:
    """A conflict says the current version, and changes nothing."""
    kept = await memory.store("Ada prefers tea.", type="fact")
    await memory.update(kept.id, content="Ada prefers coffee.")

    with pytest.raises(Conflict) as conflict:
        await memory.update(kept.id, content="Ada prefers water.", if_version=1)

    assert conflict.value.current_version == 2
    assert (await memory.get(kept.id)).content == "Ada prefers coffee."


async def test_a_person_edits_it_in_mongodb_and_agents_see_it(world: World, memory: MemoryClient) -> None:
    """The follower gives a foreign edit a version, brings it to Redis, and its words are found."""
    kept = await memory.store("Ada lives in Porto.", type="fact", durability="archived")

    await world.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})

    async def followed() -> bool:
        return (await memory.get(kept.id)).content == "Ada lives in Lisbon."

    await eventually(followed, what="the edit reaches Redis")
    [hit] = await memory.recall("Who lives in Lisbon?")
    assert (hit.memory.id, hit.memory.version) == (kept.id, 2)


async def test_what_is_forgotten_is_nowhere(world: World, memory: MemoryClient) -> None:
    """A tombstone remains, with id, scope and time; of the content, nothing in any store."""
    kept = await memory.store("Ada's locker code is kumquat-4711.", type="fact")
    await world.drained(memory)

    receipt = await memory.forget(kept.id, durability="archived")
    await world.drained(memory)

    assert receipt.outcome == "forgotten"
    with pytest.raises(NotFound):
        await memory.get(kept.id)
    assert not (await memory.recall("What is Ada's locker code?")).hits
    assert b"kumquat" not in await world.everything_in_redis()
    assert "kumquat" not in await world.everything_in_mongo()


async def test_agents_hear_of_changes(memory: MemoryClient) -> None:
    """Events are hints: they carry ids and versions, never text. Each carries the place to go on from."""
    place = await memory.place()
    kept = await memory.store("Ada prefers tea.", type="fact")
    async with aclosing(memory.events(after=place)) as events:
        stored = await anext(events)
        await memory.forget(kept.id)
        while (event := await anext(events)).op != "forgotten":
            pass

    assert (stored.op, stored.id, stored.version) == ("stored", kept.id, 1)
    assert event.version == 2


async def test_an_agent_that_was_away_hears_what_it_missed(world: World, memory: MemoryClient) -> None:
    """It has saved the place of the last event that it handled, and comes back with it, perhaps in another process."""
    place = await memory.place()
    for drink in ("tea", "coffee", "water"):
        await memory.store(f"Ada prefers {drink}.", type="fact")

    heard: list[str] = []
    while len(heard) < 3:
        async with world.connect() as again, aclosing(again.events(after=place)) as events:
            event = await anext(events)
            place = event.place
        heard += [event.id] if event.op == "stored" else []

    assert len(set(heard)) == 3
