"""Kept answers to questions: one that is asked in other words is not computed again; nobody gets what is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

import memoryd.hot.tools
from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd.embed.protocol import Vectors
from memoryd.errors import BadRequest, ToolFailed
from tests.fakes import HashEmbedder
from tests.integration.test_tools import Tool, all_ask
from tests.waiting import eventually
from tests.wire import Wire
from tests.world import World

ENTRIES_MAX = 8
FIRST, OTHER_WORDS, ELSEWHERE = "deploy: how do we do it?", "deploy: how does one do that?", "holidays: when are they?"


class Paraphrases(HashEmbedder):
    """Texts with the same beginning, up to a colon, mean nearly the same: 0.04 apart; others about 1."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        topics = await super().embed([text.partition(":")[0] for text in texts])
        rows = topics + 0.2 * await super().embed(list(texts))
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """A memoryd whose model knows paraphrases."""
    async with World(settings) as world:
        world.embedder = Paraphrases()
        await world.start("daemon", "sync")
        yield world


async def questions(world: World) -> int:
    """How many questions are kept, of all agents."""
    return len([key async for key in world.redis.scan_iter(match="aether:cache:question:*")])


async def test_a_question_in_other_words_gets_the_kept_answer(world: World, memory: MemoryClient) -> None:
    """Within the distance that is asked for; another question, another tool and a smaller distance compute."""
    tool = Tool({"answer": "On Thursdays."})
    for query in (FIRST, FIRST, OTHER_WORDS):
        assert await memory.tools.cached_query("faq", query, tool) == tool.result
    assert tool.runs == 1
    claim = await memory.tools.claim("faq", OTHER_WORDS, distance=0.1)
    assert claim.outcome == "hit"
    assert 0.01 < claim.distance < 0.1
    counts = await memory.tools.counts()
    assert (counts.entries, counts.misses, counts.hits, counts.similar) == (1, 1, 3, 2)
    await memory.tools.cached_query("faq", ELSEWHERE, tool)
    await memory.tools.cached_query("other", OTHER_WORDS, tool)
    await memory.tools.cached_query("faq", OTHER_WORDS, tool, distance_threshold=0.001)
    assert tool.runs == 4
    assert await questions(world) == 4


async def test_many_who_ask_in_their_own_words_wait_for_one(world: World, memory: MemoryClient) -> None:
    """Also for the answer to a question that is not their own."""
    tool = Tool("On Thursdays.")
    tool.open.clear()
    patient: dict[str, Any] = {"lease_seconds": 600, "wait_seconds": 600}
    first = asyncio.create_task(memory.tools.cached_query("faq", FIRST, tool, **patient))
    await eventually(lambda: tool.runs, what="it is being computed")
    others = [asyncio.create_task(memory.tools.cached_query("faq", f"{FIRST} {n}", tool, **patient)) for n in range(20)]
    await eventually(lambda: all_ask(memory, 21), what="all have asked")
    tool.open.set()
    assert await asyncio.gather(first, *others) == ["On Thursdays."] * 21
    assert tool.runs == 1


async def test_an_answer_is_its_agents_and_a_private_one_its_sessions(world: World, memory: MemoryClient) -> None:
    """Whoever else asks the very same, or nearly the same, computes for itself."""
    await memory.tools.cached_query("faq", FIRST, Tool("scout's"))
    scopes = ({"agent": "other"}, {"agent": ""}, {"agent": "*"}, {"agent": "scout "}, {"project": "sales"}, {"tenant": "evil"})
    for scope in scopes:
        async with world.connect(**scope) as client:
            for query in (FIRST, OTHER_WORDS):
                assert (await client.tools.claim("faq", query, distance=0.5)).outcome == "compute", scope
                assert await client.tools.invalidate() == 1
    async with world.connect(session="s1") as one, world.connect(session="s2") as two:
        assert await one.tools.cached_query("faq", OTHER_WORDS, Tool()) == "scout's"
        await one.tools.cached_query("mine", FIRST, Tool("of s1"), private=True)
        for private in (True, False):
            claim = await two.tools.claim("mine", OTHER_WORDS, distance=0.5, private=private)
            assert claim.outcome == "compute"


async def test_an_answer_goes_with_its_question(world: World, memory: MemoryClient) -> None:
    """By its time, by an invalidation, when it fails or is too large: no vector stays behind."""
    await memory.tools.cached_query("faq", FIRST, Tool(), tags=["calendar"])
    assert await memory.tools.invalidate(tag="calendar") == 1
    assert await questions(world) == 0
    failing = Tool()
    failing.failure = RuntimeError("out of order")
    with pytest.raises(RuntimeError):
        await memory.tools.cached_query("faq", FIRST, failing, failure_ttl_seconds=30)
    assert await questions(world) == 0
    with pytest.raises(ToolFailed):
        await memory.tools.cached_query("faq", FIRST, failing)
    assert await memory.tools.cached_query("faq", OTHER_WORDS, Tool("works")) == "works"  # a failure answers no other question
    await memory.tools.cached_query("big", FIRST, Tool("x" * 300_000))
    await memory.tools.cached_query("short", FIRST, Tool(), ttl_seconds=0.2)
    for _ in range(2):  # what is due is replaced by a new one, whose question is found
        await eventually(lambda: questions_are(world, 1), what="the short one has gone")
        claim = await memory.tools.claim("short", FIRST, distance=0.1, lease_seconds=600)
        assert claim.outcome == "compute"
        await memory.tools.put(claim, "again", ttl_seconds=600)
        assert (await memory.tools.claim("short", OTHER_WORDS, distance=0.1)).distance > 0
        await due_now(world, memory, claim.key)


async def due_now(world: World, memory: MemoryClient, entry: str) -> None:
    """The time of a kept answer and of its question is over."""
    await world.redis.zadd(world.keys.tool_cache_due(memory.scope), {entry: 1})
    await world.redis.pexpire(world.keys.question(memory.scope, entry), 1)


async def questions_are(world: World, count: int) -> bool:
    """Whether so many are kept."""
    return await questions(world) == count


async def test_a_full_cache_lets_go_of_questions_too(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more questions than entries, however many are asked."""
    monkeypatch.setattr(memoryd.hot.tools, "TOOL_CACHE_ENTRIES_MAX", ENTRIES_MAX)
    claim = await memory.tools.claim("faq", FIRST, distance=0.1)
    await memory.tools.put(claim, "first", ttl_seconds=300)
    await asyncio.gather(*(fill(memory, number) for number in range(ENTRIES_MAX + 4)))
    assert (await memory.tools.counts()).entries == ENTRIES_MAX
    assert await questions(world) == 0
    assert (await memory.tools.claim("faq", OTHER_WORDS, distance=0.1)).outcome == "compute"


async def fill(memory: MemoryClient, number: int) -> None:
    """Keeps a result that stays longer."""
    await memory.tools.put(await memory.tools.claim("fill", number), number, ttl_seconds=600)


async def test_a_forget_takes_kept_answers_and_questions_along(world: World, memory: MemoryClient) -> None:
    """Of the whole scope, physically; another agent's stay. What was left behind of one goes too."""
    canary = "kumquat-4711"
    await memory.tools.cached_query("faq", f"deploy: {canary}?", Tool(f"{canary}!"))
    key = (await memory.tools.claim("faq", FIRST, distance=0.1)).key
    stray: Any = await world.redis.hgetall(world.keys.question(memory.scope, key))
    await world.redis.hset(world.keys.question(memory.scope, "f" * 32), mapping=stray)
    async with world.connect(agent="other") as other:
        await other.tools.cached_query("faq", FIRST, Tool("theirs"))
        assert await questions(world) == 3
        await memory.forget_many(everything=True)
        assert await questions(world) == 1
        assert canary.encode() not in await world.everything_in_redis()
        assert await other.tools.cached_query("faq", OTHER_WORDS, Tool()) == "theirs"
        async with world.connect(agent="") as everybody:
            await everybody.forget_many(everything=True)
    assert await questions(world) == 0


async def test_without_a_model_the_same_words_are_found(world: World, memory: MemoryClient) -> None:
    """And the claim says why no others were looked for."""
    world.embedder.away = True
    tool = Tool()
    for query in (FIRST, FIRST):
        await memory.tools.cached_query("faq", query, tool)
    assert tool.runs == 1
    claim = await memory.tools.claim("faq", OTHER_WORDS, distance=0.1)
    assert (claim.outcome, "only the same words" in claim.degraded) == ("compute", True)
    async with Wire(world) as wire:
        for args in ({"input": {"q": 1}, "distance": 0.1}, {"input": " ", "distance": 0.1}, {"input": "x", "distance": 0.6},
                     {"input": "x", "distance": -0.1}, {"input": "x" * 9000, "distance": 0.1}):  # fmt: skip
            assert (await wire.refused("tool.claim", {"tool": "faq", **args}))["code"] == "bad_request", args
    with pytest.raises(BadRequest):
        await memory.tools.cached_query("faq", FIRST, tool, distance_threshold=2)
