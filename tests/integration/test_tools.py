"""Kept tool results: the same tool with the same input is run once, and nobody waits for a computer that is dead."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.agent.tools import entry_key
from memoryd.errors import BadRequest, ToolFailed
from memoryd.limits import TOOL_CACHE_BYTES_MAX, TOOL_RESULT_BYTES_MAX
from tests.waiting import eventually
from tests.wire import Wire, goes_on
from tests.world import World


class Tool:
    """A tool that counts its runs; it works while `open` is set, and fails when it is told to."""

    def __init__(self, result: Any = "sunny") -> None:
        self.runs = 0
        self.result = result
        self.failure: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, given: Any) -> Any:
        self.runs += 1
        await self.open.wait()
        if self.failure:
            raise self.failure
        return self.result


async def test_a_hundred_callers_of_a_cold_tool_run_it_once(world: World, memory: MemoryClient) -> None:
    """From two clients and two daemons at once; each gets the one result."""
    await world.start("daemon2")
    tool = Tool({"weather": "sunny", "degrees": [21, 19.5]})
    tool.open.clear()
    async with world.connect() as other:
        callers = [
            asyncio.create_task(
                client.tools.cached("weather", {"city": "Graz", "days": 2}, tool, lease_seconds=600, wait_seconds=600)
            )
            for client in (memory, other)
            for _ in range(50)
        ]
        await eventually(lambda: all_ask(memory, 100), what="all hundred have asked")
        tool.open.set()
        results = await asyncio.gather(*callers)

    assert tool.runs == 1
    assert results == [tool.result] * 100
    counts = await memory.tools.counts()
    assert (counts.entries, counts.misses, counts.hits) == (1, 1, 99)


async def all_ask(memory: MemoryClient, count: int) -> bool:
    counts = await memory.tools.counts()
    return counts.waits + counts.misses >= count


async def test_inputs_that_are_equal_as_json_are_the_same_input(memory: MemoryClient) -> None:
    """The order of names and 1.0 for 1 say nothing; anything else is another input."""
    tool = Tool()
    for same in ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, {"a": 1.0, "b": [2]}):
        await memory.tools.cached("t", same, tool)
    assert tool.runs == 1
    others: list[Any] = [{"a": "1", "b": [2]}, {"a": 1, "b": [2], "c": None}, {"a": 1, "b": [2.5]}, {"a": True, "b": [2]}]
    for other in (*others, None, []):
        await memory.tools.cached("t", other, tool)
    await memory.tools.cached("T", {"a": 1, "b": [2]}, tool)
    assert tool.runs == 8


async def test_a_result_lives_as_long_as_its_ttl(memory: MemoryClient) -> None:
    """And says how old it is."""
    tool = Tool()
    await memory.tools.cached("t", 1, tool, ttl_seconds=600)
    claim = await memory.tools.claim("t", 1)
    assert (claim.outcome, claim.result) == ("hit", "sunny")
    assert 0 <= claim.age_seconds < 600
    held = (await memory.tools.counts()).bytes
    await memory.tools.cached("t", 2, tool, ttl_seconds=0.3)

    async def gone() -> bool:
        return (await memory.tools.claim("t", 2)).outcome == "compute"

    await eventually(gone, what="the result has gone")
    assert (await memory.tools.counts()).bytes == held > 0
    assert (await memory.tools.claim("t", 1)).outcome == "hit"


async def test_a_dead_computer_blocks_nobody_and_brings_nothing(memory: MemoryClient) -> None:
    """When its lease ends the next caller computes; what the first one brings after all is not kept."""
    dead = await memory.tools.claim("t", 1, lease_seconds=0.3)
    tool = Tool("fresh")

    assert await memory.tools.cached("t", 1, tool) == "fresh"
    assert (await memory.tools.put(dead, "stale")).outcome == "late"
    assert (await memory.tools.claim("t", 1)).result == "fresh"


async def test_who_waits_long_enough_computes_for_itself(memory: MemoryClient) -> None:
    """Without keeping it: the claim is another's."""
    claim = await memory.tools.claim("t", 1, lease_seconds=600)

    assert await memory.tools.cached("t", 1, Tool("mine"), wait_seconds=0.2) == "mine"
    assert (await memory.tools.put(claim, "theirs")).outcome == "hit"
    assert (await memory.tools.claim("t", 1)).result == "theirs"


async def test_a_failure_is_raised_to_its_caller_and_told_to_the_others(memory: MemoryClient) -> None:
    """Callers that waited do not each run into it; with failure_ttl_seconds=0 the next one tries."""
    tool = Tool()
    tool.failure = RuntimeError("out of order")
    with pytest.raises(RuntimeError):
        await memory.tools.cached("t", 1, tool, failure_ttl_seconds=600)
    with pytest.raises(ToolFailed) as told:
        await memory.tools.cached("t", 1, tool)
    assert (tool.runs, told.value.details["error"]) == (1, "RuntimeError: out of order")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await memory.tools.cached("t", 2, tool, failure_ttl_seconds=0)
    assert tool.runs == 3


async def test_an_invalidation_reaches_what_is_being_computed(memory: MemoryClient) -> None:
    """By tool, by tag, by key or all: what was computed from the old state of things is not kept."""
    tool = Tool()
    await memory.tools.cached("a", 1, tool, tags=["calendar", "ä"])
    await memory.tools.cached("a", 2, tool, tags=["mail"])
    await memory.tools.cached("b", 1, tool, tags=["calendar"])
    running = await memory.tools.claim("b", 2, tags=["calendar"])

    assert await memory.tools.invalidate(tag="calendar") == 3
    assert (await memory.tools.put(running, "of yesterday")).outcome == "late"
    assert await memory.tools.invalidate(tool="a", tag="calendar") == 0
    assert await memory.tools.invalidate(key=entry_key("", "a", 2)) == 1
    await memory.tools.cached("c", 1, tool)
    assert await memory.tools.invalidate() == 1
    assert (await memory.tools.counts()).entries == 0


async def test_what_is_too_large_is_not_kept_and_nobody_waits_for_it(memory: MemoryClient) -> None:
    """Otherwise a hundred callers of a large page would fetch it one after the other."""
    tool = Tool("x" * TOOL_RESULT_BYTES_MAX)
    await memory.tools.cached("t", 1, tool)
    assert (await memory.tools.claim("t", 1)).outcome == "bypass"
    await asyncio.gather(*(memory.tools.cached("t", 1, tool) for _ in range(3)))
    assert tool.runs == 4


async def test_a_full_cache_lets_go_of_what_is_due_next(memory: MemoryClient) -> None:
    """Bounded in bytes; computations in progress stay."""
    result = "x" * (TOOL_RESULT_BYTES_MAX - 2)
    fit = TOOL_CACHE_BYTES_MAX // TOOL_RESULT_BYTES_MAX
    running = await memory.tools.claim("t", "running", lease_seconds=500)
    for number in range(fit + 2):
        await memory.tools.put(await memory.tools.claim("t", number), result, ttl_seconds=600 + number)

    counts = await memory.tools.counts()
    assert (counts.entries, counts.bytes) == (fit + 1, fit * TOOL_RESULT_BYTES_MAX)
    assert [(await memory.tools.claim("t", number)).outcome for number in (0, 1, 2)] == ["compute", "compute", "hit"]
    assert (await memory.tools.put(running, "done")).outcome == "hit"


async def test_results_belong_to_the_agent_and_private_ones_to_the_session(world: World, memory: MemoryClient) -> None:
    """Another agent, another project, the project itself: none hits what this agent has kept."""
    await memory.tools.cached("t", 1, Tool("scout's"))
    for scope in ({"agent": "other"}, {"agent": ""}, {"project": "sales"}, {"tenant": "evil"}):
        async with world.connect(**scope) as client:
            assert (await client.tools.claim("t", 1)).outcome == "compute", scope
            assert await client.tools.invalidate() == 1
    async with world.connect(session="s1") as one, world.connect(session="s2") as two:
        assert await one.tools.cached("t", 1, Tool()) == "scout's"
        await one.tools.cached("t", 2, Tool("of s1"), private=True)
        assert (await two.tools.claim("t", 2, private=True)).outcome == "compute"
        assert (await two.tools.claim("t", 2)).outcome == "compute"
    with pytest.raises(BadRequest):
        await memory.tools.claim("t", 1, private=True)


async def test_a_repeated_request_has_its_effect_once(world: World) -> None:
    """A claim, a result and a failure that come a second time, as after a daemon's death, meet themselves."""
    async with Wire(world) as wire:
        asked = {"tool": "t", "input": 1}
        first = await wire.result("tool.claim", asked, id="c1")
        assert await wire.result("tool.claim", asked, id="c1") == first
        assert (await wire.result("tool.claim", asked, id="c2"))["outcome"] == "wait"
        kept = {"key": first["key"], "token": first["token"], "result": {"n": 1}}
        assert [(await wire.result("tool.put", kept))["outcome"] for _ in range(2)] == ["hit", "hit"]
        assert (await wire.result("tool.claim", asked))["result"] == {"n": 1}


async def test_hostile_input_is_refused_or_kept_as_it_is(world: World, memory: MemoryClient) -> None:
    """Names, tags and texts that mean something elsewhere; values that are no JSON, too deep, or too large."""
    odd = ["*", "a b", "{0a}", "'; DROP", "#hits", "x:result", "ä\u202e", '"', "%00"]
    for name in odd:
        tool = Tool({name: [name]})
        assert await memory.tools.cached(name, {name: name}, tool, tags=[name]) == tool.result
        assert await memory.tools.cached(name, {name: name}, tool) == tool.result
        assert tool.runs == 1
        assert await memory.tools.invalidate(tool=name, tag=name) == 1
    with pytest.raises(BadRequest):
        await memory.tools.cached("t", 1, Tool(object()))
    assert (await memory.tools.claim("t", 1)).outcome == "compute"  # it was given back
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    async with Wire(world) as wire:
        for args in (
            {"tool": "", "input": 1}, {"tool": "a\0", "input": 1}, {"tool": "t"}, {"tool": "t", "input": deep},
            {"tool": "t", "input": "x" * 70_000}, {"tool": "t", "input": 2**70}, {"tool": "t", "input": 1, "tags": [""]},
            {"tool": "t", "input": 1, "lease_seconds": 0}, {"tool": "t", "input": 1, "lease_seconds": 1e9},
        ):  # fmt: skip
            assert (await wire.refused("tool.claim", args))["code"] == "bad_request", args
        for args in ({"key": "*", "token": ""}, {"key": "0" * 32, "token": "", "ttl_seconds": 1e9}):
            assert (await wire.refused("tool.put", {**args, "result": 1}))["code"] == "bad_request"
        assert (await wire.result("tool.put", {"key": "0" * 32, "token": "", "result": 1}))["outcome"] == "late"
    await goes_on(world)


async def test_a_cache_that_is_away_is_no_reason_not_to_call_the_tool(world: World, memory: MemoryClient) -> None:
    """The tool is what the agent wants; its cache only saves time."""
    await world.stop("daemon")
    impatient = world.connect(timeout_seconds=0.2)
    async with impatient as client:
        tool = Tool()
        assert await client.tools.cached("t", 1, tool) == "sunny"
    assert tool.runs == 1


async def test_a_cancelled_caller_holds_the_others_up_for_its_lease_at_most(memory: MemoryClient) -> None:
    """Nothing has to run after a cancellation for the cache to be right."""
    stuck = Tool()
    stuck.open.clear()
    caller = asyncio.create_task(memory.tools.cached("t", 1, stuck, lease_seconds=0.3))
    await eventually(lambda: stuck.runs, what="it is being computed")
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    assert await memory.tools.cached("t", 1, Tool("next")) == "next"
