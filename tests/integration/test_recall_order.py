"""What a recall finds: in an order that does not depend on how much is asked for, and all of it, or it says so."""

from __future__ import annotations

import random
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import Overloaded
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


async def test_a_search_that_redis_cuts_short_says_so(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis gives what it has found until its time is up, as if that were all. The newest memories are looked at last."""
    fields: Any = {"tenant": "acme", "project": "support", "agent_id": "scout", "terms": "harbour", "pending": "1"}
    async with world.redis.pipeline(transaction=False) as pipe:
        for number in range(8000):
            pipe.hset(f"aether:memory:semantic:{{00}}:acme:support:mem_{number:032x}", mapping=fields)
        await pipe.execute()
    kept = await memory.store("Ada tells of a walnut.", type="fact")
    assert kept.id in [hit.memory.id for hit in await memory.recall(WORDS + " Ada", limit=1)]

    monkeypatch.setattr("memoryd.hot.clauses.SEARCH_TIMEOUT_SECONDS", 0.001)

    assert "the search by words took too long" in (await memory.recall(WORDS + " Ada")).degraded
    with pytest.raises(Overloaded):
        await memory.stats()
