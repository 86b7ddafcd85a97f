"""What the words of a recall count for."""

from __future__ import annotations

from memoryd import MemoryClient
from tests.world import World

LONG = (
    "Ada: After the long walk we sat down by the harbour, and there she told me at length about the walnuts, which she "
    "has not been able to eat since she was a child, not even a little piece of one in a cake."
)


async def test_a_telling_word_beats_a_common_one(world: World) -> None:
    """Each embedded memory was written twice, so a word of every memory is counted more often than there are memories.

    A scorer whose rarity underflows then takes the common word for the rarest, and the shortest memory wins.
    """
    async with world.connect() as memory:
        await store_chatter(memory)
        told = await memory.store(LONG, type="episodic")
        await world.drained(memory)

        hits = (await memory.recall("Can Ada eat walnuts?", limit=5)).hits

    by_words = sorted(hits, key=lambda hit: -hit.why["words"].value)
    assert by_words[0].memory.id == told.id
    assert by_words[1].why["words"].value < by_words[0].why["words"].value / 2


async def store_chatter(memory: MemoryClient) -> None:
    """Short memories that share one common word."""
    said = ["Ada: Tell me.", "Ada: In this rain?", "Ada: Which trees?", "Ada: And then?", "Ada: I did.", "Ada: Never!"]
    await memory.store_many([{"content": one, "type": "episodic"} for one in said])
