"""Near-duplicates: what is proposed, what becomes one memory, and what never does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.daemon import Compression, build, jobs
from memoryd.engine import Engine
from memoryd.errors import BadRequest, HotUnavailable
from memoryd.lifecycle.moving import Mover
from memoryd.model.duplicates import DuplicatePage
from memoryd.model.results import Stored
from memoryd.stores import open_stores
from tests.integration.commands import Commands
from tests.integration.tools import caught_up, gone, hot, one_story, past, verified
from tests.waiting import eventually
from tests.world import World

FIRST = "Ada keeps the key to the garden house under the third flower pot on the left"
THEN = f"{FIRST} side."
LAST = f"{FIRST} side, yes."
OTHER = "Ben has painted the old garage behind the station green, and the door yellow, with what was left of the paint."


async def said(memory: MemoryClient, *texts: str, **details: Any) -> list[str]:
    """Stores one after the other; the ids."""
    kept = await memory.store_many([{"content": one, **details} for one in texts], wait="searchable")
    return [one.id for one in kept if isinstance(one, Stored)]


async def all_pages(memory: MemoryClient, limit: int, **how: Any) -> list[DuplicatePage]:
    """Page after page."""
    pages = [await memory.duplicates(limit=limit, **how)]
    while pages[-1].next:
        pages.append(await memory.duplicates(limit=limit, after=pages[-1].next, **how))
    return pages


def told(pages: Sequence[DuplicatePage]) -> list[tuple[str, ...]]:
    """Each group's ids, the survivor's first."""
    return [(one.survivor, *(other.id for other in one.memories)) for page in pages for one in page.groups]


async def test_what_says_nearly_the_same_is_proposed_and_nothing_crosses_a_scope(world: World, memory: MemoryClient) -> None:
    """Page by page as in one go; by looking nothing is changed, and what is alike elsewhere is another's."""
    first, then, _ = await said(memory, FIRST, THEN, OTHER)
    await said(memory, f"{FIRST} since 1987", f"{FIRST} since 1988 and", type="fact")  # other numbers
    await said(memory, FIRST, session="s1")
    await said(memory, FIRST, THEN, type="episodic")
    async with world.connect(agent="other") as other, world.connect(project="sales") as sales, world.connect(agent="") as all_:
        [theirs, also] = await said(other, FIRST, THEN)
        await said(sales, FIRST)
        await caught_up(world, memory)
        before = await one_story(world)
        [page] = pages = await all_pages(memory, 200)
        assert told(pages) == [(first, then)]
        [group] = page.groups
        assert (group.outcome, group.agent, group.session, group.type, group.reason) == ("proposed", "scout", "", "semantic", "")
        assert (group.text, group.memories[0].text) == (FIRST, THEN)
        assert 0.8 <= group.memories[0].overlap < 1
        assert (page.looked, page.merged, page.refused) == (6, 0, 0)
        assert told(await all_pages(memory, 1)) == told(pages)
        assert told(await all_pages(memory, 200, min_overlap=1.0)) == []
        assert sorted(told(await all_pages(all_, 3))) == sorted([(first, then), (theirs, also)])
        await caught_up(world, memory)
        assert await one_story(world) == before


async def test_a_merge_leaves_one_memory_that_has_all_texts_as_versions(world: World, memory: MemoryClient) -> None:
    """The newest is current; the others are archived whole, are shown by expand, and come back if that is wanted."""
    first, then, last, apart = await said(memory, FIRST, THEN, LAST, OTHER, importance=0.4, tags=["home"])
    await memory.update(then, importance=0.9, tags=["key"])
    await caught_up(world, memory)

    page = await memory.duplicates(merge=True)
    [group] = page.groups
    assert (group.outcome, group.reason, group.moved) == ("merged", "", 2)
    assert (page.merged, page.refused) == (1, 0)
    survivor, *others = told([page])[0]
    assert (survivor, set(others)) == (first, {then, last})
    assert (await hot(world)).keys() == {first, apart}
    assert (await world.archive.living([first, then, last, apart])).keys() == {first, then, last, apart}
    one = await memory.get(first)
    assert {one.content} == {text for other, text in ((then, THEN), (last, LAST)) if other == others[-1]}  # said last
    assert (one.importance, set(one.tags), set(one.derived_from)) == (0.9, {"home", "key"}, {then, last})
    assert not one.pending
    await caught_up(world, memory)
    assert {text for _, text in await past(world, first)} == {FIRST, THEN, LAST}
    found = await memory.recall(one.content, limit=5)
    assert [hit.memory.id for hit in found if hit.memory.id != apart] == [first]
    expanded = await memory.expand(first)
    assert {(each.id, each.content) for each in expanded.memories} == {(then, THEN), (last, LAST)}
    assert (await memory.duplicates(merge=True)).groups == []

    assert (await memory.expand(first, restore=True)).restored == 2
    await caught_up(world, memory)
    assert (await hot(world)).keys() == {first, then, last, apart}


async def test_who_forgets_one_of_them_forgets_what_it_said_everywhere(world: World, memory: MemoryClient) -> None:
    """The one that is merged away says nearly what the survivor says; neither may outlive a forget of the other."""
    for number, forgotten in enumerate((0, 1)):
        ids = await said(memory, "Yes: " * number + FIRST, "Yes: " * number + THEN)
        await caught_up(world, memory)
        assert (await memory.duplicates(merge=True)).merged == 1
        receipt = await memory.forget(ids[forgotten], durability="archived")
        for one in ids:
            await eventually(gone(memory, one), what="both are forgotten")
        await caught_up(world, memory)
        assert (await verified(memory, receipt.receipt)).ok
        assert [await past(world, one) for one in ids] == [[], []]
    assert "flower pot" not in await world.everything_in_mongo()


@pytest.mark.parametrize("cut_off", ["before the sources are named", "before they move"])
async def test_a_merge_that_was_cut_off_is_ended_by_the_next_one(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    """Every text is read meanwhile, and the survivor stays the survivor."""
    first, then = await said(memory, FIRST, THEN)
    await caught_up(world, memory)
    cut(monkeypatch, cut_off, first)
    page = await memory.duplicates(merge=True)
    assert [(one.outcome, one.reason) for one in page.groups] == [("refused", "cut off")]
    assert ((await memory.get(first)).content, (await memory.get(then)).content) == (THEN, THEN)
    monkeypatch.undo()

    page = await memory.duplicates(merge=True)
    assert told([page]) == [(first, then)]
    assert [(one.outcome, one.moved) for one in page.groups] == [("merged", 1)]
    await caught_up(world, memory)
    assert (await hot(world)).keys() == {first}
    assert [text for _, text in await past(world, first)] == [FIRST, THEN]


def cut(monkeypatch: pytest.MonkeyPatch, where: str, survivor: str) -> None:
    """Lets a merge fail at a place."""

    async def archive(*_: Any, **__: Any) -> int:
        raise HotUnavailable("cut off")

    true = Engine.update

    async def update(engine: Engine, scope: Any, memory_id: str, *args: Any, **how: Any) -> Any:
        if memory_id != survivor:
            raise HotUnavailable("cut off")
        return await true(engine, scope, memory_id, *args, **how)

    if where == "before they move":
        monkeypatch.setattr(Mover, "archive", archive)
    else:
        monkeypatch.setattr(Engine, "update", update)


async def test_what_may_not_be_merged_says_why_and_stays(world: World, memory: MemoryClient) -> None:
    """Pinned, said of another, or changed by somebody meanwhile; the others of the page are merged all the same."""
    pinned = await said(memory, FIRST, THEN, tags=["pinned"])
    speakers = [
        *await said(memory, f"{OTHER} It dried.", metadata={"speaker": "Ada"}),
        *await said(memory, OTHER, metadata={"speaker": "Ben"}),
    ]
    free = await said(memory, f"{LAST} Twice", f"{LAST} Twice over", type="procedural")
    await caught_up(world, memory)
    reasons = {frozenset(group): one.reason for group, one in _by_ids(await memory.duplicates())}
    assert "pinned" in reasons[frozenset(pinned)]
    assert "metadata" in reasons[frozenset(speakers)]
    page = await memory.duplicates(merge=True)
    assert (page.merged, page.refused) == (1, 2)
    outcomes = {frozenset(group): one.outcome for group, one in _by_ids(page)}
    assert outcomes == {frozenset(pinned): "refused", frozenset(speakers): "refused", frozenset(free): "merged"}
    assert (await hot(world)).keys() == {*pinned, *speakers, free[0]}


def _by_ids(page: DuplicatePage) -> list[tuple[tuple[str, ...], Any]]:
    return list(zip(told([page]), page.groups, strict=True))


@pytest.mark.parametrize("merge", [False, True])
async def test_the_weekly_job_counts_all_projects_and_merges_only_where_that_is_configured(
    world: World, memory: MemoryClient, merge: bool
) -> None:
    """A look by the clock changes nothing by itself."""
    [first, then] = await said(memory, FIRST, THEN)
    async with world.connect(tenant="other") as other:
        theirs = await said(other, FIRST, THEN, OTHER)
    await caught_up(world, memory)
    async with open_stores(world.settings, embedder=world.embedder) as stores:
        settings = world.settings.model_copy(update={"merge_duplicates": merge})
        engine, recalling, _ = build(stores, settings, name="by hand")
        nobody = Compression(None, None, None)  # type: ignore[arg-type]  # no other job is done
        every = jobs(stores, settings, engine, recalling, nobody)
        [job] = [one for one in every if one.name == "duplicates"]
        assert await job.run("") == {"memories": 5, "groups": 2, "merged": 2 if merge else 0}
    assert (await hot(world)).keys() == ({first, theirs[0], theirs[2]} if merge else {first, then, *theirs})


async def test_without_a_model_there_are_no_neighbours_and_it_says_so(world: World) -> None:
    """Words alone could not be looked for in time."""
    world.embedder = None  # type: ignore[assignment]
    await world.stop("daemon")
    await world.start("daemon")
    async with world.connect() as memory:
        with pytest.raises(BadRequest, match="no embedding model"):
            await memory.duplicates()


async def test_the_command_proposes_and_merges_when_it_is_told_to(world: World, memory: MemoryClient) -> None:
    """A table for people, JSON for a pipe; without --merge nothing is changed."""
    memoryd = Commands(world.settings)
    first, then, apart = await said(memory, FIRST, THEN, OTHER)
    await caught_up(world, memory)
    shown = (await memoryd("duplicates")).out
    assert first in shown
    assert then in shown
    assert "proposed" in shown
    bounded = (await memoryd("duplicates", "--limit", "1", "--json")).json
    assert (bounded["looked"], bounded["next"]) == (1, min(first, then, apart))
    merged = (await memoryd("duplicates", "--merge", "--yes", "--min-overlap", "0.9", "--json")).json
    assert (merged["merged"], merged["next"], merged["groups"][0]["survivor"]) == (1, "", first)
    assert (await memory.get(first)).content == THEN
