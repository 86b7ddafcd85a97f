"""The order of what a recall finds."""

from __future__ import annotations

import random

from memoryd import MemoryClient
from tests.world import World

WORDS = "harbour lighthouse walnut cake sail kite rope anchor gull wind sand shell tide boat net star moon rain"


async def test_the_first_hits_do_not_depend_on_how_many_are_asked_for(world: World, memory: MemoryClient) -> None:
    """A model that reads the first five must not get others than one that reads the first twenty."""
    chance = random.Random(7)
    told = [" ".join(chance.choices(WORDS.split(), k=chance.randint(3, 9))) for _ in range(240)]
    await memory.store_many(
        [{"content": f"{one} {number}", "type": "episodic"} for number, one in enumerate(told)], wait="searchable"
    )
    for limits in ((50, 30, 20, 10, 5, 1), (200, 100, 51)):
        found = [[hit.memory.id for hit in await memory.recall("harbour walnut rain", limit=one)] for one in limits]
        for shorter in found:
            assert shorter == found[0][: len(shorter)]
        assert [len(one) for one in found] == list(limits)
