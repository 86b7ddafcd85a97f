"""What a question can ask for besides words: conditions, pages, variety, a deadline; and how memories are counted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, CursorExpired
from memoryd.model.results import Recalled, Stored
from tests.integration.commands import Commands
from tests.world import World

DAY = timedelta(days=1)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
HARBOUR: list[dict[str, Any]] = [
    {"content": "The harbour opens early.", "type": "fact", "tags": ["port"], "valid_from": MAY, "valid_until": MAY + 9 * DAY,
     "metadata": {"channel": "mail", "year": 2025, "open": True, "note": {"deep": 1}}},
    {"content": "The harbour opens late.", "type": "fact", "tags": ["sea"], "valid_from": MAY + 9 * DAY,
     "metadata": {"channel": "chat", "year": 2026}},
    {"content": "Ada saw the harbour burn.", "type": "episodic", "session": "s1", "valid_from": MAY + 2 * DAY,
     "metadata": {"channel": "mail"}},
    {"content": "Ada left the harbour.", "type": "episodic", "session": "s2", "valid_from": MAY + 20 * DAY,
     "valid_until": MAY + 30 * DAY, "metadata": {"channel": "a=b, c", "year": 2026}},
]  # fmt: skip
EARLY, LATE, BURN, LEFT = range(4)


@pytest.fixture
async def harbour(world: World, memory: MemoryClient) -> list[str]:
    """Four memories that share a word; their ids."""
    kept = [one.id for one in await memory.store_many(HARBOUR) if isinstance(one, Stored)]
    await world.drained(memory)
    return kept


async def test_a_recall_and_a_count_look_only_among_what_passes(memory: MemoryClient, harbour: list[str]) -> None:
    """Every condition, alone and together; what is no value is refused and says which field."""
    expected: list[tuple[dict[str, Any], set[int]]] = [
        ({}, {EARLY, LATE, BURN, LEFT}),
        ({"types": ["fact"]}, {EARLY, LATE}),
        ({"session": "s1"}, {BURN}),
        ({"agent": "scout"}, {EARLY, LATE, BURN, LEFT}),
        ({"tags": ["port", "sea"]}, {EARLY, LATE}),
        ({"tiers": ["short"]}, {EARLY, LATE, BURN, LEFT}),
        ({"tiers": ["archive"]}, set()),
        ({"metadata": {"channel": "mail"}}, {EARLY, BURN}),
        ({"metadata": {"channel": ["mail", "chat"], "year": 2026}}, {LATE}),
        ({"metadata": {"year": "2025", "open": True}}, {EARLY}),
        ({"metadata": {"channel": "a=b, c"}}, {LEFT}),
        ({"metadata": {"channel": "*"}}, set()),
        ({"valid_since": MAY + 9 * DAY}, {LATE, LEFT}),
        ({"valid_before": MAY + 9 * DAY}, {EARLY, BURN}),
        ({"valid_since": MAY + 2 * DAY, "valid_before": MAY + 3 * DAY}, {EARLY, BURN}),
        ({"valid_since": MAY + 25 * DAY, "valid_before": MAY + 26 * DAY}, {LATE, LEFT}),
        ({"recorded_since": MAY, "recorded_before": datetime.now(UTC) + DAY}, {EARLY, LATE, BURN, LEFT}),
        ({"recorded_before": MAY}, set()),
        ({"types": ["episodic"], "metadata": {"channel": "mail"}, "valid_since": MAY}, {BURN}),
    ]
    for among, wanted in expected:
        found = await memory.recall("harbour", **among)
        assert {hit.memory.id for hit in found} == {harbour[at] for at in wanted}, among
        counted = await memory.count("harbour opens", **among)
        assert (counted.memories, counted.with_words) == (len(wanted), len(wanted)), among
    assert (await memory.count("opens early")).with_words == 2
    assert (await memory.count()).with_words is None
    for wrong, field in (
        ({"metadata": {"a": ""}}, "metadata"), ({"metadata": {"a": []}}, "metadata"), ({"metadata": {"a": "x" * 200}}, "metadata"),
        ({"valid_since": datetime(2026, 5, 1)}, "valid_since"), ({"agent": "other"}, "agent"), ({"tags": [""]}, "tags"),
    ):  # fmt: skip
        for verb in (memory.recall, memory.count):
            with pytest.raises(BadRequest, match=field):
                await verb("harbour", **wrong)


async def test_conditions_follow_what_changes(world: World, memory: MemoryClient, harbour: list[str]) -> None:
    """New metadata passes, the old does not; Redis keeps no trace of the old value, also not in its journal."""
    await memory.update(harbour[BURN], metadata={"channel": "phone", "salt": "quokka"})
    await world.drained(memory)
    assert {hit.memory.id for hit in await memory.recall("harbour", metadata={"channel": "mail"})} == {harbour[EARLY]}
    assert [hit.memory.id for hit in await memory.recall("harbour", metadata={"salt": "quokka"})] == [harbour[BURN]]

    await memory.forget(harbour[BURN], durability="archived")
    assert not (await memory.recall("harbour", metadata={"salt": "quokka"})).hits
    assert b"quokka" not in await world.everything_in_redis()


async def test_pages_go_on_in_their_order_whatever_is_written(world: World, memory: MemoryClient) -> None:
    """No hit comes twice or is left out by a write; what is forgotten is on no later page; a page is of one question."""
    kept = [one.id for one in await memory.store_many([_note(n) for n in range(25)]) if isinstance(one, Stored)]
    await world.drained(memory)
    whole = [hit.memory.id for hit in await memory.recall("walnut cake", limit=200)]
    first = await memory.recall("walnut cake", limit=10, cursor="")
    gone, changed = whole[12], whole[15]
    await memory.store("walnut cake walnut cake", type="episodic")
    await memory.forget(gone)
    await memory.update(changed, content="It was something else.")
    second = await memory.recall("walnut cake", limit=10, cursor=first.next)
    third = await memory.recall("walnut cake", limit=10, cursor=second.next)
    pages = [hit.memory.id for page in (first, second, third) for hit in page]

    assert pages == [one for one in whole if one != gone]
    assert third.next == ""
    assert set(kept) - {gone} == set(pages)
    assert {hit.memory.content for hit in second if hit.memory.id == changed} == {"It was something else."}
    assert [hit.memory.id for hit in await memory.recall("walnut cake", limit=10, cursor=first.next)] == [
        hit.memory.id for hit in second
    ]
    await world.drained(memory)  # what was changed has none of the words: it is found by its new vector
    assert sum([len(page) async for page in memory.recall_pages("walnut", limit=7)]) == 25
    with pytest.raises(BadRequest, match="another question"):
        await memory.recall("walnuts", cursor=first.next)
    async with world.connect(agent="other") as other, world.connect(project="other") as stranger:
        with pytest.raises(BadRequest, match="another question"):
            await other.recall("walnut cake", cursor=first.next)
        with pytest.raises(CursorExpired):
            await stranger.recall("walnut cake", cursor=first.next)
    for cursor in ("x", "a.b", "../x.1", "0.1.2", "é.1"):
        with pytest.raises(BadRequest):
            await memory.recall("walnut cake", cursor=cursor)


def _note(number: int) -> dict[str, Any]:
    return {"content": f"Walnut cake number {number} " + "with rain " * (number % 5), "type": "episodic", "session": "s"}


async def test_an_answer_can_be_varied_grouped_and_cut(world: World, memory: MemoryClient) -> None:
    """What repeats comes later; sessions stand together; what is too unlike is left out."""
    told = [("one", "Ada baked a walnut cake."), ("one", "Ada baked a walnut cake!"), ("two", "Ada baked bread."),
            ("two", "Ben ate."), ("two", "A walnut fell.")]  # fmt: skip
    world.embedder.away = True  # words alone: likeness is that of words then
    many = [{"content": text, "type": "episodic", "session": session} for session, text in told]
    ids = [one.id for one in await memory.store_many(many) if isinstance(one, Stored)]
    plain = shown(await memory.recall("Did Ada bake a walnut cake?"))
    varied = await memory.recall("Did Ada bake a walnut cake?", diversity=0.6)
    grouped = await memory.recall("Did Ada bake a walnut cake?", per_session=2)

    first, twin = plain[:2]
    assert {first, twin} == set(ids[:2])
    assert {hit.memory.id for hit in varied} == set(plain)
    assert shown(varied)[0] == first
    assert shown(varied).index(twin) > 1
    repeated = next(hit for hit in varied if hit.memory.id == twin)
    assert (repeated.why["alike"].value, repeated.why["alike"].contribution) == (1.0, 0.0)
    assert [hit.memory.session_id for hit in grouped] == ["one", "one", "two", "two"]
    assert shown(await memory.recall("Did Ada bake a walnut cake?", per_session=1, limit=1)) == [first]
    best = (await memory.recall("Did Ada bake a walnut cake?")).hits[0].score
    assert shown(await memory.recall("Did Ada bake a walnut cake?", min_score=best)) == [first]
    quoted = await memory.recall("Ada baked bread.", min_likeness=0.99)
    assert shown(quoted) == [ids[2]]
    assert quoted.hits[0].found_by == ["quote", "words"]
    world.embedder.away = False
    await world.drained(memory)
    assert shown(await memory.recall("A walnut fell.", diversity=1.0))[0] == ids[4]
    assert "meaning" in (await memory.recall("Did Ada bake a walnut cake?")).hits[0].found_by


async def test_an_answer_in_time_says_what_is_missing(
    world: World, memory: MemoryClient, harbour: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow model costs the meaning, no time at all the rest; without a deadline it waits for all."""
    embed, awake = type(world.embedder).embed, asyncio.Event()

    async def slowly(self: Any, texts: Any) -> Any:
        await awake.wait()
        return await embed(self, texts)

    monkeypatch.setattr(type(world.embedder), "embed", slowly)
    partial = await memory.recall("the burning harbour", deadline_ms=4_000)  # enough for the words
    assert (partial.missing, partial.searched, partial.partial) == (["meaning"], ["words"], True)
    assert "deadline" in partial.degraded
    assert {hit.memory.id for hit in partial} == set(harbour)
    awake.set()
    whole = await memory.recall("the harbour that burned")
    assert (whole.missing, whole.searched) == ([], ["words", "meaning"])

    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("memoryd.hot.search.Search.by_words", never)
    awake.clear()
    nothing = await memory.recall("the harbour in flames", deadline_ms=20)
    assert (nothing.hits, nothing.missing) == ([], ["meaning", "words"])


async def test_the_command_asks_in_the_same_words(world: World, harbour: list[str]) -> None:
    """Filters, pages and counts on the command line; explain tells which searches found a memory."""
    memoryd = Commands(world.settings)
    among = ("--metadata", "channel=mail", "--valid-since", "2026-05-01", "--tier", "short")
    found = (await memoryd("recall", "harbour", *among, "--limit", "1", "--cursor", "", "--json")).json
    assert found["next"]
    rest = (await memoryd("recall", "harbour", *among, "--cursor", found["next"], "--json")).json
    assert {one["memory"]["id"] for one in (*found["hits"], *rest["hits"])} == {harbour[EARLY], harbour[BURN]}
    counted = (await memoryd("count", "burn", *among, "--json")).json
    assert counted == {"memories": 2, "with_words": 1}
    shown = await memoryd("explain", "harbour", *among)
    assert "short, by words, meaning" in " ".join(shown.out.split())
    wrong = await memoryd("count", "--metadata", "channel", exits=2)
    assert "NAME=VALUE" in wrong.err


def shown(found: Recalled) -> list[str]:
    return [hit.memory.id for hit in found]
