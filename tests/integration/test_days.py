"""A day of an agent in few words: made once, found by its date, and gone with anything that it was made of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

import memoryd.agent.days
from memoryd import MemoryClient
from memoryd.agent.days import chosen
from memoryd.agent.documents import DocumentStore
from memoryd.archive.documents import DocumentArchive
from memoryd.clock import SystemClock
from memoryd.errors import BadRequest, NotFound, SummarizerFailed
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change, Documents
from memoryd.jobs.asking import Jobs
from memoryd.jobs.reports import JobRuns
from memoryd.jobs.state import JobStates
from memoryd.limits import DAY_CHARS_MAX, DAY_SOURCES_MAX, DAYS_BACK_MAX
from memoryd.model.day import check_over, day_place
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from memoryd.summarize.protocol import Passage
from memoryd_sync.documents import DocumentReconciler
from tests.integration.commands import invoke
from tests.integration.test_compression import SAID, is_gone
from tests.integration.test_summaries import Scripted
from tests.integration.tools import caught_up, hot, verified
from tests.waiting import eventually
from tests.world import World

TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)
SCOUT = Scope("acme", "support", "scout")


@pytest.fixture
async def scripted(settings: Any) -> AsyncIterator[World]:
    """A memoryd whose summariser does what the test says."""
    async with World(settings) as world:
        world.summarizer = Scripted()
        await world.start("daemon", "sync")
        yield world


async def live(memory: MemoryClient, day: date = YESTERDAY, **details: Any) -> list[str]:
    """A day's talk; the ids."""
    at = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    talk = [
        {"content": text, "type": "episodic", "valid_from": (at + timedelta(minutes=number)).isoformat(), **details}
        for number, text in enumerate(SAID)
    ]
    return [one.id for one in await memory.store_many(talk, wait="searchable") if isinstance(one, Stored)]


def jobs_of(world: World) -> Jobs:
    return Jobs(JobStates(world.redis), JobRuns(world.archive), SystemClock())


def calls_of(world: World) -> list[int]:
    """How many passages the summariser is given from now on, call by call."""
    script, calls = world.summarizer, list[int]()
    assert isinstance(script, Scripted)
    act = script.act

    async def counted(passages: Sequence[Passage], chars: int) -> str:
        calls.append(len(passages))
        return await act(passages, chars)

    script.act = counted
    return calls


async def test_a_day_is_summarised_once_and_told_by_its_date(scripted: World) -> None:
    """Its sources stay where they are, the key holds no text, and the answer leads to what was said."""
    calls = calls_of(scripted)
    async with scripted.connect() as memory:
        ids = await live(memory)
        await live(memory, TODAY - timedelta(days=3))
        with pytest.raises(NotFound, match="has no summary") as none:
            await memory.day(YESTERDAY)
        assert "make=True" in str(none.value.hint)

        day = await memory.day(YESTERDAY, make=True)

        assert (day.date, day.agent, day.memories, day.left_out, day.made_by) == (YESTERDAY, "scout", 6, 0, "scripted")
        assert day.chars == sum(map(len, SAID))
        assert 0 < len(day.text) <= min(DAY_CHARS_MAX, day.chars / 2)
        assert day.sources == ids
        summary = await memory.get(day.summary)
        assert (summary.content, summary.tags, summary.session_id) == (day.text, ["summary", "day"], "")
        assert [one.content for one in (await memory.expand(day.summary)).memories] == list(SAID)
        assert {one.memory.tier for one in (await hot(scripted)).values()} == {"short"}
        assert await memory.day(str(YESTERDAY), make=True) == await memory.day(YESTERDAY) == day
        assert calls == [6]

        place = day_place(SCOUT, YESTERDAY)
        key = scripted.keys.document(place)
        assert key == f"aether:context:compressed:{{{scripted.keys.bucket(place.id)}}}:acme:support:scout:{YESTERDAY}"
        noted = json.loads(await scripted.redis.execute_command("JSON.GET", key))  # type: ignore[no-untyped-call]
        assert noted["summary"] == day.summary
        assert not any(word in json.dumps(noted) for word in day.text.split() if len(word) > 4)
        await caught_up(scripted, memory)
        # A session's end does not take it for the summary that would stand for its memories.
        assert (await memory.compress(ids=ids)).groups[0].outcome == "compressed"


async def test_a_day_is_its_agents_own(scripted: World) -> None:
    """Not another agent's, tenant's or project's, and of no session alone; a project's client names the agent."""
    async with scripted.connect() as memory:
        await live(memory)
        day = await memory.day(YESTERDAY, make=True)
        for elsewhere in ({"agent": "other"}, {"tenant": "evil"}, {"project": "else"}):
            async with scripted.connect(**elsewhere) as stranger:
                with pytest.raises(NotFound):
                    await stranger.day(YESTERDAY)
                with pytest.raises(NotFound, match="nothing of this day"):
                    await stranger.day(YESTERDAY, make=True)
    async with scripted.connect(agent="") as project, scripted.connect(session="s1") as session, scripted.connect() as memory:
        assert await project.day(YESTERDAY, agent="scout") == day
        for wrong in (project.day(YESTERDAY), session.day(YESTERDAY), memory.day(YESTERDAY, agent="other")):
            with pytest.raises(BadRequest):
                await wrong
        await memory.share(day.summary, "other")
        async with scripted.connect(agent="other") as other:
            with pytest.raises(NotFound):
                await other.day(YESTERDAY)


async def test_a_day_that_is_not_over_and_what_is_no_day_are_refused(world: World, memory: MemoryClient) -> None:
    """With the reason, whatever is remembered of it."""
    await live(memory, TODAY + timedelta(days=1))
    for wrong in (TODAY + timedelta(days=1), "9999-12-31", "2026-02-30", "yesterday", "20261126", "2026-11-26T00:00:00Z", ""):
        with pytest.raises(BadRequest):
            await memory.day(wrong, make=True)
    with pytest.raises(BadRequest, match="not over"):
        check_over(date(2026, 11, 27), datetime(2026, 11, 27, 23, 59, tzinfo=UTC))
    check_over(date(2026, 11, 26), datetime(2026, 11, 27, tzinfo=UTC))
    with pytest.raises(NotFound):
        await memory.day("0001-01-01", make=True)


async def test_what_is_forgotten_of_a_day_is_nowhere_and_the_day_is_made_anew_without_it(scripted: World) -> None:
    """The day does not pretend: it has no summary until then."""
    async with scripted.connect() as memory:
        ids = await live(memory)
        day = await memory.day(YESTERDAY, make=True)
        await caught_up(scripted, memory)

        forgotten = await memory.forget(ids[1], durability="archived")

        assert (await verified(memory, forgotten.receipt)).ok
        assert await is_gone(memory, day.summary)
        with pytest.raises(NotFound, match="has no summary"):
            await memory.day(YESTERDAY)
        assert not await scripted.redis.exists(scripted.keys.document(day_place(SCOUT, YESTERDAY)))
        await nothing_of("shelter", scripted)
        assert (await jobs_of(scripted).run("days")).done == {"days": 1, "made": 1, "refused": 0}
        anew = await memory.day(YESTERDAY)
        assert anew.summary != day.summary
        assert anew.sources == [one for one in ids if one != ids[1]]
        await caught_up(scripted, memory)
        await nothing_of("shelter", scripted)

        receipt = await memory.forget_many(everything=True, durability="archived")
        assert receipt.removed["mongodb"]["days"] == 1
        assert (await verified(memory, receipt.id)).ok
        assert await scripted.archive.collection("days").count_documents({"tombstone": {"$ne": True}}) == 0
        await nothing_of("Ingrid", scripted)
        assert (await jobs_of(scripted).run("days")).done == {"days": 0, "made": 0, "refused": 0}


async def test_a_summary_is_made_anew_and_a_note_that_names_what_is_forgotten_is_none(scripted: World) -> None:
    """Of the same memories, and of what was remembered later. Such a note is left over where the archiver alone knew what a
    summary was made of; it goes with its agent."""
    async with scripted.connect() as memory:
        await live(memory)
        day = await memory.day(YESTERDAY, make=True)
        await caught_up(scripted, memory)
        place = day_place(SCOUT, YESTERDAY)
        store = DocumentStore(
            Documents(scripted.redis, scripted.keys), DocumentArchive(scripted.archive), SystemClock()
        )
        noted = await store.get(place)
        assert noted
        await memory.forget(day.summary, durability="archived")
        second = await memory.day(YESTERDAY, make=True)
        assert (second.summary != day.summary, second.sources) == (True, day.sources)
        await memory.forget(second.summary, durability="archived")
        await store.put(Change(place, noted.body, Request("restored", "f")))
        with pytest.raises(NotFound, match="has no summary"):
            await memory.day(YESTERDAY)
        assert (await jobs_of(scripted).run("days")).done == {"days": 1, "made": 1, "refused": 0}
        anew = await memory.day(YESTERDAY)
        assert (anew.summary in (day.summary, second.summary), anew.sources) == (False, day.sources)

        older = day_place(SCOUT, TODAY - timedelta(days=30))
        await store.put(Change(older, {**noted.body, "date": str(TODAY - timedelta(days=30))}, Request("older", "f")))
        await caught_up(scripted, memory)
        receipt = await memory.forget_many(everything=True, durability="archived")
        assert receipt.removed["mongodb"]["days"] == 2
        assert await store.get(older) is None
        assert (await verified(memory, receipt.id)).ok
        await store.put(Change(older, noted.body, Request("from a backup", "f")))
        await caught_up(scripted, memory)
        assert {one.where for one in (await memory.verify_receipt(receipt.id)).findings} == {"days"}


async def nothing_of(text: str, world: World) -> None:
    """Asserts that neither store holds it."""
    assert text.encode() not in await world.everything_in_redis()
    assert text not in await world.everything_in_mongo()


async def test_a_day_of_a_few_words_has_fewer_and_one_of_one_memory_none(scripted: World) -> None:
    """Its summary is at most half as long; who asks for more hears why not."""
    async with scripted.connect() as memory:
        short = ("Ada sold the boat on Friday.", "Ben cooks the plum jam at noon.", "The garden behind the house grows well.")
        await memory.store(short[0], valid_from=f"{YESTERDAY}T09:00:00Z")
        with pytest.raises(SummarizerFailed, match="one memory alone"):
            await memory.day(YESTERDAY, make=True)
        for text in short[1:]:
            await memory.store(text, valid_from=f"{YESTERDAY}T10:00:00Z")
        day = await memory.day(YESTERDAY, make=True)
        assert 0 < 2 * len(day.text) <= day.chars == sum(map(len, short))


TRAIN = "Cy: The train to Boston leaves at nine."


async def test_a_day_whose_session_was_compressed_is_made_of_what_was_said(scripted: World) -> None:
    """Not of the few words that stand for it: a day with one short session has a summary, too."""
    calls = calls_of(scripted)
    async with scripted.connect() as memory:
        said = await live(memory, session="s1")
        assert (await memory.compress(session="s1")).moved == 6
        day = await memory.day(YESTERDAY, make=True)
        assert calls == [6, 6]
        assert (day.sources, day.memories, day.chars) == (said, 6, sum(map(len, SAID)))
        assert (await memory.compress(session="s1")).memories == 0


async def test_of_many_memories_a_sessions_summary_stands_for_what_it_stands_for(
    scripted: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is counted twice, and a forget of what was said reaches the day through it."""
    monkeypatch.setattr(memoryd.agent.days, "DAY_SOURCES_MAX", 5)
    script = scripted.summarizer
    assert isinstance(script, Scripted)
    async with scripted.connect() as memory:
        said = await live(memory, session="s1")
        [group] = (await memory.compress(session="s1")).groups
        late = await memory.store(TRAIN, valid_from=f"{YESTERDAY}T20:00:00Z", wait="searchable")

        async def terse(passages: Sequence[Passage], chars: int) -> str:
            return "The train to Boston leaves at nine."

        script.act = terse
        day = await memory.day(YESTERDAY, make=True)
        assert day.sources == [group.summary, late.id]
        assert (day.memories, day.left_out, day.chars) == (7, 0, sum(map(len, SAID)) + len(TRAIN))
        await caught_up(scripted, memory)
        await memory.forget(said[1], durability="archived")
        await eventually(lambda: is_gone(memory, day.summary), what="the day's summary is forgotten too")
        with pytest.raises(NotFound, match="has no summary"):
            await memory.day(YESTERDAY)
        await caught_up(scripted, memory)
        await nothing_of("shelter", scripted)


def test_a_session_that_goes_on_tomorrow_stands_for_nothing_and_what_was_changed_since_speaks_itself() -> None:
    """Else a day would tell of another one, or of what is not so any more."""
    at = datetime(2026, 5, 8, 9, tzinfo=UTC)

    def of(number: int, **details: Any) -> Memory:
        when = at + timedelta(hours=number)
        usual = {"memory_type": MemoryType.EPISODIC, "content": f"{number}", "content_hash": "", "importance": 0.5, "version": 1}
        times = {"created_at": at, "last_accessed": at, "valid_from": when, "recorded_at": at}
        return Memory(**{"id": f"mem_{number}", "tenant": "t", "project": "p", **usual, **times, **details})

    def summary(number: int, of_these: list[str], until: datetime) -> Memory:
        told = {"until": until.isoformat(), "chars": 100}
        return of(
            number, tags=["summary"], source_tool="compress", derived_from=of_these, metadata={"summary": told},
            recorded_at=at + timedelta(hours=1),
        )  # fmt: skip

    memories = [
        of(1), of(2), of(3, recorded_at=at + timedelta(hours=2)), of(4),
        summary(5, ["mem_1", "mem_2", "mem_3"], at), summary(6, ["mem_4", "mem_9"], at + timedelta(days=1)),
    ]  # fmt: skip
    found = chosen(memories, at + timedelta(hours=15), most=3)
    assert [one.id for one in found.sources] == ["mem_3", "mem_4", "mem_5"]
    assert (found.memories, found.left_out, found.chars) == (4, 0, 102)


async def test_of_too_many_memories_a_day_says_how_many_it_leaves_out(scripted: World) -> None:
    """The most important are in it, and hours of all the day."""
    async with scripted.connect() as memory:
        at = datetime(YESTERDAY.year, YESTERDAY.month, YESTERDAY.day, tzinfo=UTC)
        talk = [
            {
                "content": f"Crate {number} with {SAID[number % 6]}", "type": "episodic",
                "importance": 0.5 if number % 50 else 0.9, "valid_from": (at + timedelta(minutes=4 * number)).isoformat(),
            }
            for number in range(DAY_SOURCES_MAX + 44)
        ]  # fmt: skip
        ids = [one.id for some in (talk[:150], talk[150:]) for one in await memory.store_many(some) if isinstance(one, Stored)]
        day = await memory.day(YESTERDAY, make=True)
        assert (day.memories, day.left_out, len(day.sources)) == (DAY_SOURCES_MAX, 44, DAY_SOURCES_MAX)
        assert set(ids[::50]) <= set(day.sources)
        assert day.sources == [one for one in ids if one in set(day.sources)]
        assert min(len(set(ids[first : first + 75]) & set(day.sources)) for first in range(0, 300, 75)) > 40


async def test_a_summariser_that_is_no_good_changes_nothing_and_the_reason_is_told(scripted: World) -> None:
    """To who asked for it; the night counts it."""
    script = scripted.summarizer
    assert isinstance(script, Scripted)
    act = script.act
    async with scripted.connect() as memory:
        await live(memory)
        await caught_up(scripted, memory)
        here = await hot(scripted)
        for answer, why in ((" ", "it is empty"), (RuntimeError(SAID[0]), "RuntimeError"), ("Rates rose.", "something else")):

            async def answers(passages: Sequence[Passage], chars: int, answer: Any = answer) -> str:
                if isinstance(answer, Exception):
                    raise answer
                return str(answer)

            script.act = answers
            with pytest.raises(SummarizerFailed, match=why) as error:
                await memory.day(YESTERDAY, make=True)
            assert "mortgage" not in str(error.value)
        assert (await jobs_of(scripted).run("days")).done == {"days": 1, "made": 0, "refused": 1}
        assert await hot(scripted) == here
        assert await scripted.archive.collection("days").count_documents({}) == 0
        script.act = act
        assert (await jobs_of(scripted).run("days")).done == {"days": 1, "made": 1, "refused": 0}


async def test_a_night_makes_the_days_that_were_missed_each_once(scripted: World) -> None:
    """Of every agent, as far back as is said; what was made and not noted is noted, not made twice."""
    calls = calls_of(scripted)
    far = TODAY - timedelta(days=DAYS_BACK_MAX + 1)
    odd, none = scripted.connect(tenant="umbra", agent="a:b,c|*"), scripted.connect(agent="")
    async with scripted.connect() as memory, odd as other, none as nobody:
        for day in (YESTERDAY, TODAY - timedelta(days=DAYS_BACK_MAX), far, TODAY):
            await live(memory, day)
        await live(other)
        await live(nobody)
        await memory.episodes.record("step", {"of": "work"})
        await caught_up(scripted, memory)
        run = await jobs_of(scripted).run("days")
        assert (run.outcome, run.done) == ("ok", {"days": 3, "made": 3, "refused": 0})
        made = [await memory.day(YESTERDAY), await memory.day(TODAY - timedelta(days=DAYS_BACK_MAX)), await other.day(YESTERDAY)]
        assert [one.memories for one in made] == [6, 6, 6]
        with pytest.raises(NotFound):
            await memory.day(far)
        assert (await memory.day(far, make=True)).memories == 6
        assert (await jobs_of(scripted).run("days")).done == {"days": 3, "made": 0, "refused": 0}
        assert calls == [6] * 4

        # As who has died between the summary and its note.
        await caught_up(scripted, memory)
        key = scripted.keys.document(day_place(SCOUT, YESTERDAY))
        await scripted.archive.collection("days").delete_many({})
        await scripted.redis.delete(key)
        assert (await jobs_of(scripted).run("days")).done["made"] == 1
        assert await memory.day(YESTERDAY) == made[0]
        assert calls == [6] * 4


async def test_an_emptied_redis_has_its_days_again_and_a_comparison_knows_them(world: World, memory: MemoryClient) -> None:
    """From the archive, on first use; what the archive lacks is mended from Redis."""
    await live(memory)
    day = await memory.day(YESTERDAY, make=True)
    await world.drained(memory)
    documents = DocumentReconciler(Documents(world.redis, world.keys), DocumentArchive(world.archive))
    assert ((found := await documents.compare()).hot, found.behind) == (1, [])
    await world.archive.collection("days").delete_many({})
    [place] = (await documents.compare()).behind
    await documents.mend(place)
    await world.drained(memory)
    assert (await documents.compare()).behind == []

    await world.stop("daemon")
    await world.stop("sync")
    await world.redis.flushall()
    await world.start("daemon", "sync")
    assert await memory.day(YESTERDAY) == day
    assert await world.redis.exists(world.keys.document(day_place(SCOUT, YESTERDAY)))


async def test_the_command_tells_a_day(world: World, memory: MemoryClient) -> None:
    """And says with its exit code that there is none."""
    await live(memory)
    scope = ("--tenant", "acme", "--project", "support", "--agent", "scout")

    async def command(*words: str) -> Any:
        return await invoke(world.settings, "day", *words, *scope)

    assert (await command(str(YESTERDAY))).code == 3
    assert (await command("26.11.2026")).code == 2
    made = (await command(str(YESTERDAY), "--make", "--json")).json
    assert made["memories"] == 6
    told = (await command(str(YESTERDAY))).out
    assert made["text"].splitlines()[0] in told
    assert made["summary"] in told
