"""A memory's earlier contents leave nothing in the cache of vectors either."""

from __future__ import annotations

import pytest

from memoryd.model.ids import hash_content
from tests.waiting import eventually
from tests.world import World

FIRST, SECOND = "Ada's locker code is kumquat-4711.", "Ada's locker code is persimmon-0815."


async def test_an_update_drops_the_vector_of_the_old_words(world: World) -> None:
    """The cache is keyed by content: what no memory says any more is not kept."""
    async with world.connect() as memory:
        kept = await memory.store(FIRST, type="fact")
        await world.drained(memory)
        assert await cached(world, FIRST), "or the test proves nothing"
        await memory.update(kept.id, content=SECOND)
        await world.drained(memory)

    assert not await cached(world, FIRST)
    assert await cached(world, SECOND)


async def test_an_edit_in_mongodb_drops_the_vector_of_the_old_words(world: World) -> None:
    """The follower journals the edit, so the embedder hears of it."""
    async with world.connect() as memory:
        kept = await memory.store(FIRST, type="fact")
        await world.drained(memory)
        await world.memories.update_one({"_id": kept.id}, {"$set": {"content": SECOND}})

        await eventually(lambda: cached(world, SECOND), what="the edit is embedded")
        await world.drained(memory)

    assert not await cached(world, FIRST)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_forget_drops_the_vectors_of_every_content(world: World, at_once: bool) -> None:
    """Also when the forget comes before the embedder has seen the update, whose journal entry it removes."""
    async with world.connect() as memory:
        kept = await memory.store(FIRST, type="fact")
        await world.drained(memory)
        if at_once:
            world.embedder.away = True
        await memory.update(kept.id, content=SECOND)
        if not at_once:
            await world.drained(memory)
        await memory.forget(kept.id)
        world.embedder.away = False
        await world.drained(memory)

    assert not await cached(world, FIRST)
    assert not await cached(world, SECOND)


async def cached(world: World, content: str) -> bool:
    """Whether any key is named after this content's hash."""
    return [key async for key in world.redis.scan_iter(f"*{hash_content(content)}*")] != []
