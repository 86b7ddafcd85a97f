"""A question that is asked again is answered from memory only as long as nothing has changed in its project."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import memoryd.hot.query_cache
from memoryd import MemoryClient
from memoryd.hot.pages import Order
from memoryd.hot.query_cache import QueryCache
from memoryd.hot.search import Search
from memoryd.model.results import Recalled
from memoryd.model.scope import Scope
from tests.waiting import eventually
from tests.world import World

QUERY = "What does Ada drink?"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Scope]:
    """The scopes of all searches by words."""
    searched: list[Scope] = []
    by_words = Search.by_words

    async def noted(self: Search, scope: Scope, *args: Any, **details: Any) -> Any:
        searched.append(scope)
        return await by_words(self, scope, *args, **details)

    monkeypatch.setattr(Search, "by_words", noted)
    return searched


def shown(found: Recalled) -> list[tuple[str, float]]:
    return [(hit.memory.content, hit.score) for hit in found]


async def test_the_third_time_nothing_is_searched_and_the_answer_is_the_same(
    world: World, memory: MemoryClient, searches: list[Scope]
) -> None:
    """The second time it is known to be asked again. Another limit, filter or scope is another question."""
    await memory.store("Ada drinks tea.", type="fact")
    await memory.store("Ada paints.", type="fact")
    await world.drained(memory)
    answers = [shown(await memory.recall(QUERY)) for _ in range(4)]
    assert len(answers[0]) == 2
    assert answers == [answers[0]] * 4
    assert len(searches) == 2
    assert (await memory.recall(QUERY, types=["episodic"])).hits == []
    assert len((await memory.recall(QUERY, limit=1)).hits) == 1
    async with world.connect(agent="ada") as other:
        assert [(await other.recall(QUERY)).hits for _ in range(3)] == [[]] * 3
    assert len(searches) == 2 + 1 + 1 + 2


Change = Callable[[World, MemoryClient, str], Awaitable[Any]]


async def stored(world: World, memory: MemoryClient, _: str) -> None:
    await memory.store("Ada drinks cocoa.", type="fact")


async def updated(world: World, memory: MemoryClient, memory_id: str) -> None:
    await memory.update(memory_id, content="Ada sleeps.")


async def forgotten(world: World, memory: MemoryClient, memory_id: str) -> None:
    await memory.forget(memory_id)


async def judged(world: World, memory: MemoryClient, memory_id: str) -> None:
    found = await memory.recall("Ada drinks tea")
    await memory.feedback(found.recall_id, useless=[memory_id])


async def shared_by_another(world: World, memory: MemoryClient, _: str) -> None:
    async with world.connect(agent="ada") as other:
        kept = await other.store("Ada drinks cocoa.", type="fact")
        await other.share(kept.id, "scout")


async def edited_in_mongodb(world: World, memory: MemoryClient, memory_id: str) -> None:
    await world.memories.update_one({"_id": memory_id}, {"$set": {"content": "Ada sleeps."}})

    async def followed() -> bool:
        return (await memory.get(memory_id)).version == 2

    await eventually(followed, what="the edit has come")


@pytest.mark.parametrize("change", [stored, updated, forgotten, judged, shared_by_another, edited_in_mongodb])
async def test_whatever_changes_the_answer_is_seen_in_the_next_breath(
    world: World, memory: MemoryClient, searches: list[Scope], change: Change
) -> None:
    """It is as if nothing had been kept."""
    tea = await memory.store("Ada drinks tea.", type="fact")
    await memory.store("Ada paints.", type="fact")
    await world.drained(memory)
    for _ in range(3):
        before = shown(await memory.recall(QUERY))
    await change(world, memory, tea.id)
    count = len(searches)
    after = await memory.recall(QUERY)
    assert shown(after) != before
    assert len(searches) == count + 1
    await world.drained(memory)
    assert shown(await memory.recall(QUERY)) == shown(await memory.recall(QUERY, deadline_ms=60_000))  # never asked before


async def test_a_deep_question_is_searched_for_each_time(world: World, memory: MemoryClient, searches: list[Scope]) -> None:
    """What is only in the archive may be changed there, and no event of Redis tells of it."""
    await memory.store("Ada drinks tea.", type="fact")
    await world.drained(memory)
    for _ in range(3):
        await memory.recall(QUERY, deep=True)
    assert len(searches) == 3


async def test_what_another_project_does_is_no_reason_to_search_again(
    world: World, memory: MemoryClient, searches: list[Scope]
) -> None:
    """The state that is compared is the project's own."""
    await memory.store("Ada drinks tea.", type="fact")
    await world.drained(memory)
    for _ in range(2):
        await memory.recall(QUERY)
    async with world.connect(project="other") as stranger:
        await stranger.store("Ada drinks cocoa.", type="fact")
        await world.drained(stranger)
    await memory.recall(QUERY)
    assert len(searches) == 2


async def test_an_old_order_and_the_questions_of_long_ago_are_let_go(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By age, by number; and what is not whole is not kept."""
    asked: list[str] = []

    async def make() -> Any:
        asked.append("")
        return Order("", [], [], "", degraded, [])

    cache, scope, degraded = QueryCache(world.redis, world.keys), memory.scope, ""
    for _ in range(3):
        await cache.order(scope, "one", make)
    assert len(asked) == 2
    monkeypatch.setattr(memoryd.hot.query_cache, "QUERY_CACHE_SECONDS", 0)
    await cache.order(scope, "one", make)
    assert len(asked) == 3
    monkeypatch.setattr(memoryd.hot.query_cache, "QUERY_CACHE_SECONDS", 60)
    monkeypatch.setattr(memoryd.hot.query_cache, "QUERY_CACHE_MAX", 1)
    await cache.order(scope, "another", make)
    assert len(cache._known) == 1
    degraded = "the embedding model is away"
    for _ in range(3):
        await cache.order(scope, "another", make)
    assert len(asked) == 7
