"""Whoever moves memories between short and long dies at each point of a move: all of it stays readable, the next sweep ends it."""

from __future__ import annotations

import asyncio

import pytest

from memoryd import MemoryClient
from memoryd.hot.tiers import HotTiers
from memoryd.lifecycle.survey import Survey
from memoryd.lifecycle.tiering import Tiering
from memoryd.whole import Wholes
from tests.integration.test_compression_faults import Trap, given_up
from tests.integration.test_tiers import TALK, demoted, fields_of, remember, said, tiering, unused
from tests.integration.tools import caught_up, dead_letters
from tests.waiting import PATIENCE_SECONDS
from tests.world import World

DOWN = (
    ("the uses are counted", HotTiers, "count_uses", False),
    ("they were looked at", Survey, "_look", False),
    ("nothing has moved", HotTiers, "move", True),
    ("they are on their way", HotTiers, "move", False),
    ("the archive was seen to have them", HotTiers, "lighten", True),
    ("some are light", HotTiers, "lighten", False),
)
UP = (
    ("nothing was brought", Wholes, "bring", True),
    ("their contents are back", Wholes, "bring", False),
    ("they are on their way", HotTiers, "move", False),
)


async def killed(keeper: Tiering, trap: Trap) -> None:
    """A sweep that ends where it stands; what it held of a lease lapses, here at once."""
    running = asyncio.create_task(keeper.sweep())
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_SECONDS)
    await given_up(running)


async def told(memory: MemoryClient, ids: list[str]) -> list[tuple[object, ...]]:
    """What the memories say to a reader now."""
    return [said(await memory.get(one)) for one in ids]


@pytest.mark.parametrize(("what", "owner", "name", "first"), DOWN, ids=[one[0] for one in DOWN])
async def test_a_way_down_that_is_cut_off_is_ended_by_the_next_sweep(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, what: str, owner: type, name: str, first: bool
) -> None:
    """One version more in the end, however often it was begun."""
    ids = await remember(memory)
    await caught_up(world, memory)
    were = await told(memory, ids)
    versions = [(await memory.get(one)).version for one in ids]
    await unused(world)
    with monkeypatch.context() as patch:
        await killed(tiering(world), Trap(patch, owner, name, first=first))
    assert await told(memory, ids) == were, what
    assert {hit.memory.id for hit in await memory.recall(TALK[0])} == set(ids)
    await caught_up(world, memory)  # one sweep ends what the archive has by then
    await unused(world)
    await world.redis.delete("aether:tiers:lease")
    assert await tiering(world).sweep() is not None
    assert not any(["content" in await fields_of(world, one) for one in ids]), what
    assert await told(memory, ids) == were
    assert [(await memory.get(one)).version for one in ids] == [one + 1 for one in versions]
    assert not await dead_letters(world)


@pytest.mark.parametrize(("what", "owner", "name", "first"), UP, ids=[one[0] for one in UP])
async def test_a_way_up_that_is_cut_off_is_ended_by_the_next_sweep(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, what: str, owner: type, name: str, first: bool
) -> None:
    """Nothing is lost between the two tiers."""
    ids = await remember(memory, TALK[:3])
    were = list(map(said, (await demoted(world, memory, ids)).values()))
    assert await told(memory, ids) == were  # which uses them
    with monkeypatch.context() as patch:
        await killed(tiering(world, days=0), Trap(patch, owner, name, first=first))
    assert await told(memory, ids) == were, what
    await world.redis.delete("aether:tiers:lease")
    assert await tiering(world, days=0).sweep() is not None
    assert {(await memory.get(one)).tier for one in ids} == {"short"}, what
    assert all(["content" in await fields_of(world, one) for one in ids])
    assert await told(memory, ids) == were
    assert not await dead_letters(world)


async def test_two_sweeps_at_once_are_one(world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fleet's daemons one sweeps; another one goes on where its lease has lapsed."""
    ids = await remember(memory, TALK[:2])
    await caught_up(world, memory)
    await unused(world)
    with monkeypatch.context() as patch:
        trap = Trap(patch, HotTiers, "move", first=True)
        running = asyncio.create_task(tiering(world).sweep())
        await asyncio.wait_for(trap.reached.wait(), PATIENCE_SECONDS)
        assert await tiering(world).sweep() is None
        await given_up(running)
    done = await tiering(world).sweep()  # who was cancelled has given it back
    assert done is not None
    assert done.moved == {"aged": len(ids)}
