"""Back to Redis: an emptied one serves from the archive while it is filled, and what is cold comes back by command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

import memoryd.lifecycle.rehydrating
from memoryd import MemoryClient
from memoryd.errors import HotUnavailable, NotFound
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.rehydrating import Rehydrated, Rehydrating
from memoryd.model.memory import Tier
from memoryd.model.results import Recalled
from memoryd.model.rules import Rules
from memoryd.model.scope import Scope
from memoryd_sync.follower import Follower
from tests.fakes import FakeClock
from tests.integration.commands import Commands
from tests.integration.test_tiers import TALK, demoted, records_of, remember, tiering
from tests.integration.tools import archived, caught_up, hot, one_story
from tests.waiting import eventually
from tests.world import World

AGENT = Scope("acme", "support", "scout")


# --- an emptied Redis -------------------------------------------------------------------------------------------------
async def test_an_emptied_redis_is_served_from_the_archive_at_once_and_warms_itself(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody starts anything anew: until the copy has come, the archive answers and the answer says so; then all is as before."""
    ids = await remember(memory)
    fact = (await memory.store("Ingrid works nights.", type="fact", wait="searchable")).id
    forgotten = (await memory.store("Ingrid's locker code is kumquat-4711.", type="fact")).id
    await memory.forget(forgotten)
    async with world.connect(agent="other") as other:
        foreign = (await other.store("Ingrid is somebody else's, too.", type="fact", wait="searchable")).id
        await caught_up(world, memory)
        before = await one_story(world)
        copied, whole = asyncio.Event(), Follower._copy_all

        async def held(follower: Follower, stop: asyncio.Event) -> bool:
            await copied.wait()
            return await whole(follower, stop)

        monkeypatch.setattr(Follower, "_copy_all", held)
        await world.redis.flushall()

        found = await eventually(lambda: _answer(memory, "Where does Ingrid work?"), what="a recall is answered")
        assert "being filled" in found.degraded
        assert "words" in found.missing
        assert "archive" in found.searched
        contents = {hit.memory.id: hit.memory.content for hit in found}
        assert contents == {**dict(zip(ids, TALK, strict=True)), fact: "Ingrid works nights."}
        assert foreign not in contents
        assert (await memory.recall("Ingrid works nights.")).hits[0].memory.id == fact
        assert {hit.memory.id for hit in await memory.recall("Ingrid?", types=["fact"])} == {fact}
        assert {hit.memory.id for hit in await memory.recall("Ingrid?", tiers=["long"])} == set()
        assert (await memory.get(ids[0])).content == TALK[0]
        with pytest.raises(NotFound):
            await memory.get(forgotten)
        with pytest.raises(NotFound):
            await other.get(ids[0])
        new = (await memory.store("Ingrid has a new locker.", type="fact", wait="searchable")).id
        assert new in {hit.memory.id for hit in await memory.recall("What does Ingrid have?")}

        copied.set()

        numbers = count()

        async def warm() -> Recalled | None:
            answer = await memory.recall(f"Where does Ingrid work now, {next(numbers)}?")  # a whole answer is kept for a while
            return None if answer.degraded or "archive" in answer.searched else answer

        found = await eventually(warm, what="Redis is filled, and the archive is searched no more")
        await caught_up(world, memory)
        assert (await one_story(world)).keys() == {*before, new}


async def _answer(memory: MemoryClient, query: str) -> Recalled | None:
    try:
        return await memory.recall(query)
    except HotUnavailable:  # the daemon has not noticed yet that its indexes are gone
        return None


# --- by command -------------------------------------------------------------------------------------------------------
async def rehydrated(world: World, scope: Scope = AGENT, *, rules: Rules | None = None, **how: Any) -> Rehydrated:
    """What came back, at the time at which `demoted` took it away."""
    records, model = records_of(world), world.embedder.model
    clock = FakeClock(datetime.now(UTC) + timedelta(days=8))
    configured = {"*": {"*": rules}} if rules else {}
    return await Rehydrating(records, world.archive, mover_of(world), configured, clock, model=model).run(scope, **how)


def mover_of(world: World) -> Mover:
    """What moves this world's memories."""
    return Mover(records_of(world), world.archive, model=world.embedder.model)


async def tiers(world: World, *ids: str) -> Mapping[str, tuple[Tier, bool]]:
    """Of each memory in Redis, its tier and whether its content is there."""
    found = await records_of(world).get_many(Scope("acme", "support"), ids)
    return {key: (one.tier, not one.light) for key, one in found.items()}


async def test_an_agent_is_brought_back_whole_and_stays(world: World, memory: MemoryClient) -> None:
    """Light records get their text, lost ones come from the archive, and the next sweep leaves them; another agent's stay."""
    ids = await remember(memory)
    async with world.connect(agent="other") as other:
        [theirs] = await remember(other, TALK[:1])
    async with world.connect(agent="") as everybody:
        await demoted(world, everybody, [*ids, theirs])
    await world.lose(*[world.keys.memory("episodic", AGENT, one) for one in ids[:2]])

    planned = await rehydrated(world, dry_run=True)
    assert (planned.memories, planned.whole, planned.brought, planned.left) == (6, 0, 6, {})
    heard: list[tuple[int, int]] = []
    done = await rehydrated(world, progress=lambda count, total: heard.append((count, total)))
    assert (done.memories, done.whole, done.brought, done.left) == (6, 0, 6, {})
    assert heard == [(6, 6)]
    await caught_up(world, memory)
    assert await tiers(world, *ids, theirs) == {**dict.fromkeys(ids, (Tier.SHORT, True)), theirs: (Tier.LONG, False)}
    swept = await tiering(world).sweep()
    assert swept is not None
    assert swept.moved == {}
    assert (await rehydrated(world)).whole == 6
    assert [(await memory.get(one)).content for one in ids] == list(TALK)


async def test_what_finds_no_room_is_left_and_told_by_why(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warmest come first; limits of an agent and of a project, and how full Redis is, are those of the policy."""
    ids = await remember(memory, TALK[:3], importance=0.2) + await remember(memory, TALK[3:], importance=0.9)
    await demoted(world, memory, ids)
    for rules, why in ((Rules(short_of_agent=3), "agent_limit"), (Rules(short_of_project=3), "project_limit")):
        planned = await rehydrated(world, rules=rules, dry_run=True)
        assert (planned.brought, planned.left) == (3, {why: 3})

    async def full(_: Any) -> tuple[int, int]:
        return 71, 100

    with monkeypatch.context() as patch:
        patch.setattr(memoryd.lifecycle.rehydrating, "memory_use", full)
        assert (await rehydrated(world)).left == {"pressure": 6}
    assert (await rehydrated(world, rules=Rules(short_of_agent=3))).brought == 3
    assert {key for key, (tier, _) in (await tiers(world, *ids)).items() if tier is Tier.SHORT} == set(ids[3:])


async def test_the_command_brings_a_session_back_with_its_messages(world: World, memory: MemoryClient) -> None:
    """What a summary stands for stays in the archive unless it is asked for, and that is said."""
    memoryd = Commands(world.settings)
    ids = await remember(memory)
    working = memory.working("s1")
    await working.append({"role": "user", "content": "Where does Ingrid work?"})
    await caught_up(world, memory)
    memories = (await records_of(world).get_many(AGENT, ids)).values()
    assert await mover_of(world).archive(list(memories)) == len(ids)
    keys = [key async for key in world.redis.scan_iter(match="aether:memory:working:*")]
    assert await world.redis.delete(*keys) == 1

    done = (await memoryd("rehydrate", "--session", "s1", "--json")).json
    assert (done["memories"], done["whole"], done["brought"]) == (len(ids), 0, 0)
    assert (done["left"], done["session"]) == ({"archived": len(ids)}, "archive")
    assert await world.redis.exists(keys[0])
    shown = (await memoryd("rehydrate", "--session", "s1", "--archived")).fields
    assert (shown["brought"], shown["session"]) == (str(len(ids)), "hot")
    await caught_up(world, memory)
    assert (await hot(world)).keys() == (await archived(world)).keys()
