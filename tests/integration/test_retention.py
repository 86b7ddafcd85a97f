"""Forgetting by policy: what is due, in every tier, with receipts; never what is pinned or held, nor what that is made of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import memoryd.jobs.runner
import memoryd.lifecycle.aging
import memoryd.lifecycle.retaining
from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd.errors import Conflict, HotUnavailable, NotFound
from memoryd.jobs.reports import JobRuns
from memoryd.jobs.state import JobStates
from memoryd.keys import job_lease
from memoryd.lifecycle.forgetting import Forgetting
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.retaining import Planned, PolicyForgetting, Retaining
from memoryd.model.memory import MemoryType
from memoryd.model.retention import Retention
from memoryd.model.scope import Scope
from tests.fakes import FakeClock
from tests.integration.commands import invoke
from tests.integration.test_compression import SAID
from tests.integration.test_forget_many import gone, ids_of
from tests.integration.test_tiers import demoted, records_of, remember
from tests.integration.tools import caught_up, verified
from tests.waiting import eventually
from tests.world import World

DAY = 24 * 3600.0
PROJECT = Scope("acme", "support")


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked for a job takes it at once."""
    monkeypatch.setattr(memoryd.jobs.runner, "JOB_LOOK_SECONDS", 0.05)


async def asks_nothing(*_: Any) -> Any:
    """What a recall would find."""
    raise AssertionError


def policy(world: World, *, days: float = 100, **rules: Any) -> tuple[Retaining, PolicyForgetting]:
    """What plans by these rules of acme / support, so many days from now, and what carries it out."""
    records, clock = records_of(world), FakeClock(datetime.now(UTC) + timedelta(days=days))
    planner = Planner(records, world.archive, asks_nothing, (), clock)
    retaining = Retaining(records, world.archive, planner, {"acme": {"support": Retention(**rules)}}, {}, clock)
    return retaining, PolicyForgetting(retaining, Forgetting(records, world.archive, planner, (), clock), JobStates(world.redis))


def ids(planned: Planned) -> dict[str, str]:
    """What is due, each with its reason."""
    return {one.memory_id: one.reason.name for some in planned.due.values() for one in some}


async def living(client: MemoryClient, memory_ids: list[str]) -> list[str]:
    """Those that are not forgotten."""
    return [one for one in memory_ids if not await gone(client, one)]


async def test_what_is_too_old_goes_from_every_tier_with_a_receipt(world: World, memory: MemoryClient) -> None:
    """Hot, light, archived behind a summary, and not archived yet; what is pinned, held or of another type or project stays."""
    light = await remember(memory)
    await demoted(world, memory, light)
    packed = await remember(memory, SAID, session="s2")
    await caught_up(world, memory)
    [summary] = [one.summary for one in (await memory.compress(session="s2")).groups]
    pinned = await remember(memory, ["A pinned event."], tags=["pinned"])
    held = await remember(memory, ["A held event."], tags=["hold"])
    fact = await ids_of(memory, "The earth is round.")
    async with world.connect(project="other") as other:
        elsewhere = await remember(other, ["An event elsewhere."])
        await caught_up(world, memory)
        await world.stop("sync")
        fresh = await remember(memory, ["It has just happened."])

        retaining, forgetting = policy(world, max_age_seconds={MemoryType.EPISODIC: 90 * DAY})
        planned = await retaining.plan()
        assert ids(planned) == dict.fromkeys([*light, *packed, *fresh], "AGED")
        made = [one.id async for _, due, plan in retaining.batches(planned) for one in plan.targets if one.id not in due]
        assert made == [summary]
        done = await forgetting.run(planned.digest)
        assert done == {"forgotten": len(light) + len(packed) + 2, "aged": len(light) + len(packed) + 1, "derived": 1}
        assert ids(await retaining.plan()) == {}, "although the archive has not heard of it yet"
        await world.start("sync")
        await caught_up(world, memory)

        assert await living(other, elsewhere) == elsewhere
    assert await living(memory, [*light, *packed, *fresh, summary, *pinned, *held, *fact]) == [*pinned, *held, *fact]
    async with world.connect(agent="") as project:
        [line] = await project.receipts()
        receipt = await project.receipt(line.id)
        assert (line.asked_by, line.count) == ("retention", len(light) + len(packed) + 2)
        assert "older than its type is kept" in receipt.memories[0].reason
        assert (await verified(project, line.id)).ok
    assert "Yosemite" not in await world.everything_in_mongo()
    assert ids(await retaining.plan()) == {}
    assert await forgetting.run("") == {"forgotten": 0}


async def test_what_something_that_stays_was_made_of_stays_too(world: World, memory: MemoryClient) -> None:
    """A pinned summary of a summary would go with its sources; and what is pinned after the plan was made, too."""
    source, lone, late, other = await ids_of(memory, "Ingrid is a nurse.", "Karl drinks tea.", "A ferry.", "A fence.")
    [middle] = await ids_of(memory, "About Ingrid.", derived_from=[source])
    [top] = await ids_of(memory, "About people.", derived_from=[middle], tags=["pinned"])
    [of_other] = await ids_of(memory, "About a fence.", derived_from=[other])
    await caught_up(world, memory)
    retaining, forgetting = policy(world, floor=1.0)
    planned = await retaining.plan()
    assert ids(planned) == dict.fromkeys([lone, late, other, of_other], "COLD")

    await memory.update(late, tags=["hold"])
    batches = [batch async for batch in retaining.batches(planned)]
    assert {one.id for _, _, plan in batches for one in plan.targets} == {lone, other, of_other}
    await memory.update(of_other, tags=["hold"])
    assert [batch async for batch in retaining.batches(planned)] == []
    await caught_up(world, memory)  # the next plan is made of what the archive has
    assert await forgetting.run("") == {"forgotten": 1, "cold": 1}
    assert await living(memory, [source, middle, top, lone, late, other, of_other]) == [source, middle, top, late, other, of_other]


async def test_a_memory_is_as_warm_as_the_warmest_that_was_made_of_it(world: World, memory: MemoryClient) -> None:
    """Of a summary in use the sources are never read again; if they went for that, it would go with them."""
    source = (await memory.store("Ingrid is a nurse.", importance=0.1)).id
    middle = (await memory.store("About Ingrid.", importance=0.1, derived_from=[source])).id
    summary = (await memory.store("About people.", importance=0.9, derived_from=[middle])).id
    other = (await memory.store("Karl drinks tea.", importance=0.5)).id
    await caught_up(world, memory)
    retaining, _ = policy(world, days=0.01, keep_of_agent=3, floor=0.05)
    assert ids(await retaining.plan()) == {other: "AGENT_LIMIT"}
    retaining, _ = policy(world, days=100, max_age_seconds={MemoryType.SEMANTIC: 90 * DAY})
    assert set(ids(await retaining.plan())) == {source, middle, summary, other}


async def test_budgets_keep_the_best_of_each_agent_however_small_the_parts_are(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look of two memories, a plan of three, a receipt for every two: it ends where the budgets say."""
    monkeypatch.setattr(memoryd.lifecycle.aging, "RETENTION_LOOK_MAX", 2)
    monkeypatch.setattr(memoryd.lifecycle.retaining, "RETENTION_BATCH_MAX", 2)
    monkeypatch.setattr(memoryd.lifecycle.retaining, "RETENTION_PLAN_MAX", 3)
    async with world.connect(agent="planner") as planner, world.connect(project="other") as other:
        mine = [(await memory.store(f"Note {n}.", importance=n / 10)).id for n in range(1, 10)]
        theirs = [(await planner.store(f"Plan {n}.", importance=n / 20)).id for n in range(1, 4)]
        elsewhere = [(await other.store(f"Other {n}.")).id for n in range(5)]
        await caught_up(world, memory)
        retaining, forgetting = policy(world, keep_of_agent=4, keep_of_project=5)
        planned = await retaining.plan()
        assert (len(ids(planned)), planned.cut) == (3, True)
        assert await forgetting.run("") == {"forgotten": 7, "agent_limit": 5, "project_limit": 2}
        await caught_up(world, memory)
        assert await living(memory, mine) == mine[-4:]
        assert await living(planner, theirs) == theirs[-1:]
        assert await living(other, elsewhere) == elsewhere
    async with world.connect(agent="") as project:
        assert sum(one.count for one in await project.receipts()) == 7


async def test_a_run_that_died_is_ended_by_the_next_with_the_receipt_that_it_would_have_had(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the atomic steps and before the receipt: nothing is forgotten without one."""
    kept = await ids_of(memory, *(f"Note {n}." for n in range(4)))
    await caught_up(world, memory)
    _, forgetting = policy(world, floor=1.0)

    async def dies(*_: Any) -> Any:
        raise HotUnavailable("it died")

    with monkeypatch.context() as patched:
        patched.setattr(Forgetting, "_leave", dies)
        with pytest.raises(HotUnavailable):
            await forgetting.run("")
    assert await living(memory, kept) == []
    async with world.connect(agent="") as project:
        assert await project.receipts() == []
        assert await policy(world, floor=1.0)[1].run("") == {"forgotten": 0}
        [line] = await project.receipts()
        assert (line.count, line.asked_by) == (4, "retention")
        assert not await JobStates(world.redis).noted("retention")
        await caught_up(world, memory)

        async def chained() -> bool:
            return (await project.verify_receipt(line.id)).ok

        await eventually(chained, what="the receipt is chained, and nothing of the memories is found")


async def test_another_plan_than_the_one_that_was_seen_forgets_nothing(world: World, memory: MemoryClient) -> None:
    """And what is no memory any more keeps no other from its end."""
    [note] = await ids_of(memory, "A note.")
    await caught_up(world, memory)
    retaining, forgetting = policy(world, floor=1.0)
    digest = (await retaining.plan()).digest
    [wrong] = await ids_of(memory, "A second note.")
    await caught_up(world, memory)
    with pytest.raises(Conflict):
        await forgetting.run(digest)
    assert await living(memory, [note, wrong]) == [note, wrong]

    await world.memories.update_one({"_id": wrong}, {"$set": {"feedback": {}}})
    await world.redis.delete(key := world.keys.memory("semantic", PROJECT, note))
    await world.redis.set(key, "not a hash", ex=600)
    assert note in ids(await retaining.plan())
    await world.redis.delete(key)


async def test_the_command_shows_the_plan_that_a_daemon_then_carries_out(settings: Settings) -> None:
    """It asks; by other rules than the daemon's nothing is forgotten."""
    rules: Mapping[str, Any] = {"acme": {"support": {"keep_of_agent": 2}}}
    configured = settings.model_copy(update={"retention": {"acme": {"support": Retention(keep_of_agent=2)}}})
    async with World(configured) as world, world.connect() as memory:
        await world.start("daemon", "sync")
        kept = [(await memory.store(f"Note {n}.", importance=n / 10)).id for n in range(1, 6)]
        await caught_up(world, memory)
        mine = {"MEMORYD_RETENTION": json.dumps(rules)}
        other = {"MEMORYD_RETENTION": json.dumps({"acme": {"support": {"keep_of_agent": 1}}})}
        shown = (await invoke(configured, "retention", "plan", "--explain", "--json", environment=mine)).json
        assert {one["id"] for one in shown["listed"]} == set(kept[:3])
        assert shown["counts"] == [{"tenant": "acme", "project": "support", "reason": "agent_limit", "memories": 3}]
        asked = await invoke(configured, "retention", "run", environment=mine, stdin="n\n")
        assert "Forget these 3 memories" in asked.err
        assert (await invoke(configured, "retention", "run", "--json", environment=other, stdin="y\n")).code == 4
        assert await living(memory, kept) == kept
        done = (await invoke(configured, "retention", "run", "--json", environment=mine, stdin="y\n")).json
        assert (done["job"], done["outcome"], done["done"]) == ("retention", "ok", {"forgotten": 3, "agent_limit": 3})
        assert await living(memory, kept) == kept[3:]
        assert kept[0] not in (await invoke(configured, "retention", "plan", "--explain", environment=mine)).out
        with pytest.raises(NotFound):
            await memory.get(kept[0])


async def test_a_night_that_was_missed_is_made_up_for_also_when_its_daemon_is_killed_at_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first daemon stands between a batch's steps and its receipt when it dies; the next one ends it, and does the rest."""
    monkeypatch.setattr(memoryd.lifecycle.retaining, "RETENTION_BATCH_MAX", 3)
    configured = settings.model_copy(update={"retention": {"acme": {"*": Retention(keep_of_agent=2)}}, "jobs": {}})
    leave, standing = Forgetting._leave, asyncio.Event()

    async def stands_still(*given: Any) -> Any:
        if not standing.is_set():
            standing.set()
            await asyncio.Event().wait()
        return await leave(*given)

    monkeypatch.setattr(Forgetting, "_leave", stands_still)
    async with World(configured) as world, world.connect() as memory, world.connect(agent="") as project:
        await JobStates(world.redis).ran("retention", datetime.now(UTC) - timedelta(days=3))
        await JobStates(world.redis).pause("retention")
        await world.start("daemon", "sync")
        kept = [(await memory.store(f"Note {n}.", importance=n / 10)).id for n in range(1, 9)]
        await caught_up(world, memory)
        await JobStates(world.redis).resume("retention")
        await eventually(standing.is_set, what="the daemon is at it")
        await world.kill("daemon")
        await world.redis.delete(job_lease("retention"))  # its turn lapses, here at once
        await world.start("daemon2")

        async def ended() -> bool:
            return [one.outcome for one in await JobRuns(world.archive).latest("retention")] == ["ok"]

        await eventually(ended, what="the other daemon has done it")
        await caught_up(world, memory)
        assert await living(memory, kept) == kept[-2:]
        receipts = await project.receipts()
        assert sorted(one.count for one in receipts) == [3, 3]
        assert all([(await verified(project, one.id)).ok for one in receipts])
        assert (await project.verify_receipt(receipts[0].id, chain=True)).ok
