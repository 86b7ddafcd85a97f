"""The session that a runtime works in: nothing of it is lost, however it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, NoAnswer
from memoryd.model.episode import Episode
from memoryd.model.memory import Durability
from memoryd.protocol.episodes import EpisodeClient
from memoryd.summarize.protocol import Passage
from tests.integration.test_compression import SAID
from tests.integration.test_summaries import Scripted
from tests.integration.tools import hot
from tests.world import World


async def search(given: Any) -> Any:
    return {"answer": f"about {given['q']}"}


async def events(memory: MemoryClient, kind: str) -> list[Episode]:
    """The agent's events of a kind, oldest first."""
    logged = [one.episode for one in (await memory.episodes.replay()).entries]
    return [one for one in logged if one.event_type == kind]


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
    assert (closed.outcome, closed.error_kind, closed.session) == ("error", "ZeroDivisionError", "s1")
    assert closed.data is not None
    assert [closed.data[name] for name in ("messages", "tool_calls", "checkpoints")] == [1, 1, 1]
    [fact] = [hit.memory for hit in await memory.recall("tea", types=["fact"])]
    assert (fact.content, fact.source_tool, fact.session_id) == ("about tea", "web_search", "s1")

    async with memory.session("s1") as session:
        assert session.variables == {"plan": {"step": 1}}
        assert [one.content for one in session.messages] == ["hello"]
        del session.variables["plan"]
        session.variables["next"] = None
        await session.set("beside", 1)  # by another hand: it is not the helper's to touch
    assert (await memory.working("s1").get()).value == {"next": None, "beside": 1}


async def test_a_tool_runs_once_and_every_call_is_an_event(memory: MemoryClient) -> None:
    """Also one that fails: with its kind, and the error goes on to the agent. What no event can hold is named by its type."""
    ran = []

    async def counted(given: Any) -> Any:
        ran.append(given)
        return await search(given)

    async def broken(given: Any) -> Any:
        raise LookupError(given)

    async def long(given: Any) -> Any:
        return "x" * 500_000

    async with memory.session("s1") as session:
        found = [await session.tool("web_search", {"q": "tea"}, call=counted) for _ in range(3)]
        assert len(await session.tool("page", "tea", call=long)) == 500_000
        with pytest.raises(LookupError):
            await session.tool("broken", {"q": "tea"}, call=broken)
        with pytest.raises(BadRequest, match="tool"):
            await session.tool("no\nname", "tea", call=long)
    assert len(ran) == 1
    assert found == [{"answer": "about tea"}] * 3
    calls = await events(memory, "tool_call")
    assert [(one.tool, one.outcome, one.error_kind) for one in calls] == [
        *[("web_search", "ok", "")] * 3, ("page", "ok", ""), ("broken", "error", "LookupError")
    ]  # fmt: skip
    assert [one.data["cached"] for one in calls if one.data] == [False, True, True, False, False]
    assert calls[3].data is not None
    assert calls[3].data["output"] == {"left_out": "str"}
    assert all(one.latency_us is not None for one in calls)


async def test_a_tool_s_result_does_not_wait_for_its_event(memory: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be recorded is recorded when the session ends, in order and once."""
    record = EpisodeClient.record

    async def away(*_: Any, **__: Any) -> Any:
        raise NoAnswer

    async with memory.session("s1") as session:
        monkeypatch.setattr(EpisodeClient, "record", away)
        for number in range(3):
            assert await session.tool("web_search", {"q": str(number)}, call=search) == {"answer": f"about {number}"}
        monkeypatch.setattr(EpisodeClient, "record", record)
    logged = await events(memory, "tool_call")
    assert [one.data["input"]["q"] for one in logged if one.data] == ["0", "1", "2"]
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


async def test_a_context_recalls_under_conditions(world: World, memory: MemoryClient) -> None:
    """What narrows a question narrows a context's memories; what is wrong in it is named, and costs nothing."""
    for number, topic in enumerate(("tea", "tea", "work")):
        await memory.store(f"Tea fact {number}.", type="fact", tags=[topic], metadata={"topic": topic, "number": number})
    await memory.store("Tea was drunk.", type="episodic", tags=["tea"])
    await world.drained(memory)
    working = memory.working("s1")
    await working.open()
    found = await working.context("tea fact", types=["fact"], tags=["tea"], metadata={"number": [0, 2]}, diversity=0.3)
    assert [hit.memory.content for hit in found.recalled] == ["Tea fact 0."]
    with pytest.raises(BadRequest):
        await working.context("tea fact", types=["dream"])
    with pytest.raises(BadRequest):
        await working.context("tea fact", min_likeness=2.0)


async def test_what_was_said_is_compressed_at_the_end_and_the_session_comes_back_whole(world: World, memory: MemoryClient) -> None:
    """Its summary is recalled, its messages are expanded, and closing it again says only what is new."""
    async with memory.session("s1") as session:
        await session.append({"role": "system", "content": "You are a helpful assistant of the Larsen family."})
        await session.append(*({"role": "user", "name": "Ada", "content": one.partition(": ")[2]} for one in SAID))
    assert session.closed is not None
    [summary] = session.closed.summaries
    assert (session.closed.archived, session.closed.not_compressed) == (6, "")
    expanded = await memory.expand(summary)
    assert [one.content.partition(": ")[2] for one in expanded.memories] == [one.partition(": ")[2] for one in SAID]
    assert summary in [hit.memory.id for hit in await memory.recall("Where did Ingrid find a job?")]
    assert (await hot(world)).keys() >= {summary}
    assert not (await hot(world)).keys() & {one.id for one in expanded.memories}

    async with memory.session("s1") as session:
        assert len(session.messages) == 7
        await session.append({"role": "user", "name": "Ada", "content": "Thanks!"})
    assert session.closed is not None
    assert (session.closed.summaries, session.closed.archived) == ([], 0)
    assert "one memory alone" in session.closed.not_compressed

    await memory.forget(expanded.memories[0].id, durability="archived")
    left = [one.content for one in (await memory.working("s1").window(10)).messages]
    assert len(left) == 7  # the message went with its memory
    assert not any("mortgage" in one for one in left)


async def test_a_session_that_cannot_be_compressed_is_closed_and_says_why(world: World, memory: MemoryClient) -> None:
    """Also when the summariser breaks; and who does not want it leaves what was said in the session alone."""
    world.summarizer = scripted = Scripted()

    async def breaks(passages: Sequence[Passage], chars: int) -> str:
        raise RuntimeError("boom")

    scripted.act = breaks
    await world.stop("daemon")
    await world.start("daemon")
    async with memory.session("s1") as session:
        await session.append(*({"role": "user", "content": one} for one in SAID))
    assert session.closed is not None
    assert (session.closed.status, session.closed.archived, session.durability) == ("closed", 0, Durability.ARCHIVED)
    assert "RuntimeError" in session.closed.not_compressed
    async with memory.session("s2", compress=False) as session:
        await session.append(*({"role": "user", "content": one} for one in SAID))
    assert {one.memory.session_id for one in (await hot(world)).values() if "message" in one.memory.tags} == {"s1"}
