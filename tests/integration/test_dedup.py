"""Storing the same thing twice makes one memory, also after its id went to other content, or was forgotten."""

from __future__ import annotations

from memoryd import MemoryClient
from memoryd.model.results import Stored
from tests.integration.tools import caught_up, one_story
from tests.world import World

TEA, COFFEE = "Ada prefers tea.", "Ada prefers coffee."


async def moved_on(memory: MemoryClient) -> tuple[Stored, Stored]:
    """The memory whose id TEA once had, and the one that TEA has now."""
    first = await memory.store(TEA, type="fact")
    await memory.update(first.id, content=COFFEE)
    second = await memory.store(TEA, type="fact")
    assert (second.outcome, second.id != first.id) == ("stored", True)
    return first, second


async def test_a_content_that_lives_under_a_later_salt_is_not_born_again(world: World, memory: MemoryClient) -> None:
    """Its first id became free by a forget, and a second living memory of the same content took it."""
    first, second = await moved_on(memory)
    await memory.forget(first.id)

    again = await memory.store(TEA, type="fact")

    assert (again.outcome, again.id) == ("reinforced", second.id)
    await caught_up(world, memory)
    assert [one.memory.content for one in (await one_story(world)).values()] == [TEA]


async def test_a_content_that_only_the_archive_has_under_a_later_salt_comes_back(
    world: World, memory: MemoryClient
) -> None:
    """It went cold: the record is gone from Redis, and MongoDB says that it lives."""
    first, second = await moved_on(memory)
    await memory.forget(first.id, durability="archived")
    await caught_up(world, memory)
    await world.lose(world.keys.memory("semantic", memory.scope, second.id))

    again = await memory.store(TEA, type="fact")

    assert (again.outcome, again.id) == ("reinforced", second.id)


async def test_a_repeat_meets_its_request_under_a_later_salt(world: World, memory: MemoryClient) -> None:
    """Meanwhile the first id became free, and the content that the request stored became another."""
    first = await memory.store(TEA, type="fact")
    await memory.update(first.id, content=COFFEE)
    second = await memory.store(TEA, type="fact", request_id="the-same")
    await memory.update(second.id, content="Ada prefers water.")
    await memory.forget(first.id)

    again = await memory.store(TEA, type="fact", request_id="the-same")

    assert (again.id, again.replayed) == (second.id, True)


async def test_a_content_that_lives_nowhere_takes_its_own_id(world: World, memory: MemoryClient) -> None:
    """Both of its memories were forgotten; nobody has to ask the archive about that."""
    first, second = await moved_on(memory)
    await memory.forget(first.id)
    await memory.forget(second.id)
    await caught_up(world, memory)

    again = await memory.store(TEA, type="fact")

    assert (again.outcome, again.id, again.version) == ("stored", first.id, 4)
