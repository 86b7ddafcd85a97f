"""Scope: nothing that is stored in one place is ever seen, changed, forgotten, counted or heard of from another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from memoryd import MemoryClient, storing
from memoryd.errors import BadRequest, NotFound
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from tests.waiting import eventually
from tests.wire import goes_on
from tests.world import World

# Each differs from another one by as little as possible: a part left out, a separator moved, case, a space, an encoding.
SCOPES = [
    Scope("acme", "support"),
    Scope("acme", "support", "scout"),
    Scope("acme", "support", "scout", "s1"),
    Scope("acme", "support", "scout", "s2"),
    Scope("acme", "support", "scout", "s1,s2"),
    Scope("acme", "support", "scout", "S1"),
    Scope("acme", "support", "", "s1"),
    Scope("acme", "support", "other", "s1"),
    Scope("acme", "support", "scout "),
    Scope("acme", "support", "Scout"),
    Scope("acme", "support", "scout,other"),
    Scope("acme", "support", "*"),
    Scope("acme", "support", "scou*"),
    Scope("acme", "Support", "scout", "s1"),
    Scope("Acme", "support", "scout", "s1"),
    Scope("acme ", "support", "scout", "s1"),
    Scope("a:b", "c", "scout"),
    Scope("a", "b:c", "scout"),
    Scope("a%3Ab", "c", "scout"),
    Scope("a", "b", "c:scout"),
    Scope("*", "*", "*", "*"),
    Scope("acme|a", "support|b", "scout|other"),
    Scope("ä", "p"),
    Scope("a\u0308", "p"),
]  # fmt: skip


@pytest.fixture
async def clients(world: World) -> AsyncIterator[dict[Scope, MemoryClient]]:
    """A client in every scope."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [world.connect(tenant=s.tenant, project=s.project, agent=s.agent, session=s.session) for s in SCOPES]
        yield {client.scope: await stack.enter_async_context(client) for client in opened}


async def stored_in_each(clients: dict[Scope, MemoryClient]) -> dict[Scope, str]:
    """The id of a memory of each scope, all with the same content."""
    kept = await asyncio.gather(*(client.store("The vault opens at nine.", type="fact") for client in clients.values()))
    return {scope: one.id for scope, one in zip(clients, kept, strict=True)}


async def test_no_scope_sees_into_another(world: World, clients: dict[Scope, MemoryClient]) -> None:
    """By no verb: get, recall and stats show what lies inside the scope, and exactly that."""
    ids = await stored_in_each(clients)
    async with world.connect() as anyone:
        await world.drained(anyone)

    assert len(set(ids.values())) == len(SCOPES)
    for reader, client in clients.items():
        inside = {memory_id for owner, memory_id in ids.items() if reader.holds(owner)}
        got = await asyncio.gather(*(client.get(one) for one in ids.values()), return_exceptions=True)
        assert {one.id for one in got if not isinstance(one, BaseException)} == inside
        assert all(isinstance(one, NotFound) for one in got if isinstance(one, BaseException))
        for query in ("The vault opens at nine.", "vault", "nothing of the kind"):
            assert {hit.memory.id for hit in await client.recall(query, limit=200)} <= inside
        assert {hit.memory.id for hit in await client.recall("vault", limit=200)} == inside
        stats = await client.stats()
        assert (stats.memories, stats.archive.memories) == (len(inside), len(inside)), reader
        assert stats.by_type == {"fact": len(inside)}
    await goes_on(world)


async def test_no_scope_reaches_into_another(world: World, clients: dict[Scope, MemoryClient]) -> None:
    """Whoever cannot see a memory can neither change nor forget it, also not once it is forgotten."""
    ids = await stored_in_each(clients)
    outside = [(client, ids[owner]) for reader, client in clients.items() for owner in ids if not reader.holds(owner)]

    async def attack(*tries: Awaitable[Any]) -> None:
        few = asyncio.Semaphore(32)  # all at once would wait for MongoDB's connections longer than a request may

        async def one(a_try: Awaitable[Any]) -> Any:
            async with few:
                return await a_try

        for answer in await asyncio.gather(*map(one, tries), return_exceptions=True):
            assert isinstance(answer, NotFound), answer

    await attack(*(client.update(memory_id, content="changed") for client, memory_id in outside))
    await attack(*(client.forget(memory_id) for client, memory_id in outside))
    for owner, memory_id in ids.items():
        one = await clients[owner].get(memory_id)
        assert (one.content, one.version, one.scope) == ("The vault opens at nine.", 1, owner)
        assert (await clients[owner].forget(memory_id)).outcome == "forgotten"
    # Neither does a tombstone tell anybody else that there was something.
    await attack(*(client.forget(memory_id) for client, memory_id in outside[::4]))
    for owner, memory_id in ids.items():
        assert (await clients[owner].forget(memory_id)).outcome == "already"
    await goes_on(world)


async def test_no_scope_hears_of_another(world: World, clients: dict[Scope, MemoryClient]) -> None:
    """Events reach those who may see the memory: all of them, and nobody else."""
    heard: dict[Scope, set[str]] = {scope: set() for scope in clients}

    async def listen(client: MemoryClient) -> None:
        async for event in client.events():
            heard[client.scope].add(event.id)

    before = await subscriptions(world)

    async def everybody() -> bool:
        return await subscriptions(world) >= before + len(clients)

    tasks = [asyncio.create_task(listen(client)) for client in clients.values()]
    try:
        await eventually(everybody, what="everybody listens")
        ids = await stored_in_each(clients)
        wanted = {reader: {ids[owner] for owner in ids if reader.holds(owner)} for reader in clients}
        await eventually(lambda: heard == wanted, what="everybody has heard what they may hear")
        for owner, memory_id in ids.items():
            await clients[owner].forget(memory_id)
        async with world.connect() as anyone:
            await world.drained(anyone)
        assert heard == wanted
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def subscriptions(world: World) -> int:
    """How many channels and patterns all connections together listen to."""
    return sum(int(one["sub"]) + int(one["psub"]) for one in await world.redis.client_list())


async def test_a_request_cannot_leave_the_session_of_its_scope(world: World) -> None:
    """A session in the arguments narrows; it never replaces the one that the scope is fixed to."""
    async with world.connect(session="s1") as inner, world.connect() as agent:
        kept = await agent.store("In the second session.", session="s2")
        with pytest.raises(BadRequest):
            await inner.recall("session", session="s2")
        with pytest.raises(BadRequest):
            await inner.store("Into the second session.", session="s2")
        with pytest.raises(NotFound):
            await inner.get(kept.id)
        assert (await inner.get((await inner.store("Here.")).id)).session_id == "s1"
        assert (await inner.get((await inner.store("Here too.", session="s1")).id)).session_id == "s1"
        assert (await agent.stats()).memories == 3


async def test_an_update_never_moves_a_memory(memory: MemoryClient) -> None:
    """Neither scope nor type nor version are among what can be changed."""
    kept = await memory.store("Stays where it is.", type="fact")
    for change in (
        {"tenant": "x"},
        {"agent_id": "x"},
        {"session": "x"},
        {"session_id": "x"},
        {"type": "semantic"},
        {"version": 9},
    ):
        with pytest.raises(BadRequest):
            await memory.update(kept.id, **change)
    assert (await memory.get(kept.id)).version == 1


async def test_recall_filters_are_exact(world: World, memory: MemoryClient) -> None:
    """Types, session and tags together give what a plain comparison gives, before and after the vectors are there."""
    types = ["fact", "episodic", "procedural", "semantic"]
    sessions = [None, "s", "s,t", "S"]
    tags = [[], ["x"], ["x,y"], ["x", "y"], ["X"], ["*"]]
    items: list[dict[str, Any]] = [
        {
            "content": f"kumquat number {number}",
            "type": kind,
            "tags": tag_list,
            **({"session": session} if session else {}),
        }
        for number, (kind, session, tag_list) in enumerate(itertools.product(types, sessions, tags))
    ]
    kept = await memory.store_many(items)
    ids = [one.id for one in kept if isinstance(one, Stored)]
    assert len(ids) == len(items)

    async def check() -> None:
        for kinds, session, wanted in itertools.product(
            [[], ["fact"], ["episodic", "semantic"]],
            [None, "s", "s,t", "none"],
            [[], ["x"], ["x,y"], ["y", "*"], ["x*"], ["x,"]],
        ):
            expected = {
                memory_id
                for memory_id, item in zip(ids, items, strict=True)
                if (not kinds or item["type"] in kinds)
                and session in (None, item.get("session"))
                and (not wanted or set(wanted) & set(item["tags"]))
            }
            found = await memory.recall("kumquat", limit=200, types=kinds, session=session, tags=wanted)
            assert {hit.memory.id for hit in found} == expected, (kinds, session, wanted)

    world.embedder.away = True
    await check()
    world.embedder.away = False
    await world.drained(memory)
    await check()


# --- what is the same memory --------------------------------------------------------------------------------------------
async def test_many_at_once_store_one_memory(world: World, memory: MemoryClient) -> None:
    """The decision whether it is new is part of the atomic step: it cannot race."""
    async with world.connect() as other:
        stores = [client.store("Ada prefers tea.", type="fact") for client in (memory, other) for _ in range(32)]
        kept = await asyncio.gather(*stores)
    await world.drained(memory)

    assert {one.id for one in kept} == {kept[0].id}
    assert sorted(one.outcome for one in kept) == ["reinforced"] * 63 + ["stored"]
    one = await memory.get(kept[0].id)
    assert (one.version, one.access_count) == (1, 63)
    assert await world.memories.count_documents({}) == await world.versions.count_documents({}) == 1
    archived = await world.memories.find_one({})
    assert archived is not None
    assert archived["access_count"] == 63


async def test_the_same_content_in_two_places_is_two_memories(world: World, memory: MemoryClient) -> None:
    """Also in two sessions of one agent, and as two types."""
    async with world.connect(agent="other") as other:
        kept = [
            await memory.store("The same.", type="fact"), await memory.store("The same.", type="semantic"),
            await memory.store("The same.", type="fact", session="s1"), await other.store("The same.", type="fact"),
        ]  # fmt: skip
    assert len({one.id for one in kept}) == 4
    assert {one.outcome for one in kept} == {"stored"}


async def test_two_equal_events_are_two_unless_the_caller_says_otherwise(memory: MemoryClient) -> None:
    """`dedup` overrules the type in both directions."""
    for asked, count in (
        ({"type": "episodic"}, 2),
        ({"type": "episodic", "dedup": True}, 1),
        ({"type": "fact", "dedup": False}, 2),
    ):
        kept = [await memory.store(f"The bell rang. {asked}", **asked) for _ in range(2)]
        assert len({one.id for one in kept}) == count, asked


async def test_content_that_was_updated_away_gets_a_memory_of_its_own(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, also when the content's ids have run out: each belongs to a memory that says something else."""
    monkeypatch.setattr(storing, "SALTS_MAX", 2)
    ids = []
    for number in range(12):
        kept = await memory.store("The build is running.", type="fact")
        assert (kept.outcome, kept.version) == ("stored", 1), number
        assert (await memory.get(kept.id)).content == "The build is running."
        ids.append(kept.id)
        await memory.update(kept.id, content=f"Build {number} went well.")
    await world.drained(memory)

    assert len(set(ids)) == 12
    for number, memory_id in enumerate(ids):
        assert (await memory.get(memory_id)).content == f"Build {number} went well."
    assert await world.memories.count_documents({}) == 12


async def test_what_was_forgotten_and_stored_again_lives(world: World, memory: MemoryClient) -> None:
    """Above its tombstone's version, in both stores, also when archiver and follower have brought the past along."""
    first = await memory.store("The alarm code is kumquat.", type="fact")
    await world.drained(memory)
    gone = await memory.forget(first.id)
    again = await memory.store("The alarm code is kumquat.", type="fact")
    await world.drained(memory)
    await followed(world, memory)

    assert (again.id, again.outcome, gone.version, again.version) == (first.id, "stored", 2, 3)
    one = await memory.get(first.id)
    assert (one.version, one.content, one.pending) == (3, "The alarm code is kumquat.", False)
    assert [hit.memory.id for hit in await memory.recall("kumquat alarm")] == [first.id]
    archived = await world.memories.find_one({"_id": first.id})
    assert archived is not None
    assert (archived["version"], "tombstone" in archived) == (3, False)
    assert [v["version"] async for v in world.versions.find({"memory_id": first.id})] == [3]
    assert (await memory.forget(first.id)).version == 4


async def test_forgetting_and_storing_in_quick_turns_ends_as_it_ended(world: World, memory: MemoryClient) -> None:
    """No wait in between: all of it may be in one batch of the archiver."""
    for number in range(6):
        kept = await memory.store("On and off.", type="fact")
        assert kept.version == 2 * number + 1
        await memory.forget(kept.id)
    last = await memory.store("On and off.", type="fact", durability="archived")
    await world.drained(memory)
    await followed(world, memory)

    assert last.version == 13
    assert (await memory.get(last.id)).version == 13
    assert [v["version"] async for v in world.versions.find({"memory_id": last.id})] == [13]


async def followed(world: World, memory: MemoryClient) -> None:
    """Waits until the follower has seen everything so far: a person's edit that comes after it has arrived."""
    kept = await memory.store("A mark in the change stream.", durability="archived")
    await world.memories.update_one({"_id": kept.id}, {"$set": {"importance": 0.125}})

    async def arrived() -> bool:
        return (await memory.get(kept.id)).importance == 0.125

    await eventually(arrived, what="the follower has come to the mark")
    await memory.forget(kept.id)
