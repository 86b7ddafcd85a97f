"""An agent looks at itself: every number is one that can be counted again from the raw memories and events."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

import memoryd.stores
from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd.model.episode import Episode
from tests.fakes import HashEmbedder
from tests.integration.commands import Commands
from tests.world import World

TOOLS = ("search", "mail", "", "shell|*")
KINDS = ("timeout", "quota", "")


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """With vectors so wide that none is like another by chance."""
    async with World(settings) as world:
        world.embedder = HashEmbedder(dims=512)
        await world.start("daemon", "sync")
        yield world


async def a_busy_month(memory: MemoryClient, count: int = 60) -> None:
    """Events with all outcomes, latencies and times, some of them older than the report."""
    chance = random.Random(7)
    now = datetime.now(UTC)
    for number in range(count):
        outcome = chance.choice(("ok", "ok", "error", "none"))
        await memory.episodes.record(
            chance.choice(("tool_call", "llm_call")), {"n": number}, tool=chance.choice(TOOLS), outcome=outcome,
            error_kind=chance.choice(KINDS) if outcome == "error" else "",
            latency_seconds=chance.choice((None, chance.random())), session=chance.choice((None, "s1")),
            happened_at=now - timedelta(hours=chance.randrange(24 * 40), minutes=5),
        )  # fmt: skip


async def raw_events(memory: MemoryClient, since: datetime) -> list[Episode]:
    """All events of the log since then, by a replay of it."""
    found: list[Episode] = []
    after, more = "", True
    while more:
        part = await memory.episodes.replay(after=after, agent="scout")
        found += [one.episode for one in part.entries]
        after, more = part.next, part.more
    return [one for one in found if one.happened_at >= since]


def counted(events: list[Episode]) -> dict[str, Any]:
    """The numbers of a tool's report, counted in another way than the daemon does."""
    ended = [one for one in events if one.outcome != "none"]
    times = sorted(one.latency_us for one in ended if one.latency_us is not None)
    wrong = [one for one in ended if one.outcome == "error"]
    ranks = {f"p{p}_us": times[math.ceil(p / 100 * len(times)) - 1] for p in (50, 95, 99)} if times else {}
    return {
        "calls": len(ended), "ok": len(ended) - len(wrong), "errors": len(wrong),
        "rate": round(1 - len(wrong) / len(ended), 6) if ended else None,
        "kinds": Counter(one.error_kind for one in wrong if one.error_kind),
        "times": (len(times), times[-1] if times else None, ranks),
    }  # fmt: skip


def told(report: Any) -> dict[str, Any]:
    """The same of a report."""
    latency = report.latency
    ranks = {name: getattr(latency, name) for name in ("p50_us", "p95_us", "p99_us")} if latency else {}
    return {
        "calls": report.calls, "ok": report.ok, "errors": report.errors, "rate": report.success_rate,
        "kinds": report.error_kinds, "times": (latency.calls if latency else 0, latency and latency.max_us, ranks),
    }  # fmt: skip


async def check_doing(memory: MemoryClient, days: int) -> None:
    """The report is what a recomputation from the raw episodes says."""
    found = await memory.introspect(days=days)
    doing = found.doing
    assert found.source == "archive"
    raw = await raw_events(memory, doing.since)
    assert doing.events == len(raw) > 0
    assert doing.by_event == Counter(one.event_type for one in raw)
    assert told(doing.all) == counted(raw)
    assert {one.tool: told(one) for one in doing.tools} == {
        tool: counted([one for one in raw if one.tool == tool]) for tool in {one.tool for one in raw} - {""}
    }
    ended = [one for one in raw if one.outcome != "none"]
    by_day = Counter(f"{one.happened_at:%Y-%m-%d}" for one in ended)
    wrong = Counter(f"{one.happened_at:%Y-%m-%d}" for one in ended if one.outcome == "error")
    assert [(one.day, one.calls, one.errors) for one in doing.days] == [(d, by_day[d], wrong[d]) for d in sorted(by_day)]


async def test_how_well_it_is_doing_equals_a_recount_of_the_raw_episodes(world: World, memory: MemoryClient) -> None:
    """Over hot window and archive, also when some events are in one store only; for one session as well."""
    await a_busy_month(memory)
    async with world.connect(agent="other") as other:
        await other.episodes.record("tool_call", {}, tool="search", outcome="error", error_kind="timeout")
    for days in (3, 30, 365):
        await check_doing(memory, days)
    events = await raw_events(memory, datetime.now(UTC) - timedelta(days=365))
    # As a demotion would: only the archive has them.
    await world.lose(*[world.keys.memory("episodic", memory.scope, one.id) for one in events[::2]])
    await check_doing(memory, 30)
    await memory.forget(events[0].id)
    await check_doing(memory, 365)
    async with world.connect(session="s1") as session:
        await check_doing(session, 365)


async def test_without_the_archive_redis_is_counted_and_that_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers, of what lives there."""
    nobody: AsyncMongoClient[Any] = AsyncMongoClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=100)
    monkeypatch.setattr(memoryd.stores, "open_mongo", lambda _: nobody)
    monkeypatch.setattr("memoryd.agent.introspection.CAUGHT_UP_SECONDS", 0.1)
    monkeypatch.setattr("memoryd.archive.store.ARCHIVE_ANSWER_SECONDS", 2.0)
    async with World(settings) as world:
        await world.start("daemon")
        async with world.connect() as memory:
            for n in range(5):
                outcome = "error" if n == 0 else "ok"
                await memory.episodes.record("tool_call", {"n": n}, tool="web search", outcome=outcome, latency_seconds=n)
            for _ in range(2):
                await memory.store("Ada prefers tea.", type="fact")
            found = await memory.introspect(days=2)
            assert (found.source, bool(found.degraded), found.memories) == ("hot", True, 6)
            assert (found.by_type, found.by_age) == ({"episodic": 5, "fact": 1}, {"hour": 6})
            [tool] = found.doing.tools
            assert (tool.tool, tool.calls, tool.errors) == ("web search", 5, 1)
            assert tool.latency is not None
            assert (tool.latency.p50_us, tool.latency.max_us) == (2_000_000, 4_000_000)
            assert [(one.content, one.access_count) for one in found.most_used] == [("Ada prefers tea.", 1)]
            assert found.since is not None
            assert found.latest == found.freshest[0].created_at


async def test_what_it_knows_is_counted_by_kind_age_words_and_names(world: World, memory: MemoryClient) -> None:
    """And nothing of what others know, nor of what was forgotten."""
    for n, place in enumerate(("Graz", "Graz", "Wien", "Linz")):
        await memory.store(f"On day {n} Ada went hiking near {place} with Bob.", type="semantic")
    await memory.store("We hiked a lot.", type="episodic", metadata={"speaker": "Carl"})
    await memory.store("Hiking needs good shoes.", type="procedural", metadata={"speaker": "Carl"})
    for object_, confidence in (("tea", 0.9), ("juice", 0.3)):
        await memory.facts.put("Dora", "likes", object_, many=True, confidence=confidence)
    await memory.facts.end("Dora", "likes", "juice")
    await memory.facts.put("Dora", "has", "a dog", confidence=0.4)
    await memory.episodes.record("tool_call", {"of": "hiking"}, tool="search")
    gone = await memory.store("Kumquats kumquats kumquats, said Zora to Zora.")
    await memory.forget(gone.id)
    await memory.agent.set(task="looking around")
    async with world.connect(agent="other") as other, world.connect(agent="") as project:
        await other.store("Hiking is not for me.")
        found = await memory.introspect()
        assert (await project.introspect()).memories == 11
        assert (await project.introspect(agent="other")).memories == 1

    assert (found.source, found.degraded, found.state and found.state.task) == ("archive", "", "looking around")
    assert (found.memories, found.by_type) == (10, {"semantic": 4, "episodic": 2, "procedural": 1, "fact": 3})
    assert (sum(found.by_tier.values()), found.by_age) == (10, {"hour": 10})
    assert (found.surety.facts, found.surety.sure, found.surety.doubtful, found.surety.ended) == (2, 1, 1, 1)
    assert found.surety.mean_confidence == pytest.approx(0.65)
    topics = {one.name: one.memories for one in found.topics}
    assert topics["hiking"] == 6
    assert "kumquats" not in topics
    names = {one.name: one.memories for one in found.entities}
    assert (names["Bob"], names["Carl"], names["Dora"], names["Graz"]) == (4, 2, 3, 2)
    assert "Zora" not in names
    assert "Hiking" not in names
    assert found.freshest[0].created_at == found.latest
    assert found.since is not None
    shown = (await Commands(world.settings)("agent", "introspect")).out
    assert all(word in shown for word in ("hiking (6)", "Dora (3)", "search"))


async def test_what_it_knows_of_something_comes_with_grounds(world: World, memory: MemoryClient) -> None:
    """Facts with their confidence and times, memories with how well they fit; nothing for what it has never heard of."""
    await memory.store("Ada plays the cello on Sundays.", source_tool="chat")
    await memory.facts.put("Ada", "lives_in", "Graz", valid_from=datetime(2020, 1, 1, tzinfo=UTC), confidence=0.6)
    await memory.facts.put("Ada", "lives_in", "Wien", valid_from=datetime(2025, 1, 1, tzinfo=UTC), confidence=0.8)
    await memory.facts.put("Bob", "knows", "Ada", confidence=0.7)

    found = await memory.what_do_i_know("ada")

    assert (found.known, found.confidence, found.since) == (True, 0.8, datetime(2020, 1, 1, tzinfo=UTC))
    assert [(one.object, one.valid_until is None) for one in found.facts if one.subject == "Ada"] == [
        ("Wien", True), ("Graz", False),
    ]  # fmt: skip
    assert [one.subject for one in found.facts if one.object == "Ada"] == ["Bob"]
    evidence = {one.content: one for one in found.evidence}
    assert (evidence["Ada lives in Graz"].holds, evidence["Ada lives in Wien"].holds) == (False, True)
    cello = evidence["Ada plays the cello on Sundays."]
    assert (cello.confidence, cello.fit, cello.source_tool) == (None, 1.0, "chat")
    nothing = await memory.what_do_i_know("zebras")
    assert (nothing.known, nothing.confidence, nothing.facts, nothing.evidence) == (False, None, [], [])
    assert "Wien" in (await Commands(world.settings)("agent", "know", "Ada")).out


async def test_questions_that_found_nothing_are_gaps_that_a_forget_reaches(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, newest first, bounded, the scope's own; a forget takes them by words and by place."""
    await memory.store("Ada prefers tea.")
    for query in ("quokka habitats", "quokka habitats", "zebra stripes", "Ada's tea?"):
        await memory.recall(query)
    await memory.recall("axolotl gills", session="s1")
    await memory.recall("llama wool", types=["procedural"])  # asks for less than is known: no gap
    async with world.connect(agent="other") as other, world.connect(agent="") as project:
        await other.recall("other kumquats")

        gaps = (await memory.introspect()).gaps
        assert [(one.query, one.times, one.session) for one in gaps] == [
            ("axolotl gills", 1, "s1"), ("zebra stripes", 1, ""), ("quokka habitats", 2, ""),
        ]  # fmt: skip
        assert len((await project.introspect()).gaps) == 4
        plan = await memory.plan_forget(words="quokka")
        assert plan.removes["redis"]["gaps"] == 1
        await memory.forget_many(words="quokka")
        await memory.forget_many(session="s1")
        assert [one.query for one in (await memory.introspect()).gaps] == ["zebra stripes"]
        await memory.forget_many(everything=True)
        assert (await memory.introspect()).gaps == []
        assert [one.query for one in (await other.introspect()).gaps] == ["other kumquats"]
    await world.drained(memory)
    assert b"quokka" not in await world.everything_in_redis()

    monkeypatch.setattr("memoryd.hot.gaps.GAPS_MAX", 3)
    for n in range(5):
        await memory.recall(f"nothing about number{n}")
    gaps = (await memory.introspect()).gaps
    assert [one.query[-7:] for one in gaps] == ["number4", "number3", "number2"]
