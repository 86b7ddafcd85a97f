"""A forget does not wait until kept tool results and scratchpads pass by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from memoryd import MemoryClient
from tests.world import World

SECRET = "Ada's locker code is kumquat."


async def keep(memory: MemoryClient) -> None:
    """The secret as a tool's result and on a pad."""

    async def search(given: str) -> str:
        return f"{given}: {SECRET}"

    await memory.tools.cached("search", "the code", search)
    await memory.scratch.set("note", SECRET)


async def kept(memory: MemoryClient) -> tuple[int, bool]:
    """How many tool results there are, and whether the pad has the secret."""
    return (await memory.tools.counts()).entries, await memory.scratch.get("note") == SECRET


@pytest.mark.parametrize("selection", [{"session": "s1"}, {"everything": True}, {"words": "kumquat"}])
async def test_a_forget_by_place_or_words_takes_them(world: World, selection: dict[str, Any]) -> None:
    """Of the scope's agents, and of nobody else; the plan has counted what the run removes."""
    async with world.connect(session="s1") as memory, world.connect(agent="other", session="s1") as other:
        await keep(memory)
        await keep(other)
        async with world.connect() as agent:
            plan = await agent.plan_forget(**selection)
            receipt = await agent.forget_many(**selection)

        assert await kept(memory) == (0, False)
        assert await kept(other) == (1, True)
    assert {"tool_results": 1, "scratchpads": 1}.items() <= plan.removes["redis"].items()
    assert {"tool_results": 1, "scratchpads": 1}.items() <= receipt.removed["redis"].items()
    assert b"kumquat" not in b"".join(await _of_agent(world, "scout"))


async def test_a_forget_by_what_only_memories_have_leaves_them(world: World) -> None:
    """A tag says nothing of a pad, and a pad without the words stays."""
    async with world.connect() as memory:
        await keep(memory)
        await memory.forget_many(tags=["drinks"])
        assert await kept(memory) == (1, True)
        await memory.forget_many(words="persimmon")
        assert await kept(memory) == (0, True)


async def _of_agent(world: World, agent: str) -> list[bytes]:
    """What Redis holds under keys that name the agent."""
    found = []
    async for key in world.redis.scan_iter(match=f"*:{agent}*", count=1000):
        found.append(await world.redis.dump(key) or b"")
        if await world.redis.type(key) == b"ReJSON-RL":
            found.append(await world.redis.execute_command("JSON.GET", key))  # type: ignore[no-untyped-call]
    return found
