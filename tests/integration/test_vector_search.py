"""Deep recalls by `$vectorSearch`: whatever an index says, the answer is right; where it is whole, it is that of the scan.

No MongoDB that a test can install has a mongot. What one would answer is answered by `tests.mongot`, as strictly as documented.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from pymongo.asynchronous.collection import AsyncCollection

from memoryd.archive.codec import to_bytes_vector, to_document
from memoryd.archive.deep import Deep, nearest
from memoryd.archive.store import Archive
from memoryd.archive.vector_search import NAME, definition
from memoryd.hot.clauses import Filters
from memoryd.hot.search import QueryVector
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory, Tier
from memoryd.model.question import Narrowing
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd_schemas.mongo_apply import apply_mongo
from tests.integration.commands import Commands, invoke
from tests.integration.test_compression import remember
from tests.mongot import COPY, Mongot
from tests.world import World

START = datetime(2026, 5, 8, 9, tzinfo=UTC)
SCOPE = Scope("acme", "support", "scout")
MODEL, DIMS, NEAR = "hash-embedder", 32, 5
RANDOM = np.random.default_rng(7)
ASKED = QueryVector(RANDOM.standard_normal(DIMS).astype("<f4").tobytes(), MODEL)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope of ten is large, of five that are near each is brought, and eight are proposed."""
    monkeypatch.setattr("memoryd.archive.vector_search.SCANNED_MEMORIES_MAX", 10)
    monkeypatch.setattr("memoryd.archive.deep.SCANNED_MEMORIES_MAX", 10)
    monkeypatch.setattr("memoryd.archive.deep.CANDIDATES_MAX", NEAR)
    monkeypatch.setattr("memoryd.archive.vector_search.VECTOR_PROPOSED_MAX", 8)


@pytest.fixture
async def archive(mongo: Any) -> Archive:
    """Forty archived memories of one agent; and twenty each of another agent, who shares two, of another tenant and with another
    model's vectors, which are nearer."""
    await apply_mongo(mongo)
    mine = [document(number, tags=["even"] if number % 2 else ["odd"]) for number in range(40)]
    others = [document(100 + number, agent_id="other", closer=0.5, shared_with=["scout"] * (number < 2)) for number in range(20)]
    strangers = [document(200 + number, tenant="evil", closer=0.5) for number in range(20)]
    earlier = [document(300 + number, embedding_model="another", closer=0.5) for number in range(20)]
    await mongo["memories"].insert_many([*mine, *others, *strangers, *earlier])
    return Archive(mongo)


def document(number: int, *, closer: float = 0.0, **values: Any) -> dict[str, Any]:
    """As sync and packing leave one; the closer, the nearer to the question."""
    text = f"Number {number} of many."
    usual = {
        "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": f"s{number % 2}", "embedding_model": MODEL,
        "metadata": {"third": number % 3},
    }  # fmt: skip
    memory = Memory(
        id=f"mem_{number:032x}", memory_type="episodic" if number % 3 else "fact", tier=Tier.ARCHIVE, content=text,  # type: ignore[arg-type]
        content_hash=hash_content(text), importance=0.5, created_at=START, last_accessed=START, version=1, valid_from=START,
        recorded_at=START, **{**usual, **values},
    )  # fmt: skip
    near = np.frombuffer(ASKED.vector, "<f4") * closer + np.random.default_rng(number).standard_normal(DIMS)
    found = to_document(Record(memory, near.astype("<f4").tobytes()))
    return {**found, "embedding": to_bytes_vector(found["embedding"])}


async def ask(archive: Archive, filters: Filters = Filters(), scope: Scope = SCOPE, text: str = "", **more: Any) -> Deep:  # noqa: B008
    """A deep recall's look into the archive."""
    given = {"tiers": [Tier.ARCHIVE], "seconds": None, **more}
    return await nearest(archive, scope, filters, ASKED, hash_content(text), **given)


async def scanned(archive: Archive, *given: Any, **more: Any) -> Deep:
    """The same without any index."""
    alone = Archive(archive.database)
    alone.vector_search._until = float("inf")
    return await ask(alone, *given, **more)


def same(one: Deep, other: Deep) -> bool:
    """Whether two looks have found the same, alike by the same."""
    alike = one.similarity == pytest.approx(other.similarity, abs=1e-6)
    return bool(alike) and (one.rows.keys(), one.quoted, one.cut) == (other.rows.keys(), other.quoted, other.cut)


# --- a server without search ----------------------------------------------------------------------------------------


async def test_a_server_without_search_is_asked_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one. Everything is scanned, also by many at once, and nothing is counted for it."""
    asked = []

    def noted(name: str) -> None:
        before = getattr(AsyncCollection, name)

        async def noting(self: Any, *given: Any, **more: Any) -> Any:
            asked.append(name)
            return await before(self, *given, **more)

        monkeypatch.setattr(AsyncCollection, name, noting)

    for name in ("list_search_indexes", "count_documents"):
        noted(name)
    later = clock(monkeypatch)
    first, *others = await asyncio.gather(*(ask(archive) for _ in range(5)))
    assert asked == ["list_search_indexes"]
    assert (len(first.rows), first.looked_at, first.cut) == (NEAR, 60, False)
    assert all(same(first, one) for one in others)
    for seconds, times in ((3000, 1), (700, 2)):
        later(seconds)
        await ask(archive)
        assert asked == ["list_search_indexes"] * times


def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time by which something is believed."""
    past = 0.0

    def later(seconds: float) -> None:
        nonlocal past
        past += seconds

    monkeypatch.setattr("memoryd.archive.vector_search.time", SimpleNamespace(monotonic=lambda: time.monotonic() + past))
    return later


async def test_the_command_says_that_this_server_has_no_search(unsynced: World) -> None:
    """And what deep recalls do instead."""
    commands = Commands(unsynced.settings)
    for words in (("tiers", "vector-index"), ("tiers", "vector-index", "--drop")):
        said = await commands(*words, exits=1)
        assert "has no search: it needs Atlas, or MongoDB 8.2 or later with mongot" in said.err
        assert "looks at every vector" in said.err


# --- a whole index --------------------------------------------------------------------------------------------------


@pytest.fixture
async def indexed(archive: Archive, mongot: Mongot) -> Archive:
    """The archive with the index that the command makes."""
    await archive.vector_search.make(DIMS)
    return archive


FITTING: dict[str, tuple[Filters, Scope]] = {
    "an agent": (Filters(), SCOPE),
    "an agent and what is shared with it": (Filters(shared=True), SCOPE),
    "a project": (Filters(), Scope("acme", "support")),
    "a session": (Filters(), Scope("acme", "support", "scout", "s1")),
    "types": (Filters(Narrowing(types=["episodic", "fact"])), SCOPE),  # type: ignore[list-item]
    "tags": (Filters(Narrowing(tags=["even"])), SCOPE),
    "times": (Filters(Narrowing(valid_before=datetime(2027, 1, 1, tzinfo=UTC), recorded_since=START)), SCOPE),
    "a recorded end": (Filters(Narrowing(recorded_before=datetime(2027, 1, 1, tzinfo=UTC))), SCOPE),
}


@pytest.mark.parametrize("what", FITTING)
async def test_a_whole_index_gives_what_the_scan_gives(
    indexed: Archive, mongot: Mongot, what: str
) -> None:
    """Every filter that MongoDB is asked for is one that the stage takes, and nobody else fills the candidates."""
    filters, scope = FITTING[what]
    found = await ask(indexed, filters, scope)
    [stage] = mongot.asked
    assert (stage["filter"]["tenant"], stage["filter"]["tier"]) == ("acme", "archive")
    assert found.looked_at == 10  # at least, which is all that was counted
    assert same(found, await scanned(indexed, filters, scope))
    assert len(mongot.asked) == 1
    assert len(found.rows) == NEAR


async def test_the_question_to_the_letter_is_found_however_far_away_it_is(indexed: Archive, mongot: Mongot) -> None:
    """By the index of contents, which no vector has a part in."""
    order = sorted((await scanned(indexed, text="")).similarity)
    far = next(number for number in range(40) if f"mem_{number:032x}" not in order)
    found = await ask(indexed, text=f"Number {far} of many.")
    assert mongot.asked
    assert found.quoted == {f"mem_{far:032x}"}
    assert len(found.rows) == NEAR + 1


UNFIT: dict[str, tuple[Filters, dict[str, Any]]] = {
    "details that only we compare": (Filters(Narrowing(metadata={"third": 1})), {}),
    "an end that only we compare": (Filters(Narrowing(valid_since=START)), {}),
    "tiers with vectors of floats": (Filters(), {"tiers": [Tier.ARCHIVE, Tier.LONG]}),
    "few memories": (Filters(Narrowing(types=["procedural"])), {}),  # type: ignore[list-item]
}


@pytest.mark.parametrize("what", UNFIT)
async def test_what_an_index_would_answer_badly_is_scanned(indexed: Archive, mongot: Mongot, what: str) -> None:
    """It could bring only what fails the rest of the question, or is no faster."""
    filters, more = UNFIT[what]
    assert same(await ask(indexed, filters, **more), await scanned(indexed, filters, **more))
    assert mongot.asked == []


# --- an index that is behind, or lies -------------------------------------------------------------------------------


async def forget(archive: Archive, number: int) -> None:
    """As sync leaves a forgotten memory."""
    one = f"mem_{number:032x}"
    gone = {"tombstone": True, "version": 1, "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": ""}
    await archive.memories.replace_one({"_id": one}, {**gone, "memory_type": "fact", "forgotten_at": 1, "said_at": 1})


async def of_another_agent(archive: Archive, number: int) -> None:
    await archive.memories.update_one({"_id": f"mem_{number:032x}"}, {"$set": {"agent_id": "other"}})


async def hot_again(archive: Archive, number: int) -> None:
    await archive.memories.update_one({"_id": f"mem_{number:032x}"}, {"$set": {"tier": "short"}})


async def of_another_model(archive: Archive, number: int) -> None:
    await archive.memories.update_one({"_id": f"mem_{number:032x}"}, {"$set": {"embedding_model": "another"}})


@pytest.mark.parametrize("change", [forget, of_another_agent, hot_again, of_another_model])
@pytest.mark.parametrize("count", [3, 6])
async def test_an_index_that_is_behind_brings_nothing_that_is_gone(
    indexed: Archive, mongot: Mongot, change: Callable[[Archive, int], Any], count: int
) -> None:
    """Three of the eight that are proposed leave five; of six too few are left, and everything is looked at."""
    near = sorted((await ask(indexed)).similarity.items(), key=lambda one: -one[1])
    eight = [int(one["_id"][4:], 16) for one in await mongot.search(indexed.vector_search._memories, mongot.asked[0])]
    for number in eight[:count]:
        await change(indexed, number)
    mongot.asked.clear()
    found = await ask(indexed)
    assert mongot.asked
    assert same(found, await scanned(indexed))
    assert not found.rows.keys() & {f"mem_{number:032x}" for number in eight[:count]}
    assert len(near) == len(found.rows) == NEAR


async def test_an_index_that_lies_brings_nobody_elses_and_no_score_of_its_own(
    indexed: Archive, mongot: Mongot, mongo: Any
) -> None:
    """Everything in it says that it is the scope's, and the farthest say that they are the nearest."""
    await mongo[COPY].update_many({}, {"$set": {"tenant": "acme", "agent_id": "scout"}})
    mine = {f"mem_{number:032x}" for number in range(40)}
    found = await ask(indexed)
    assert mongot.asked
    assert found.rows.keys() <= mine
    assert same(found, await scanned(indexed))  # who is not ours has filled the eight: too few are left

    indexed = Archive(mongo)  # which knows nothing of that
    await mongo[COPY].delete_many({"_id": {"$nin": sorted(mine)}})
    near = set(found.similarity)
    await mongo[COPY].delete_many({"_id": {"$in": sorted(near)}})
    found, every = await ask(indexed), await scanned(indexed)
    assert not found.rows.keys() & near  # missed: that is all that it can do
    assert len(found.rows) == NEAR
    assert max(found.similarity.values()) < min(every.similarity.values())


# --- whatever goes wrong --------------------------------------------------------------------------------------------


def changed(**fields: Any) -> Callable[[Mongot], None]:
    def change(mongot: Mongot) -> None:
        mongot.indexes[NAME] |= fields

    return change


def without(path: str) -> dict[str, Any]:
    return {"fields": [one for one in definition(DIMS)["fields"] if one["path"] != path]}


def euclidean() -> dict[str, Any]:
    [vector, *others] = definition(DIMS)["fields"]
    return {"fields": [{**vector, "similarity": "euclidean"}, *others]}


WRONG: dict[str, tuple[Callable[[Mongot], Any], int]] = {
    "there is none": (lambda mongot: mongot.indexes.clear(), 0),
    "it is being built": (changed(queryable=False, status="BUILDING"), 0),
    "it is of another model": (changed(latestDefinition=definition(DIMS + 1)), 0),
    "it lacks a field": (changed(latestDefinition=without("shared_with")), 0),
    "it is of another likeness": (changed(latestDefinition=euclidean()), 0),
    "it is one of words": (changed(type="search", latestDefinition={"mappings": {}}), 0),
    "mongot is away": (lambda mongot: setattr(mongot, "code", 6), 1),
    "the stage takes too long": (lambda mongot: setattr(mongot, "code", 50), 1),
    "the stage is refused": (lambda mongot: setattr(mongot, "code", 8), 1),
}


@pytest.mark.parametrize("what", WRONG)
async def test_whatever_is_wrong_with_an_index_everything_is_scanned(indexed: Archive, mongot: Mongot, what: str) -> None:
    """It is asked at most once then, and the breaker hears of nothing."""
    change, asked = WRONG[what]
    change(mongot)
    expected = await scanned(indexed)
    for _ in range(6):
        assert same(await ask(indexed), expected)
    assert (mongot.listed, len(mongot.asked)) == (1, asked)
    assert indexed.breaker.state == "closed"


async def test_an_index_that_was_dropped_a_moment_ago_says_nothing(
    indexed: Archive, mongot: Mongot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not say that it is gone: it knows of nothing near. Everything is scanned, and it is asked no more for this
    scope for some minutes, but still for others."""
    later = clock(monkeypatch)
    await ask(indexed)
    there = mongot.indexes.copy()
    mongot.indexes.clear()
    for _ in range(3):
        assert same(await ask(indexed), await scanned(indexed))
    assert len(mongot.asked) == 2
    mongot.indexes |= there
    assert (await ask(indexed, scope=Scope("acme", "support"))).looked_at == 10
    later(301)
    assert (await ask(indexed)).looked_at == 10


async def test_a_caller_in_a_hurry_takes_no_index_away_from_the_others(indexed: Archive, mongot: Mongot) -> None:
    """What did not answer within its little time is asked again by the next."""
    await ask(indexed)
    mongot.code = 50
    await ask(indexed, seconds=0.2)
    mongot.code = 0
    await ask(indexed)
    assert len(mongot.asked) == 3


async def test_an_index_is_noticed_and_tried_again_after_some_minutes(
    archive: Archive, mongot: Mongot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was made since; and one that has failed, which may be well again."""
    later = clock(monkeypatch)
    await ask(archive)
    await archive.vector_search.make(DIMS)
    await ask(archive)
    assert mongot.asked == []
    for code in (6, 0):
        mongot.code = code
        later(301)
        await ask(archive)
    assert len(mongot.asked) == 2
    assert (await ask(archive)).looked_at == 10


# --- making it ------------------------------------------------------------------------------------------------------


async def test_an_operator_makes_the_index_and_drops_it(unsynced: World, mongot: Mongot) -> None:
    """For the model whose vectors Redis holds; what is there is not made again, and what is of another model is said to be."""
    told = {"index": NAME, "status": "READY", "dimensions": DIMS, "used": True}
    for _ in range(2):
        assert (await invoke(unsynced.settings, "tiers", "vector-index", "--json")).json == told
    assert mongot.indexes[NAME]["latestDefinition"] == definition(DIMS)
    mongot.indexes[NAME]["latestDefinition"] = definition(2 * DIMS)
    assert (await invoke(unsynced.settings, "tiers", "vector-index", "--json")).json == {**told, "used": False}
    dropped = await invoke(unsynced.settings, "tiers", "vector-index", "--drop")
    assert "dropped" in dropped.out
    assert not mongot.indexes


async def test_a_deep_recall_of_a_large_scope_is_answered_by_the_index(
    world: World, mongot: Mongot, spans: list[ReadableSpan]
) -> None:
    """From the question to the answer, through a daemon: the best is the same, and it is what was asked for. Its span says which
    way was taken."""
    async with world.connect() as memory:
        ids = await remember(memory, "s1", 3)
        asked = (await memory.get(ids[4])).content
        assert (await memory.compress(session="s1")).moved == len(ids)
        await world.drained(memory)
        before = await memory.recall(asked, deep=True)
        assert not mongot.asked

        await invoke(world.settings, "tiers", "vector-index")
        await world.stop("daemon")  # it believes for minutes that there is none
        await world.start("daemon")
        after = await memory.recall(asked, deep=True)
        assert mongot.asked
        assert [(one.memory.id, one.found_by) for one in after][:1] == [(ids[4], before.hits[0].found_by)]
        assert (after.searched, after.missing, after.degraded) == (before.searched, [], before.degraded)
        ways = [dict(one.attributes or {})["memoryd.searched.by"] for one in spans if one.name == "memoryd.search.archive"]
        assert ways == ["scan", "index"]
