"""Shared memories: seen by whom they are shared with and by nobody else, changed by their owner alone, and one memory always."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, MemorydError, NotFound, QuotaExceeded
from memoryd.limits import SHARED_WITH_MAX
from memoryd.model.scope import Scope
from tests.integration import test_tiers
from tests.integration.test_compression import remember
from tests.integration.test_tiers import TALK, demoted
from tests.integration.tools import gone, one_story
from tests.waiting import eventually
from tests.wire import Wire
from tests.world import World

SECRET = "The vault opens at nine with a kumquat."
# Each differs from another one by as little as possible, or would be query syntax.
RECEIVERS = ["ada", "Ada", "ada ", "*", "ada,bob", "ada|bob", "{ada}", "ada%2Cbob"]
STRANGERS = [
    Scope("acme", "sales", "ada"), Scope("other", "support", "ada"), Scope("acme", "support", "ada", "s1"),
    Scope("acme", "support", "", "s1"), Scope("acme", "Support", "ada"),
]  # fmt: skip


@pytest.fixture
async def others(world: World) -> AsyncIterator[dict[str, MemoryClient]]:
    """A client of every other agent of the project."""
    async with contextlib.AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(world.connect(agent=name)) for name in RECEIVERS}


@pytest.fixture
async def ada(world: World) -> AsyncIterator[MemoryClient]:
    """Another agent of the project."""
    async with world.connect(agent="ada") as client:
        yield client


async def sees(client: MemoryClient, memory_id: str) -> list[bool]:
    """Whether a client finds a memory by its words, by a count, and by its id; and whether it is told of one that is shared."""
    found = memory_id in {hit.memory.id for hit in await client.recall(SECRET, limit=50)}
    counted = (await client.count("kumquat")).with_words == 1
    try:
        got = (await client.get(memory_id)).id == memory_id
    except NotFound:
        got = False
    return [found, counted, got, (await client.stats()).shared == 1]


async def test_a_share_is_seen_by_whom_it_names_and_by_nobody_else(
    world: World, memory: MemoryClient, others: dict[str, MemoryClient]
) -> None:
    """By no verb, whatever the others are called; with its end it is seen by nobody at once."""
    kept = await memory.store(SECRET, type="fact", wait="searchable")
    for name in RECEIVERS:
        assert (await memory.share(kept.id, name)).outcome == "updated"
        seen = await asyncio.gather(*(sees(client, kept.id) for client in others.values()))
        assert dict(zip(others, seen, strict=True)) == {other: [other == name] * 4 for other in others}
        [hit] = await others[name].recall("When does the vault open?")
        assert (hit.shared, hit.memory.agent_id, hit.memory.shared_with) == (True, "scout", [name])
        assert (await memory.unshare(kept.id, name)).outcome == "updated"
        assert await sees(others[name], kept.id) == [False] * 4
    await memory.share(kept.id, "ada")
    for scope in STRANGERS:
        async with world.connect(tenant=scope.tenant, project=scope.project, agent=scope.agent, session=scope.session) as client:
            assert await sees(client, kept.id) == [False] * 4, scope
    [own] = await memory.recall("vault")
    assert not own.shared
    stats = await memory.stats()
    assert (stats.memories, stats.shared) == (1, 0)


async def test_whom_it_is_shared_with_can_do_nothing_to_it(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """Nor is it counted among what it knows itself, nor taken for what it says itself."""
    kept = await memory.store(SECRET, type="fact", wait="searchable")
    await memory.share(kept.id, "ada")
    for attempt in (
        ada.update(kept.id, content="Ada was here."), ada.forget(kept.id), ada.share(kept.id, "bob"), ada.unshare(kept.id),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await attempt
    found = await ada.recall("vault")
    assert (await ada.feedback(found.recall_id, useless=[kept.id])).gone == [kept.id]
    own = await ada.store(SECRET, type="fact")
    assert own.id != kept.id
    assert own.outcome == "stored"
    await ada.store("The cellar opens at ten.", type="fact", derived_from=[kept.id])
    await world.drained(ada)
    assert not (await ada.compress(everything=True)).moved
    assert (await ada.introspect()).memories == (await ada.stats()).memories == 2
    assert {(one.agent_id, one.shared) for one in (await ada.what_do_i_know("vault")).evidence} == {("ada", False), ("scout", True)}
    assert [one.memory.id for one in await ada.recall("vault", agent="ada") if one.shared] == []
    for selection in ({"query": SECRET, "limit": 1}, {"query": SECRET, "limit": 1}, {"ids": [kept.id]}, {"everything": True}):
        removed = await ada.forget_many(**selection)
        assert kept.id not in {one.id for one in removed.memories}
        assert len(removed.memories) == ("query" in selection)  # what is shared takes no place among the best
    one = await memory.get(kept.id)
    assert (one.content, one.version, one.feedback) == (SECRET, 2, None)
    assert (await ada.get(kept.id)).version == 2


async def test_what_is_made_of_a_shared_memory_goes_with_it(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """Forgetting ends the share, and reaches what another agent has made of the memory, as it reaches one's own."""
    kept = await memory.store(SECRET, type="fact", durability="archived")
    await memory.share(kept.id, "ada", durability="archived")
    made = await ada.store("Kumquats open vaults.", derived_from=[kept.id])
    await world.stop("sync")  # the archive does not hear of it for now, and is not asked
    await memory.forget(kept.id)
    assert await sees(ada, kept.id) == [False] * 4
    with pytest.raises(NotFound):
        await ada.get(made.id)
    await world.start("sync")
    await world.drained(memory)
    assert await sees(ada, kept.id) == [False] * 4
    assert SECRET not in await world.everything_in_mongo()


async def test_a_share_is_a_version_and_survives_redis(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """It is archived with its history, comes back with the memory, and both stores tell the same of it."""
    kept = await memory.store(SECRET, type="fact")
    untouched = await memory.store("Nobody else's.", type="fact")
    assert [(await memory.share(kept.id, name)).version for name in ("ada", "bob")] == [2, 3]
    assert (await memory.update(kept.id, importance=0.9)).version == 4
    assert (await memory.unshare(kept.id, "bob")).version == 5
    await world.drained(memory)
    story = await one_story(world)
    assert (story[kept.id].memory.shared_with, story[untouched.id].memory.shared_with) == (["ada"], [])
    past = [one.get("shared_with") async for one in world.versions.find({"memory_id": kept.id}).sort("version", 1)]
    assert past == [None, ["ada"], ["ada", "bob"], ["ada", "bob"], ["ada"]]

    await world.stop("daemon")
    await world.redis.flushall()
    await world.start("daemon")

    async def back() -> bool:
        try:
            return [hit.memory.id for hit in await ada.recall(SECRET)] == [kept.id]
        except MemorydError:
            return False

    await eventually(back, what="the archive has brought the memory back")
    assert (await ada.get(kept.id)).version == 5
    await memory.unshare(kept.id)
    assert await sees(ada, kept.id) == [False] * 4


async def test_a_person_shares_in_the_archive(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """Who else sees a memory is part of its seal: an edit in MongoDB becomes a version, and comes to Redis."""
    kept = await memory.store(SECRET, type="fact", durability="archived")
    await world.memories.update_one({"_id": kept.id}, {"$set": {"shared_with": ["ada"]}})

    async def seen() -> bool:
        return await sees(ada, kept.id) == [True] * 4

    await eventually(seen, what="the edit has come")
    await world.memories.update_one({"_id": kept.id}, {"$unset": {"shared_with": 1}})
    await eventually(gone(ada, kept.id), what="the second edit has come")
    assert (await memory.get(kept.id)).version == 3


async def test_a_compressed_memory_is_shared_and_taken_back(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """One that only the archive has is read by its id; its end counts at once, also before the archive has heard of it."""
    ids = await remember(memory, "s1")
    await memory.share(ids[0], "ada")
    await world.drained(memory)
    assert (await memory.compress(session="s1")).moved == len(ids)
    assert (await ada.get(ids[0])).tier == "archive"
    with pytest.raises(NotFound):
        await ada.forget(ids[0])
    assert (await ada.expand(ids[0])).missing == 1  # to bring it back is its owner's
    with pytest.raises(NotFound):
        await ada.get(ids[1])
    assert [(hit.memory.id, hit.shared) for hit in await ada.recall("houses", deep=True)] == [(ids[0], True)]
    await memory.share(ids[1], "ada")
    assert {hit.memory.id for hit in await ada.recall("the dog called Rex")} == {ids[1]}
    await world.drained(memory)
    await world.stop("sync")
    await memory.unshare(ids[0])
    with pytest.raises(NotFound):
        await ada.get(ids[0])
    assert ids[0] not in {hit.memory.id for hit in await ada.recall("houses", deep=True)}
    await world.start("sync")


async def test_a_light_memory_is_shared_and_taken_back(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """Of the tier long its content is in the archive only: it is found and read through there, and not any more at once."""
    ids = await test_tiers.remember(memory)
    await memory.share(ids[0], "ada")
    await demoted(world, memory, ids)
    assert [(hit.memory.id, hit.memory.content, hit.shared) for hit in await ada.recall("the nurse")] == [(ids[0], TALK[0], True)]
    assert (await ada.get(ids[0])).content == TALK[0]
    await world.stop("sync")
    await memory.unshare(ids[0])
    assert len(await ada.recall("the nurse")) == 0
    with pytest.raises(NotFound):
        await ada.get(ids[0])
    await world.start("sync")
    await world.drained(memory)
    assert (await memory.get(ids[0])).content == TALK[0]


async def test_no_page_holds_what_is_shared_no_more(world: World, memory: MemoryClient, ada: MemoryClient) -> None:
    """An order of hits is kept for the pages; each page is read as it is then."""
    kept = [(await memory.store(f"{SECRET} Number {number}.", type="fact")).id for number in range(4)]
    for one in kept:
        await memory.share(one, "ada")
    pages = ada.recall_pages(SECRET, limit=1)
    first = (await anext(pages)).hits[0].memory.id
    left = [one for one in kept if one != first]
    await memory.unshare(left[0])
    await memory.forget(left[1])
    rest = [hit.memory.id async for page in pages for hit in page]
    assert rest == [left[2]]


async def test_shares_have_limits_and_are_repeatable(world: World, memory: MemoryClient) -> None:
    """Many that share at once lose none; a repeat under its id changes nothing, and says what it said first."""
    kept = await memory.store(SECRET, type="fact")
    names = [f"agent {number}" for number in range(SHARED_WITH_MAX)]
    shared = await asyncio.gather(*(memory.share(kept.id, name, durability="fsync") for name in names))
    assert sorted(one.version for one in shared) == list(range(2, SHARED_WITH_MAX + 2))
    assert sorted((await memory.get(kept.id)).shared_with) == sorted(names)
    assert (await memory.share(kept.id, names[0])).outcome == "unchanged"
    with pytest.raises(QuotaExceeded):
        await memory.share(kept.id, "one more")
    for wrong in ("", "scout", "a\0", "x" * 129):
        with pytest.raises(BadRequest):
            await memory.share(kept.id, wrong)
    with pytest.raises(BadRequest):
        await memory.unshare(kept.id, "")
    async with Wire(world) as wire:
        first = await wire.result("unshare", {"id": kept.id}, id="u1")
        again = await wire.result("unshare", {"id": kept.id}, id="u1")
        assert (first["outcome"], again["outcome"], again["replayed"]) == ("updated", "updated", True)
        assert (await wire.result("unshare", {"id": kept.id}))["outcome"] == "unchanged"
        assert (await wire.refused("share", {"id": kept.id, "with_agent": "ada"}, id="u1"))["code"] == "request_id_reused"
    assert (await memory.get(kept.id)).shared_with == []


async def test_a_project_shares_with_one_agent(world: World, memory: MemoryClient) -> None:
    """A client without an agent shares what is no agent's, and what is; it sees all of it without a share."""
    async with world.connect(agent="") as everybody, world.connect(agent="ada") as ada:
        common = await everybody.store("The canteen opens at noon.", type="fact")
        own = await memory.store(SECRET, type="fact")
        await everybody.share(common.id, "ada")
        await everybody.share(own.id, "ada")
        assert {(hit.memory.id, hit.shared) for hit in await ada.recall("opens")} == {(common.id, True), (own.id, True)}
        assert (await ada.stats()).shared == 2
        assert (await everybody.stats()).memories == 2
        assert [hit.memory.id for hit in await everybody.recall("opens", agent="ada")] == []
