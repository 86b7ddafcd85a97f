"""Agents say what they are at; what they were is kept in a chain that nobody can change unseen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, ChainBroken, Conflict, NotFound
from memoryd.model.agent import agent_place, agent_scope, snapshot_place
from tests.integration.commands import Commands
from tests.integration.tools import verified
from tests.wire import Wire, goes_on
from tests.world import World


async def snapshots(memory: MemoryClient, count: int) -> list[str]:
    """So many snapshots of an agent that counts them, all archived; their hashes."""
    hashes = []
    for number in range(1, count + 1):
        await memory.agent.set(task=f"task {number}", self_model={"n": number, "x": 1.0})
        hashes.append((await memory.agent.snapshot(f"label {number}", durability="archived")).hash)
    return hashes


async def as_an_expiry_would(world: World, memory: MemoryClient, *numbers: int) -> None:
    """These snapshots are in the archive only."""
    for number in numbers:
        await world.redis.delete(world.keys.document(snapshot_place(agent_scope(memory.scope), number)))


async def test_an_agent_says_what_it_is_at_and_others_see_whether_it_is_there(world: World, memory: MemoryClient) -> None:
    """What is left out stays; a heartbeat that is overdue shows; the state outlives Redis."""
    with pytest.raises(NotFound):
        await memory.agent.get()
    first = await memory.agent.set(task="reading", status="working", tools=["web", "mail"], self_model={"good at": ["maps", 1]})
    again = await memory.agent.set(status="error", error="no network", if_version=first.version)
    assert (again.task, again.status, again.error, again.tools) == ("reading", "error", "no network", ["web", "mail"])
    assert (again.self_model, again.version, again.alive, again.snapshots) == ({"good at": ["maps", 1]}, 2, True, 0)
    with pytest.raises(Conflict):
        await memory.agent.set(task="x", if_version=first.version)

    heard = await memory.agent.beat(ttl_seconds=300)
    assert (await memory.agent.get()).heartbeat_at == heard.heartbeat_at
    at = int(heard.heartbeat_at.timestamp() * 1_000_000)
    await world.redis.set(world.keys.alive(agent_scope(memory.scope)), f"{at}:{at}", ex=60)
    silent = await memory.agent.get()
    assert (silent.alive, silent.heartbeat_at is None) == (False, False)

    async with world.connect(agent="other") as other, world.connect(agent="") as project:
        await other.agent.set(task="cooking")
        assert [one.agent for one in (await project.agent.list()).agents] == ["other", "scout"]
        assert [one.agent for one in (await memory.agent.list()).agents] == ["scout"]
        assert (await project.agent.get(agent="other")).task == "cooking"
        for refused in (project.agent.set(task="x"), other.agent.get(agent="scout")):
            with pytest.raises(BadRequest):
                await refused
        await world.drained(memory)
        for scope in (memory.scope, other.scope):
            await world.redis.delete(world.keys.document(agent_place(agent_scope(scope))))
        assert sorted(one.task for one in (await project.agent.list()).agents) == ["cooking", "reading"]
    assert (await memory.agent.set(task="walking")).version == 3


async def test_many_changes_at_once_lose_none(world: World, memory: MemoryClient) -> None:
    """Of different values all stay; of snapshots each has a number of its own, and the chain holds."""
    await memory.agent.set(task="start")
    changes: dict[str, Any] = {"task": "t", "tools": ["a"], "self_model": {"m": 1}, "error": "e", "status": "working"}
    await asyncio.gather(*(memory.agent.set(**{name: value}) for name, value in changes.items()))
    state = await memory.agent.get()
    assert {name: getattr(state, name) for name in changes} == changes
    taken = await asyncio.gather(*(memory.agent.snapshot(f"s{n}") for n in range(5)))
    assert sorted(one.number for one in taken) == [1, 2, 3, 4, 5]
    assert (await memory.agent.verify()).snapshots == 5


async def test_a_snapshot_is_restored_and_that_can_be_undone(world: World, memory: MemoryClient) -> None:
    """From wherever it is by then; history lists all, page by page."""
    hashes = await snapshots(memory, 3)
    await as_an_expiry_would(world, memory, 1, 3)
    done = await memory.agent.restore(1)
    assert (done.state.task, done.state.self_model, done.undo) == ("task 1", {"n": 1, "x": 1.0}, 4)
    assert (await memory.agent.restore(done.undo)).state.task == "task 3"

    page = await memory.agent.history(limit=3)
    assert ([one.number for one in page.snapshots], page.more) == ([5, 4, 3], True)
    rest = await memory.agent.history(before=3)
    assert [(one.number, one.label, one.hash) for one in rest.snapshots] == [
        (2, "label 2", hashes[1]), (1, "label 1", hashes[0]),
    ]  # fmt: skip
    assert ([one.previous for one in rest.snapshots], rest.more) == ([hashes[0], ""], False)
    assert rest.snapshots[1].state["task"] == "task 1"
    assert (await memory.agent.verify()).snapshots == 5
    with pytest.raises(NotFound):
        await memory.agent.restore(9)


CONTENT = '{"label":"label 2","state":{"error":"","self_model":{"n":9,"x":1},"status":"idle","task":"task 2","tools":[]}}'


async def test_a_broken_chain_is_refused_with_the_place_where_it_broke(world: World, memory: MemoryClient) -> None:
    """Whether a link was changed or removed, and whether Redis has a copy or not; nothing is restored from it."""
    await snapshots(memory, 3)
    scope = agent_scope(memory.scope)
    collection = world.archive.collection("agent_states")
    whole = {n: await collection.find_one({"_id": snapshot_place(scope, n).id}) for n in (1, 2, 3)}
    breaks: list[tuple[int, dict[str, Any] | None]] = [
        (2, {"content": CONTENT}), (2, {"hash": "0" * 64}), (2, {"previous": ""}), (1, {"at": 1}), (2, {"forgotten": True}),
        (2, {"content": "", "content_hash": "0" * 64, "forgotten": True}), (3, None), (1, None),
    ]  # fmt: skip
    for expired in (False, True):
        if expired:
            await as_an_expiry_would(world, memory, 1, 2, 3)
        for number, change in breaks:
            document = whole[number]
            assert document
            await collection.delete_one({"_id": document["_id"]})
            if change:
                await collection.insert_one({**document, **change})
            with pytest.raises(ChainBroken) as caught:
                await memory.agent.restore(2)
            assert caught.value.details["number"] == number, change
            await collection.replace_one({"_id": document["_id"]}, document, upsert=True)
        assert (await memory.agent.verify()).snapshots == 3
    assert (await memory.agent.get()).task == "task 3"


async def test_a_tail_that_was_cut_is_noticed_and_a_snapshot_is_had_without_the_chain(
    world: World, memory: MemoryClient
) -> None:
    """The agent's state names its newest link: nothing is added behind a missing one, nothing restored unless on demand."""
    await snapshots(memory, 2)
    scope = agent_scope(memory.scope)
    await world.archive.collection("agent_states").delete_one({"_id": snapshot_place(scope, 1).id})
    await world.redis.delete(world.keys.document(snapshot_place(scope, 1)))
    assert (await memory.agent.restore(2, verify=False)).undo == 3
    await world.drained(memory)
    await world.archive.collection("agent_states").delete_one({"_id": snapshot_place(scope, 3).id})
    await as_an_expiry_would(world, memory, 3)
    with pytest.raises(ChainBroken) as caught:
        await memory.agent.snapshot()
    assert caught.value.details == {"number": 3, "what": "is missing"}


async def test_a_repeated_request_has_its_effect_once(world: World) -> None:
    """One snapshot, one restoring, one change."""
    async with Wire(world) as wire:
        await wire.result("agent.set", {"task": "one"}, id="a")
        await wire.result("agent.set", {"task": "two"}, id="b")
        await wire.result("agent.set", {"task": "one"}, id="a")
        assert (await wire.result("agent.get"))["task"] == "two"
        taken = [await wire.result("agent.snapshot", {"label": "x"}, id="s") for _ in range(2)]
        assert taken[0] == taken[1]
        await wire.result("agent.set", {"task": "three"})
        restored = [await wire.result("agent.restore", {"number": 1}, id="r") for _ in range(2)]
        assert [one["undo"] for one in restored] == [2, 2]
        assert len((await wire.result("agent.history"))["snapshots"]) == 2
        bad: list[dict[str, Any]] = [
            {}, {"task": "x" * 4097}, {"status": "asleep"}, {"tools": [""]}, {"tools": ["x"] * 257}, {"self_model": []},
            {"self_model": {"x": "y" * 66_000}}, {"task": "a\0"}, {"task": "x", "ttl_seconds": 0},
        ]  # fmt: skip
        for args in bad:
            assert (await wire.refused("agent.set", args))["code"] == "bad_request", args
        nobody = {"tenant": "acme", "project": "support", "agent": "nobody"}
        assert (await wire.refused("agent.snapshot", scope=nobody))["code"] == "not_found"
    await goes_on(world)


async def test_a_forget_reaches_states_and_snapshots_and_the_chain_still_holds(world: World, memory: MemoryClient) -> None:
    """By words: what has them loses its content, and its link stays. Everything: nothing is left."""
    await memory.agent.set(task="feeding the kumquat", self_model={"knows": "Ada"})
    await memory.agent.snapshot("with kumquat", durability="archived")
    await memory.agent.set(task="reading")
    await memory.agent.snapshot("clean", durability="archived")
    await memory.agent.set(task="kumquat again")
    plan = await memory.plan_forget(words="kumquat")
    assert {name: plan.removes["mongodb"].get(name) for name in ("agent_states", "agent_snapshots", "sessions")} == {
        "agent_states": 1, "agent_snapshots": 1, "sessions": None,
    }  # fmt: skip
    await memory.forget_many(words="kumquat", durability="archived")
    await world.drained(memory)

    assert b"kumquat" not in await world.everything_in_redis()
    assert "kumquat" not in await world.everything_in_mongo()
    state = await memory.agent.get()
    assert (state.task, state.self_model, state.snapshots) == ("", {}, 2)
    assert [(one.label, one.forgotten) for one in (await memory.agent.history()).snapshots] == [("clean", False), ("", True)]
    assert (await memory.agent.verify()).snapshots == 2
    with pytest.raises(NotFound):
        await memory.agent.restore(1)

    async with world.connect(agent="other") as other:
        await other.agent.set(task="mine")
        receipt = await memory.forget_many(everything=True, durability="archived")
        await world.drained(memory)
        with pytest.raises(NotFound):
            await memory.agent.get()
        assert (await verified(memory, receipt.id)).ok
        assert (await other.agent.get()).task == "mine"
    await memory.agent.set(task="anew")
    assert (await memory.agent.snapshot("first again")).number == 1
    assert (await memory.agent.verify()).snapshots == 1
    assert (await verified(memory, receipt.id)).ok


async def test_people_look_at_agents_and_bring_one_back(world: World, memory: MemoryClient) -> None:
    """With the command: the state, its history, and the way back."""
    memoryd = Commands(world.settings)
    await memory.agent.set(task="reading maps", status="working")
    assert (await memoryd("agent", "snapshot", "before")).fields["number"] == "1"
    assert (await memoryd("agent", "set", "--task", "drifting", "--self-model", '{"a": 1}')).fields["task"] == "drifting"
    listed = (await memoryd("agent", "list")).out
    assert all(word in listed for word in ("scout", "working", "drifting"))
    assert (await memoryd("agent", "restore", "1", "--json")).json["state"]["task"] == "reading maps"
    assert "before" in (await memoryd("agent", "history")).out
    assert (await memoryd("agent", "verify", "--json")).json["snapshots"] == 2
    assert (await memoryd("agent", "show", "--json")).json["self_model"] == {}
