"""What the words of a recall count for."""

from __future__ import annotations

from memoryd import MemoryClient
from tests.world import World


async def test_a_telling_word_beats_a_short_memory(world: World) -> None:
    """The score is of the words: what all memories of a scope share must not add to it.

    RediSearch scores tags like words, and a tag that every memory has with an enormous rarity; then the shortest memory
    that holds any word of the question would win, however common that word is.
    """
    world.embedder.away = True  # words only
    async with world.connect() as memory:
        await store_chatter(memory)
        told = await memory.store(
            "Ada: After the long walk we sat down by the harbour, and there she told me at length about the walnuts, "
            "which she has not been able to eat since she was a child, not even a little piece of one in a cake.",
            type="episodic",
        )

        hits = (await memory.recall("Can Ada eat walnuts?", limit=5)).hits

    assert hits[0].memory.id == told.id
    assert len(hits) > 1, "the short ones are found too, by the common word"


async def test_another_projects_memories_do_not_move_the_order(world: World) -> None:
    """The same memories in an empty and in a crowded Redis give the same first hit."""
    world.embedder.away = True
    async with world.connect() as memory, world.connect(project="crowd") as crowd:
        await store_chatter(memory)
        kept = await memory.store("Ada: The walnuts in the cellar are for the winter.", type="episodic")
        before = (await memory.recall("Ada's walnuts", limit=3)).hits
        for _ in range(4):
            await store_chatter(crowd)
        after = (await memory.recall("Ada's walnuts", limit=3)).hits

    assert before[0].memory.id == after[0].memory.id == kept.id


async def store_chatter(memory: MemoryClient) -> None:
    """Short memories that share one common word."""
    said = ["Ada: Tell me.", "Ada: In this rain?", "Ada: Which trees?", "Ada: And then?", "Ada: I did.", "Ada: Never!"]
    await memory.store_many([{"content": one, "type": "episodic"} for one in said])
