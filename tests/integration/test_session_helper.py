"""The session that a runtime works in: nothing of it is lost, however it ends."""

from __future__ import annotations

from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, NoAnswer
from memoryd.model.memory import Durability, Memory
from tests.world import World


async def search(given: Any) -> Any:
    return {"answer": f"about {given['q']}"}


async def events(memory: MemoryClient, kind: str) -> list[Memory]:
    """What is remembered of the session's events of a kind."""
    return [hit.memory for hit in await memory.recall(kind, types=["episodic"], tags=[kind], session="s1", limit=50)]


async def test_a_session_that_ends_with_an_error_is_saved_and_says_so(world: World, memory: MemoryClient) -> None:
    """Variables, messages, the event with its counts; and the error is the agent's own."""
    session = memory.session("s1")

    async def work() -> None:
        async with session:
            assert (session.opened.source, session.messages, session.variables) == ("new", [], {})
            await session.append({"role": "user", "content": "hello"})
            session.variables["plan"] = {"step": 1}
            await session.tool("web_search", {"q": "tea"}, call=search, facts=lambda result: [result["answer"]])
            await session.checkpoint("before the end")
            session.variables["plan"]["step"] = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await work()
    assert session.closed is not None
    assert (session.closed.status, session.durability) == ("closed", Durability.ARCHIVED)
    [closed] = await events(memory, "session_closed")
    assert (closed.metadata["outcome"], closed.metadata["error"], closed.session_id) == ("error", "ZeroDivisionError", "s1")
    assert [closed.metadata[name] for name in ("messages", "tool_calls", "checkpoints")] == [1, 1, 1]
    [fact] = [hit.memory for hit in await memory.recall("tea", types=["fact"])]
    assert (fact.content, fact.source_tool, fact.session_id) == ("about tea", "web_search", "s1")

    async with memory.session("s1") as session:
        assert session.variables == {"plan": {"step": 1}}
        assert [one.content for one in session.messages] == ["hello"]
        del session.variables["plan"]
        session.variables["next"] = None
        await session.set("beside", 1)  # by another hand: it is not the helper's to touch
    assert (await memory.working("s1").get()).value == {"next": None, "beside": 1}


async def test_every_call_of_a_tool_is_an_event(memory: MemoryClient) -> None:
    """Also one that fails: with its kind, and the error goes on to the agent. What no event can hold is named by its type."""

    async def broken(given: Any) -> Any:
        raise LookupError(given)

    async def page(given: Any) -> Any:
        return {"text": "x" * 50_000, "raw": b"bytes"}

    async with memory.session("s1") as session:
        assert await session.tool("web_search", {"q": "tea"}, call=search) == {"answer": "about tea"}
        assert (await session.tool("page", "tea", call=page))["raw"] == b"bytes"
        with pytest.raises(BadRequest, match="tool"):
            await session.tool("no\nname", "tea", call=page)
        deep: Any = "tea"
        for _ in range(40):
            deep = [deep]
        await session.tool("deep", deep, call=page)
        with pytest.raises(LookupError):
            await session.tool("broken", {"q": "tea"}, call=broken)
    calls = {one.source_tool: one.metadata for one in await events(memory, "tool_call")}
    assert {tool: told["outcome"] for tool, told in calls.items()} == {
        "web_search": "ok", "page": "ok", "broken": "error", "deep": "ok"
    }  # fmt: skip
    assert calls["web_search"]["output"] == {"answer": "about tea"}
    assert calls["page"]["output"] == {"left_out": "dict"}
    assert calls["broken"]["error"] == "LookupError"
    assert all(told["latency_us"] >= 0 for told in calls.values())


async def test_a_tool_s_result_does_not_wait_for_its_event(memory: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be stored is remembered when the session ends, in order and once."""
    store = MemoryClient.store

    async def away(*_: Any, **__: Any) -> Any:
        raise NoAnswer

    async with memory.session("s1") as session:
        monkeypatch.setattr(MemoryClient, "store", away)
        for number in range(3):
            assert await session.tool("web_search", {"q": str(number)}, call=search) == {"answer": f"about {number}"}
        monkeypatch.setattr(MemoryClient, "store", store)
    logged = sorted(await events(memory, "tool_call"), key=lambda one: one.recorded_at)
    assert [one.metadata["input"]["q"] for one in logged] == ["0", "1", "2"]
    assert len(await events(memory, "session_closed")) == 1


async def test_a_context_keeps_to_its_budget_and_says_what_it_left_out(world: World, memory: MemoryClient) -> None:
    """Each part is counted; what was recalled is noted in the session, and captured by its checkpoints."""
    kept = [await memory.store(f"Tea fact {number}: " + "leaf " * 20, type="fact") for number in range(6)]
    await world.drained(memory)
    async with memory.session("s1") as session:
        await session.append(*({"role": "user", "content": f"remark {number} " + "word " * 10} for number in range(20)))
        session.variables |= {"small": 1, "large": "x" * 3000}
        await session.save()
        context = await session.context("tea fact", budget_tokens=400, limit=6)
        taken = await session.checkpoint()
        state = await session.checkpoint_state(taken.number)
    assert sum(context.tokens.values()) <= context.budget_tokens == 400
    assert all(context.tokens.values())
    assert context.variables == {"small": 1}
    assert [one.number for one in context.messages] == list(range(20))[-len(context.messages) :]
    assert context.left_out == {
        "recalled": 6 - len(context.recalled), "messages": 20 - len(context.messages), "variables": 1
    }  # fmt: skip
    assert state.recalled == {hit.memory.id: hit.memory.version for hit in context.recalled}
    assert state.recalled.keys() <= {one.id for one in kept}
