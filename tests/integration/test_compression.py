"""Compression that can be undone: summaries in Redis, everything else in the archive, and each way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import memoryd.archive.deep
from memoryd import MemoryClient
from memoryd.agent import overflow
from memoryd.clock import SystemClock
from memoryd.config import OverflowKept
from memoryd.errors import NotFound
from memoryd.hot.records import Records
from memoryd.lifecycle.grouping import grouped
from memoryd.limits import SUMMARY_GROUP_MAX
from memoryd.model.memory import Memory
from memoryd.model.results import Stored
from memoryd.model.summary import Expanded, for_a_model
from memoryd.summarize.protocol import Passage
from memoryd_sync.place import Places
from tests.integration.test_summaries import Scripted
from tests.integration.tools import caught_up, hot, verified
from tests.waiting import eventually
from tests.world import World

START = datetime(2026, 5, 8, 9, tzinfo=UTC)
SAID = (
    "Ben: I signed the mortgage for the house on Elm Street on Friday, and we move in on 3 May with the piano.",
    "Ada: I adopted a dog called Rex from the shelter last week, and he already sleeps on the sofa every night.",
    "Ben: We are planning a camping trip to Yosemite in July with the kids, the canoe and my brother Karl.",
    "Ada: The pottery class in Boston was fun; I made a blue vase and two cups for my grandmother's birthday.",
    "Ben: My sister Ingrid has found a job as a nurse at the children's hospital in Portland, starting in June.",
    "Ada: I read a book on the history of tea in Japan, and now I want to learn how to whisk matcha properly.",
)


@pytest.fixture
async def quick(settings: Any) -> AsyncIterator[World]:
    """A memoryd whose summariser does what the test says."""
    async with World(settings.model_copy(update={"summarize_timeout_seconds": 0.5})) as world:
        world.summarizer = Scripted()
        await world.start("daemon", "sync")
        yield world


@pytest.fixture
async def shrinking(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A memoryd whose sessions hold eight messages, of which six leave together and are compressed."""
    monkeypatch.setattr(overflow, "SESSION_MESSAGES_MAX", 8)
    monkeypatch.setattr(overflow, "SESSION_OVERFLOW_MESSAGES", 6)
    async with World(settings.model_copy(update={"overflow": OverflowKept.SUMMARIES})) as world:
        world.summarizer = Scripted()
        await world.start("daemon", "sync")
        yield world


async def remember(memory: MemoryClient, session: str, count: int = 1, **details: Any) -> list[str]:
    """A session's talk, `count` times over with other numbers; the ids."""
    talk = []
    for number in range(count * len(SAID)):
        text = SAID[number % len(SAID)] + (f" That was number {number} of {session}." if number >= len(SAID) else "")
        at = (START + timedelta(minutes=number)).isoformat()
        talk.append({"content": text, "type": "episodic", "session": session, "valid_from": at, **details})
    kept = await memory.store_many(talk, wait="searchable")
    return [one.id for one in kept if isinstance(one, Stored)]


async def before(memory: MemoryClient, ids: Sequence[str]) -> dict[str, Memory]:
    """The memories as they are."""
    return {one: await memory.get(one) for one in ids}


def told(one: Memory) -> dict[str, Any]:
    """Everything that somebody said: what a move must not change."""
    moved = ("version", "tier", "embedding_model", "access_count", "last_accessed", "context")
    return {name: value for name, value in msgspec.structs.asdict(one).items() if name not in moved}


async def test_what_is_compressed_leaves_redis_is_still_read_found_and_expanded_and_comes_back(quick: World) -> None:
    """The whole way there and back, byte for byte; nothing of another agent is touched."""
    async with quick.connect() as memory, quick.connect(agent="other") as other:
        ids = await remember(memory, "s1", importance=0.9, tags=["home"], metadata={"speaker": "", "n": [1, {"ä": None}]})
        foreign = await remember(other, "s1")
        fact = (await memory.store("The house on Elm Street has a red door.", type="fact", session="s2")).id
        await caught_up(quick, memory)
        were = await before(memory, ids)

        planned = await memory.compress(session="s1", dry_run=True)
        assert [one.outcome for one in planned.groups] == ["planned"]
        assert planned.groups[0].text
        assert planned.moved == 0
        done = await memory.compress(session="s1")
        [group] = done.groups
        assert (group.outcome, group.memories, group.moved, group.reason) == ("compressed", 6, 6, "")
        assert group.summary_chars * 2 <= group.chars == sum(len(one.content) for one in were.values())

        summary = await memory.get(group.summary)
        assert summary.derived_from == ids
        assert summary.tags == ["summary", "home"]
        assert (summary.session_id, summary.agent_id, summary.importance) == ("s1", "scout", 0.9)
        assert not summary.pending
        here = await hot(quick)
        assert here.keys() == {*foreign, fact, summary.id}

        expanded = await memory.expand(group.summary)
        assert [one.id for one in expanded.memories] == ids
        assert (expanded.total, expanded.missing, expanded.restored) == (6, 0, 0)
        assert [told(one) for one in expanded.memories] == [told(were[one]) for one in ids]
        assert (await memory.get(ids[2])).tier == "archive"
        assert [one.id for one in (await memory.expand(ids[2])).memories] == [ids[2]]
        page = await memory.expand(group.summary, first=4, limit=1)
        assert ([one.id for one in page.memories], page.total) == (ids[4:5], 6)
        for query in ("Which hospital does Ingrid work at?", "matcha", "What did the grandmother get?"):
            assert group.summary in [hit.memory.id for hit in await memory.recall(query)]
        with pytest.raises(NotFound):
            await other.expand(group.summary)

        again = await memory.compress(session="s1")
        assert (again.memories, again.groups) == (0, [])

        restored = await memory.expand(group.summary, restore=True)
        assert restored.restored == 6
        await caught_up(quick, memory)
        now = await before(memory, ids)
        assert [told(one) for one in now.values()] == [told(one) for one in were.values()]
        assert {one.tier for one in now.values()} == {"short"}
        back = await hot(quick)
        assert all(back[one].vector == here_before.vector for one, here_before in (await vectors_of(quick, ids)).items())
        assert ids[4] in [hit.memory.id for hit in await memory.recall("Ingrid the nurse")]

        finished = await memory.compress(session="s1")  # it has its summary still
        assert [(one.outcome, one.summary, one.moved) for one in finished.groups] == [("finished", group.summary, 6)]
        assert (await hot(quick)).keys() == {*foreign, fact, summary.id}


async def vectors_of(world: World, ids: Sequence[str]) -> dict[str, Any]:
    """What the archive has of the memories that live hot again: the vectors that were made anew."""

    async def all_there() -> dict[str, Any] | None:
        found = await world.archive.records(ids)
        return found if all(one.vector for one in found.values()) and len(found) == len(ids) else None

    there: dict[str, Any] = await eventually(all_there, what="the archive has the new vectors")
    return there


async def test_the_archive_packs_what_it_takes_with_a_dictionary_that_ends_with_a_sample(quick: World) -> None:
    """Small, readable everywhere, and no piece of a forgotten memory stays in a dictionary."""
    async with quick.connect() as memory:
        ids = await remember(memory, "s1", 12)
        plain = {one: len((await memory.get(one)).content.encode()) for one in ids}
        done = await memory.compress(session="s1")
        assert done.moved == len(ids) == done.memories
        assert 3 <= len(done.groups) <= 6
        documents = [one async for one in quick.memories.find({"tier": "archive"})]
        assert len(documents) == 72
        assert all("content" not in one and one["embedding"][0] == 3 for one in documents)
        assert all(len(one["embedding"]) == 2 + quick.embedder.dims for one in documents)
        helped = [one for one in documents if "dictionary" in one]
        assert sum(len(one["content_zstd"]) for one in helped) < sum(plain[one["_id"]] for one in helped) / 2
        assert await quick.versions.count_documents({"memory_id": {"$in": ids}, "content": {"$exists": True}}) == 0
        dictionaries = quick.archive.collection("dictionaries")
        [dictionary] = [one async for one in dictionaries.find({})]
        assert {one["dictionary"] for one in helped} == {dictionary["_id"]}

        exported = [one async for one in quick.archive.export(memory.scope)]
        assert {one.id: one.content for one in exported if one.id in ids} == {
            one.id: one.content for group in done.groups for one in (await memory.expand(group.summary)).memories
        }
        sample = dictionary["samples"][0]
        content = (await memory.get(sample)).content
        forgotten = await memory.forget(sample, durability="archived")
        assert (await verified(memory, forgotten.receipt)).ok
        assert await dictionaries.count_documents({"_id": dictionary["_id"]}) == 0
        assert await quick.memories.count_documents({"dictionary": dictionary["_id"]}) == 0
        assert await quick.versions.count_documents({"dictionary": dictionary["_id"]}) == 0
        rest = [one for one in ids if one != sample]
        assert len(await quick.archive.living(rest)) == len(rest)
        for one in (await quick.archive.living(rest)).values():
            assert one.content != content


async def test_a_forget_reaches_what_is_archived_and_every_summary_of_it(quick: World) -> None:
    """By id, by words and with everything; and what was forgotten is not expanded."""
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        more = await remember(memory, "s2")
        [first] = (await memory.compress(session="s1")).groups
        [second] = (await memory.compress(session="s2")).groups
        await memory.forget(ids[0], durability="archived")
        with pytest.raises(NotFound):
            await memory.get(ids[0])
        await eventually(lambda: is_gone(memory, first.summary), what="its summary is forgotten too")
        plan = await memory.plan_forget(words="Ingrid nurse")
        assert {ids[4], more[4], second.summary} <= {one.id for one in plan.memories}
        receipt = await memory.forget_many(session="s2", durability="archived")
        assert (await verified(memory, receipt.id)).ok
        assert {one.id for one in receipt.memories} == {*more, second.summary}
        left = await quick.everything_in_mongo()
        assert "Karl" not in left  # of the first session only packed contents are left
        assert (await quick.archive.living(ids[1:])).keys() == set(ids[1:])


async def test_a_word_that_no_summary_quotes_still_finds_it_until_its_memory_is_forgotten(quick: World) -> None:
    """The plainest word of one memory: neither the summary has it, nor is it one of that memory's rarest."""
    scripted = quick.summarizer
    assert isinstance(scripted, Scripted)

    async def terse(_: Sequence[Passage], __: int) -> str:
        return "Ben signed the mortgage for Elm Street; Ada made a vase in Boston."

    scripted.act = terse
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        [group] = (await memory.compress(session="s1")).groups
        assert (group.outcome, group.moved) == ("compressed", 6)
        summary = await memory.get(group.summary)
        assert "dog" not in summary.content
        assert "dog" in summary.metadata["summary"]["words"].split()
        assert for_a_model(summary)["summary"].keys() == summary.metadata["summary"].keys() - {"words"}  # no model pays for them
        found = {hit.memory.id: hit.found_by for hit in await memory.recall("dog")}
        assert "words" in found[group.summary]
        assert (await memory.count("dog")).with_words == 1

        forgotten = await memory.forget(ids[1], durability="archived")
        assert (await verified(memory, forgotten.receipt)).ok
        await eventually(lambda: is_gone(memory, group.summary), what="its summary is forgotten too")
        assert (await memory.count("dog")).with_words == 0
        assert not [hit for hit in await memory.recall("dog") if "words" in hit.found_by]
        assert b"shelter" not in await quick.everything_in_redis()
        assert "shelter" not in await quick.everything_in_mongo()


async def is_gone(memory: MemoryClient, memory_id: str) -> bool:
    """Whether a client sees it no more."""
    try:
        await memory.get(memory_id)
    except NotFound:
        return True
    return False


async def test_what_is_used_again_lives_hot_again(quick: World) -> None:
    """An update with the version that was read, and the same fact stored again, wherever they are."""
    async with quick.connect() as memory:
        facts = [(await memory.store(text, type="fact", session="s1")).id for text in SAID]
        [group] = (await memory.compress(session="s1")).groups
        assert group.moved == 6
        seen = await memory.get(facts[0])
        changed = await memory.update(facts[0], if_version=seen.version, importance=1.0)
        assert changed.version == seen.version + 2  # back in Redis, then changed
        again = await memory.store(SAID[1], type="fact", session="s1")
        assert (again.id, again.outcome) == (facts[1], "reinforced")
        await caught_up(quick, memory)
        assert facts[0] in (here := await hot(quick))
        assert {here[one].memory.tier for one in facts[:2]} == {"short"}
        assert here[facts[1]].memory.access_count == 1
        assert all(here[one].vector for one in facts[:2])


async def test_a_summariser_that_fails_in_any_way_changes_nothing(quick: World) -> None:
    """And the reason is shown."""
    assert isinstance(quick.summarizer, Scripted)
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        await caught_up(quick, memory)
        here = await hot(quick)
        for answer, why in (
            ("", "empty"),
            ("Error: 503 Service Unavailable", "error"),
            ("\n".join(SAID), "not shorter"),
            ("Interest rates rose sharply while exporters hedged currency exposure.", "something else"),
            (RuntimeError("boom"), "RuntimeError"),
            (None, "within 0.5 s"),
        ):

            async def act(passages: Sequence[Passage], chars: int, answer: Any = answer) -> str:
                if isinstance(answer, Exception):
                    raise answer
                if answer is None:
                    await asyncio.Event().wait()
                return str(answer)

            quick.summarizer.act = act
            done = await memory.compress(session="s1")
            assert [one.outcome for one in done.groups] == ["refused"]
            assert why in done.groups[0].reason
            assert (done.refused, done.moved, done.summary_chars) == (1, 0, 0)
        await caught_up(quick, memory)
        assert await hot(quick) == here
        assert set(ids) == here.keys()


async def test_a_redis_that_was_emptied_gets_the_summaries_and_not_what_they_stand_for(quick: World) -> None:
    """The tier says what belongs where; a comparison of both stores finds nothing to mend."""
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        kept = (await memory.store("The house on Elm Street has a red door.", type="fact")).id
        [group] = (await memory.compress(session="s1")).groups
        await caught_up(quick, memory)
        await quick.stop("sync")
        await quick.stop("daemon")
        await quick.redis.flushall()
        await quick.start("daemon", "sync")
        await eventually(lambda: has(quick, {kept, group.summary}), what="the rest is back")
        await caught_up(quick, memory)
        assert (await hot(quick)).keys() == {kept, group.summary}
        assert [one.id for one in (await memory.expand(group.summary)).memories] == ids
        repeated = await memory.store(SAID[0], type="fact", session="s1")
        assert repeated.outcome == "stored"  # an event with these words is no such fact


async def has(world: World, ids: set[str]) -> bool:
    """Whether Redis has at least these."""
    return ids <= (await hot(world)).keys()


async def test_a_person_may_edit_what_is_archived(quick: World) -> None:
    """In `mongosh`, in the clear: it gets the next version, and is read as it is now."""
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        [group] = (await memory.compress(session="s1")).groups
        was = await memory.get(ids[0])
        await quick.memories.update_one({"_id": ids[0]}, {"$set": {"content": "Ben: I sold the house."}})
        await quick.memories.update_one({"_id": ids[1]}, {"$set": {"importance": 0.1}})

        async def adopted() -> bool:
            found = [await memory.get(one) for one in ids[:2]]
            return [one.version for one in found] == [was.version + 1] * 2

        await eventually(adopted, what="both edits have their versions")
        assert (await memory.get(ids[0])).content == "Ben: I sold the house."
        assert (await memory.get(ids[1])).content == SAID[1]
        assert (await memory.get(ids[1])).importance == 0.1
        assert (await hot(quick)).keys() == {group.summary}


@pytest.mark.parametrize("met", ["together", "by a comparison"])
async def test_edits_of_what_is_archived_that_come_together_are_all_heard(quick: World, met: str) -> None:
    """Of contents that stay packed: what is read for many at once is what each of them was."""
    async with quick.connect() as memory:
        ids = await remember(memory, "s1")
        await memory.compress(session="s1")
        was = await before(memory, ids)
        if met == "by a comparison":
            await quick.stop("sync")
            await Places(quick.redis, SystemClock()).drop("a test")
        await quick.memories.update_many({"_id": {"$in": ids}}, {"$set": {"importance": 0.1}})
        if met == "by a comparison":
            await quick.start("sync")

        async def adopted() -> bool:
            found = await before(memory, ids)
            return {one: found[one].version for one in ids} == {one: was[one].version + 1 for one in ids}

        await eventually(adopted, what="all edits have their versions")
        now = await before(memory, ids)
        assert [now[one].content for one in ids] == list(SAID)
        assert {now[one].importance for one in ids} == {0.1}


def test_groups_are_of_one_session_without_a_pause_and_not_too_long() -> None:
    """Cut where the words change."""

    def one(number: int, session: str, text: str, minutes: int) -> Memory:
        at = START + timedelta(minutes=minutes)
        return Memory(
            id=f"mem_{number:032x}", tenant="t", project="p", session_id=session, memory_type="episodic", content=text,  # type: ignore[arg-type]
            content_hash="", importance=0.5, created_at=at, last_accessed=at, version=1, valid_from=at, recorded_at=at,
        )  # fmt: skip

    tea = [one(n, "a", f"tea leaves and pots {n}", n) for n in range(17)]
    dogs = [one(50 + n, "a", f"dogs bark at cats {n}", 20 + n) for n in range(15)]
    later = [one(90 + n, "a", "another day", 2000 + n) for n in range(2)]
    other = [one(99, "b", "another session", 3)]
    groups = grouped([*dogs, *later, *other, *tea], {})
    assert sorted(map(len, groups)) == [1, 2, 15, 17]
    assert all(len(group) <= SUMMARY_GROUP_MAX and len({m.session_id for m in group}) == 1 for group in groups)
    assert {m.content.split()[0] for m in next(g for g in groups if len(g) == 17)} == {"tea"}


async def test_a_deep_recall_finds_what_is_archived_beside_what_is_hot(
    quick: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By meaning, within the scope and every filter, with scores that compare; and nothing that is forgotten or unshared."""
    async with quick.connect() as memory, quick.connect(agent="other") as other:
        ids = await remember(memory, "s1", 3, tags=["home"], metadata={"room": "attic"})
        texts = {one: (await memory.get(one)).content for one in ids}
        await memory.compress(session="s1")
        near = (await memory.store("Ingrid has a bicycle.")).id
        await caught_up(quick, memory)
        asked = texts[ids[4]]

        shallow = await memory.recall(asked)
        assert not {hit.memory.id for hit in shallow} & set(ids)
        deep = await memory.recall(asked, deep=True, limit=50)
        assert deep.searched == ["words", "meaning", "archive"]
        assert {near, *ids} <= {hit.memory.id for hit in deep}
        hit = next(hit for hit in deep if hit.memory.id == ids[4])
        assert (hit.memory.content, hit.memory.tier) == (asked, "archive")
        assert hit.why["meaning"].value == pytest.approx(1, abs=0.02)  # a byte a dimension
        assert hit.why["words"].value > 0
        assert hit.score == max(one.score for one in deep if one.memory.id in ids)
        first = await memory.recall(asked, deep=True, limit=2, cursor="")
        second = await memory.recall(asked, deep=True, limit=2, cursor=first.next)
        assert [one.memory.id for one in (*first, *second)] == [one.memory.id for one in deep][:4]

        for narrow in ({"tags": ["office"]}, {"metadata": {"room": "cellar"}}, {"tiers": ["short"]}, {"types": ["fact"]},
                       {"session": "s9"}, {"valid_since": "2999-01-01T00:00:00Z"}):  # fmt: skip
            assert not {hit.memory.id for hit in await memory.recall(asked, deep=True, **narrow)} & set(ids), narrow
        assert ids[4] in [hit.memory.id for hit in await memory.recall(asked, deep=True, metadata={"room": "attic"}, tags=["home"])]
        assert not {hit.memory.id for hit in await other.recall(asked, deep=True)} & set(ids)

        monkeypatch.setattr(memoryd.archive.deep, "DEEP_SECONDS_MAX", 0.0)
        monkeypatch.setattr(memoryd.archive.deep, "DEEP_BATCH_MAX", 5)
        cut = await memory.recall(asked, deep=True)
        assert cut.missing == ["archive"]
        monkeypatch.undo()
        await memory.forget(ids[4])
        assert ids[4] not in [hit.memory.id for hit in await memory.recall(asked, deep=True, limit=50)]


async def test_a_session_is_compressed_without_a_walk_through_all_keys(quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end costs what the session holds, however many memories there are: the index is asked, by session, type and tag."""
    monkeypatch.delattr(Records, "each")
    async with quick.connect() as memory, quick.connect(agent="other") as other:
        mine = await remember(memory, "s1", tags=["home"])
        await remember(memory, "s2")
        await remember(other, "s1")
        assert (await memory.compress(session="s1", tags=["office"])).memories == 0
        assert (await memory.compress(session="s1", types=["fact"])).memories == 0

        done = await memory.compress(session="s1", tags=["home"], types=["episodic"])

        assert done.memories == len(mine)
        assert {one.id for one in (await memory.expand(done.groups[0].summary)).memories} == set(mine)


# --- full sessions ------------------------------------------------------------------------------------------------------
async def test_what_leaves_a_full_session_is_compressed_while_the_session_is_open(shrinking: World) -> None:
    """Its summary is found and expands to the messages, word for word; the session goes on."""
    async with shrinking.connect() as memory:
        session = memory.working("s1")
        await session.append(*({"role": "user", "content": one} for one in SAID), {"role": "user", "content": "And then?"})
        await session.append(*({"role": "user", "content": f"Remark {number}."} for number in range(2)))

        async def summary() -> Memory | None:
            return next((one.memory for one in (await hot(shrinking)).values() if "summary" in one.memory.tags), None)

        made: Memory = await eventually(summary, what="a summary of what has left")

        async def moved() -> Expanded | None:
            expanded = await memory.expand(made.id)
            return expanded if {one.tier for one in expanded.memories} == {"archive"} else None

        expanded: Expanded = await eventually(moved, what="what the summary was made of is in the archive")
        assert [one.content for one in expanded.memories] == [f"user: {one}" for one in SAID]
        assert made.session_id == "s1"
        assert [one.content for one in (await session.window(10)).messages] == ["And then?", "Remark 0.", "Remark 1."]


async def test_a_summariser_that_fails_leaves_what_has_left_a_session_as_memories(shrinking: World) -> None:
    """And the next block is tried."""
    scripted: Any = shrinking.summarizer
    act, calls = scripted.act, []

    async def breaks_once(passages: Sequence[Passage], chars: int) -> str:
        calls.append(len(passages))
        if len(calls) == 1:
            raise RuntimeError("boom")
        text: str = await act(passages, chars)
        return text

    scripted.act = breaks_once
    async with shrinking.connect() as memory:
        session = memory.working("s1")
        for _ in range(2):
            await session.append(*({"role": "user", "content": one} for one in SAID))

        async def compressed() -> bool:
            memories = [one.memory for one in (await hot(shrinking)).values()]
            return len(calls) >= 2 and any("summary" in one.tags for one in memories)

        await session.append(*({"role": "user", "content": f"{one} Again."} for one in SAID))
        await eventually(compressed, what="the second block's summary")
        assert {one.memory.content for one in (await hot(shrinking)).values()} >= {f"user: {one}" for one in SAID}
