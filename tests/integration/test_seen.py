""""Have I seen this?": a no is sure, a yes can be confirmed, and nobody sees what another scope has."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import ArchiveUnavailable, BadRequest
from memoryd.hot.seen import SeenFilters, noting
from memoryd.limits import FILTER_ERROR_RATE
from memoryd.model.scope import Scope
from tests.waiting import eventually
from tests.world import World

CONTENT = "Graz has a tea fair in May."
QUERY = "When is the tea fair?"


async def test_what_was_stored_in_any_way_is_seen_by_whoever_sees_it_and_nobody_else(world: World, memory: MemoryClient) -> None:
    """Stored, recorded, updated to, written by a person; in the session's, the agent's and the project's eyes."""
    assert not await memory.seen(CONTENT)
    await memory.store(CONTENT, session="s1")
    event = await memory.episodes.record("step", text="The kettle whistled.")
    changed = await memory.store("It was in April.", type="fact", durability="archived")
    await memory.update(changed.id, content="It is in May.")
    await memory.update(changed.id, content="It is in June.", durability="archived")
    await world.memories.update_one({"_id": changed.id}, {"$set": {"content": "It is in July."}})

    for scope, sees in (
        ({"session": "s1"}, True), ({}, True), ({"agent": ""}, True), ({"agent": "", "session": "s1"}, True),
        ({"session": "s2"}, False), ({"agent": "other"}, False), ({"project": "sales"}, False), ({"tenant": "x"}, False),
        ({"agent": "scout:s1"}, False), ({"agent": "other", "session": "s1"}, False),
    ):  # fmt: skip
        async with world.connect(**scope) as client:
            assert bool(await client.seen(f"  {CONTENT}\n")) is sees, scope
            assert bool(await client.seen(CONTENT, exact=True)) is sees, scope
    for text in ((await memory.get(event.id)).content, "It was in April.", "It is in May.", "It is in June."):
        assert await memory.seen(text)
    await eventually(lambda: memory.seen("It is in July."), what="a person's edit is seen")
    assert not await memory.seen("It is in May.", exact=True)  # it is no memory's any more
    assert (await memory.seen("It is in July.", exact=True)).ids == [changed.id]


async def test_questions_are_seen_like_contents(world: World, memory: MemoryClient) -> None:
    """By recall and for a context; with the time of the last one. What a forget looks for is no question."""
    await memory.store(CONTENT, type="fact")
    await memory.recall(QUERY, session="s1")
    await memory.working("s2").open()
    await memory.working("s2").context("Who sells tea?")
    await memory.plan_forget(query="secret tea")
    with pytest.raises(BadRequest):
        await memory.recall("limits", limit=100_000)

    assert await memory.seen_query(QUERY.upper())
    assert await memory.seen_query("Who sells tea?")
    assert not await memory.seen_query("secret tea")
    assert not await memory.seen_query("limits")
    async with world.connect(session="s1") as asker, world.connect(session="s2") as other, world.connect(agent="x") as else_:
        assert await asker.seen_query(QUERY)
        assert not await other.seen_query(QUERY)
        assert not await else_.seen_query(QUERY)
    first = await memory.seen_query(QUERY, exact=True)
    await memory.recall(QUERY)
    again = await memory.seen_query(QUERY, exact=True)
    assert first.asked_at
    assert again.asked_at
    assert again.asked_at > first.asked_at
    await memory.forget_many(session="s1")
    assert await memory.seen_query(QUERY)  # a filter cannot forget
    assert not await memory.seen_query(QUERY, exact=True)


async def test_a_forgotten_content_is_found_by_no_exact_look(world: World, memory: MemoryClient) -> None:
    """Neither while the archive has yet to hear of the forget, nor afterwards; the filter remembers, and says probably."""
    await memory.store(CONTENT, type="fact", durability="archived")
    kept = await memory.seen(CONTENT, exact=True)
    await world.stop("sync")
    await memory.forget(kept.ids[0])
    assert (await memory.seen(CONTENT)).exact is False
    assert await memory.seen(CONTENT)
    assert not await memory.seen(CONTENT, exact=True)
    await world.start("sync")
    await world.drained(memory)
    assert not await memory.seen(CONTENT, exact=True)


async def test_what_is_only_in_the_archive_is_seen_and_survives_an_emptied_redis(world: World, memory: MemoryClient) -> None:
    """Whoever brings memories back fills the filter too; without MongoDB a yes from Redis stands, and a no is not said."""
    kept = await memory.store(CONTENT, type="fact", durability="archived")
    key = world.keys.memory("semantic", memory.scope, kept.id)
    await world.redis.delete(key)
    assert (await memory.seen(CONTENT, exact=True)).ids == [kept.id]
    await world.redis.flushall()
    await eventually(lambda: seen(memory), what="the rebuilt filter has it")


async def seen(memory: MemoryClient) -> bool:
    """Whether the content is seen by a Redis that may be getting ready."""
    try:
        return bool(await memory.seen(CONTENT))
    except Exception:
        return False


async def test_without_the_archive_no_exact_no_is_said(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only MongoDB would know."""

    async def away(*_: Any) -> Any:
        raise ArchiveUnavailable("it is away")

    async with unsynced.connect() as memory:
        await memory.store(CONTENT, type="fact")
        monkeypatch.setattr("memoryd.archive.store.Archive.saying", away)
        assert await memory.seen(CONTENT, exact=True)
        with pytest.raises(ArchiveUnavailable):
            await memory.seen("Something else.", exact=True)


async def test_a_filter_grows_and_says_so_and_keeps_its_error_rate(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its capacity, by layers; measured on 20,000 texts that were never put in."""
    before = (await memory.stats()).filters["contents"]
    assert (before.items, before.layers) == (0, 0)
    monkeypatch.setattr("memoryd.hot.seen.FILTER_CAPACITY", 100)
    scope, filters = Scope("acme", "support"), SeenFilters(world.redis, world.keys)
    for command in noting(world.keys, [(scope, digest(number)) for number in range(20_000)]):
        await world.redis.execute_command(*command)  # type: ignore[no-untyped-call]

    full = (await memory.stats()).filters["contents"]
    assert 19_900 <= full.items <= 20_000
    assert full.items <= full.capacity
    assert 0.5 < full.fill <= 1
    assert full.layers > 3
    assert full.bytes > 20_000
    assert all([await filters.has_content(scope, digest(number)) for number in range(0, 20_000, 100)])
    wrong = sum([await filters.has_content(scope, digest(number)) for number in range(20_000, 24_000)])
    assert wrong <= 4_000 * FILTER_ERROR_RATE * 5
    assert (await memory.stats()).filters["questions"].error_rate == FILTER_ERROR_RATE


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


async def test_what_cannot_be_content_or_a_question_is_refused(memory: MemoryClient) -> None:
    """As by store and recall."""
    for wrong in (memory.seen(" "), memory.seen("a\0"), memory.seen_query(""), memory.seen_query("x" * 9000)):
        with pytest.raises(BadRequest):
            await wrong
