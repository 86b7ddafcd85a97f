"""Facts: what holds, what held, since when and how surely; one thing at a time unless it is said that there are many."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, Forgotten, RequestIdReused
from memoryd.hot.facts import HotFacts
from tests.integration.tools import verified
from tests.wire import Wire, goes_on
from tests.world import World

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


async def objects(memory: MemoryClient, *parts: str, **wanted: object) -> list[str]:
    """What is found, those that hold since last first."""
    found = await memory.facts.find(*parts, **wanted)  # type: ignore[arg-type]
    assert found.degraded == ""
    return [one.object for one in found.facts]


async def as_a_demotion_would(world: World, memory: MemoryClient) -> None:
    """Only the archive has the facts."""
    await world.drained(memory)
    async for key in world.redis.scan_iter(match="aether:memory:semantic:*"):
        await world.redis.delete(key)


async def test_another_object_ends_what_held_before_and_overwrites_nothing(world: World, memory: MemoryClient) -> None:
    """Each moment has its answer, also when the former facts live in the archive only."""
    homes = ["Graz", "Linz", "Wien"]
    for number, home in enumerate(homes):
        if number == 2:
            await as_a_demotion_would(world, memory)
        done = await memory.facts.put("Ada", "lives_in", home, valid_from=START + number * DAY, confidence=0.7 + number / 10)
        assert (done.outcome, done.version, len(done.ended)) == ("stored", 1, min(number, 1))
    await memory.facts.put("Ada", "works at", "home")
    await memory.facts.put("Bob", "lives_in", "Graz")

    async def look() -> None:
        assert await objects(memory, "Ada", "lives_in") == ["Wien"]
        assert await objects(memory, "Ada", "lives_in", ever=True) == homes[::-1]
        for hours, home in ((0, "Graz"), (23, "Graz"), (24, "Linz"), (48, "Wien"), (480, "Wien")):
            assert await objects(memory, " ADA ", "Lives In", at=START + timedelta(hours=hours)) == [home]
        assert await objects(memory, "Ada", "lives_in", at=START - DAY) == []
        assert sorted(await objects(memory, "Ada")) == ["Wien", "home"]
        assert [one.subject for one in (await memory.facts.find(object="graz")).facts] == ["Bob"]
        assert await objects(memory, "Ada", object="Graz", ever=True) == ["Graz"]
        assert await objects(memory, "", "lives_in", confidence_min=0.85) == ["Graz", "Wien"]
        assert await objects(memory, "A*", "lives_in") == await objects(memory, "Ada|Bob") == []

    await look()
    graz = (await memory.facts.find("Ada", "lives_in", "Graz", ever=True)).facts[0]
    assert (graz.valid_from, graz.valid_until, graz.confidence, graz.version) == (START, START + DAY, 0.7, 2)
    assert graz.text == "Ada lives in Graz"
    now = await memory.facts.get("Ada", "lives_in")
    assert now
    assert now.id in {hit.memory.id for hit in await memory.recall("Where does Ada live?", types=["fact"])}
    await as_a_demotion_would(world, memory)
    await look()
    assert await world.versions.count_documents({"memory_id": graz.id}) == 2


async def test_what_is_said_again_is_known_and_what_is_said_late_finds_its_place(memory: MemoryClient) -> None:
    """Reinforced, or updated when the confidence is another; between two facts it holds until the later one."""
    first = await memory.facts.put("door", "is", "open", valid_from=START)
    again = await memory.facts.put("Door", "IS", "Open")
    surer = await memory.facts.put("door", "is", "open", confidence=0.4)
    assert [(one.id == first.id, one.outcome, one.version) for one in (first, again, surer)] == [
        (True, "stored", 1), (True, "reinforced", 1), (True, "updated", 2),
    ]  # fmt: skip
    assert (await memory.get(first.id)).access_count == 1
    await memory.facts.put("door", "is", "shut", valid_from=START + 4 * DAY)
    await memory.facts.put("door", "is", "locked", valid_from=START + 2 * DAY)
    await memory.facts.put("door", "is", "broken", valid_from=START - DAY, valid_until=START + DAY)

    found = (await memory.facts.find("door", "is", ever=True)).facts[::-1]
    assert [(one.object, one.valid_from - START, one.valid_until and one.valid_until - START) for one in found] == [
        ("broken", -DAY, 0 * DAY), ("open", 0 * DAY, 2 * DAY), ("locked", 2 * DAY, 4 * DAY), ("shut", 4 * DAY, None),
    ]  # fmt: skip
    assert found[1].confidence == 0.4
    assert await memory.facts.end("door", "is", at=START + 5 * DAY) == [found[-1].id]
    assert await memory.facts.end("door", "is", at=START + 6 * DAY) == []
    assert await memory.facts.get("door", "is") is None


async def test_a_subject_may_have_many_objects_and_each_can_end(world: World, memory: MemoryClient) -> None:
    """`many` says so; without it the next one is the only one again."""
    for language in ("German", "English", "Czech", "german"):
        await memory.facts.put("Ada", "speaks", language, many=True)
    assert sorted(await objects(memory, "Ada", "speaks")) == ["Czech", "English", "German"]
    [ended] = await memory.facts.end("Ada", "speaks", "czech")
    assert (await memory.get(ended)).valid_until is not None
    only = await memory.facts.put("Ada", "speaks", "English")
    assert (only.outcome, len(only.ended)) == ("reinforced", 1)
    assert len((await memory.facts.put("Ada", "speaks", "nothing any more")).ended) == 1
    assert await objects(memory, "Ada", "speaks") == ["nothing any more"]


async def test_of_many_who_say_something_at_once_one_is_right(world: World, memory: MemoryClient) -> None:
    """At every moment one object holds, whoever came first; the others have ended one after the other."""
    async with world.connect() as other:
        clients = [memory, other]
        await asyncio.gather(*(clients[n % 2].facts.put("build", "is", f"number {n}") for n in range(12)))
    assert len(await objects(memory, "build", "is")) == 1
    every = (await memory.facts.find("build", "is", ever=True)).facts
    ends = sorted(one.valid_until for one in every if one.valid_until)
    assert (len(every), len(ends)) == (12, 11)
    begins = sorted(one.valid_from for one in every)
    assert ends == begins[1:]


async def test_a_step_that_was_planned_for_another_past_is_planned_again(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else says something between the look and the step."""
    say = HotFacts.say
    came: list[bool] = []

    async def late(self: HotFacts, saying: object, *, fsync: bool) -> object:
        if not came:
            came.append(True)
            await memory.facts.put("build", "is", "red")
        return await say(self, saying, fsync=fsync)  # type: ignore[arg-type]

    monkeypatch.setattr(HotFacts, "say", late)
    assert len((await memory.facts.put("build", "is", "green")).ended) == 1
    assert await objects(memory, "build", "is") == ["green"]


async def test_facts_are_exactly_their_scopes(world: World, memory: MemoryClient) -> None:
    """Another agent's contradicts nothing; the project sees them all."""
    async with world.connect(agent="other") as other, world.connect(agent="") as project, world.connect(tenant="evil") as evil:
        await memory.facts.put("Ada", "likes", "tea")
        await other.facts.put("Ada", "likes", "coffee")
        await memory.facts.put("Ada", "likes", "juice", session="s1")
        assert sorted(await objects(memory, "Ada", "likes")) == ["juice", "tea"]
        assert await objects(memory, "Ada", "likes", session="s1") == ["juice"]
        assert await objects(other, "Ada") == ["coffee"]
        assert sorted(await objects(project)) == ["coffee", "juice", "tea"]
        assert await objects(evil) == []
        assert await memory.facts.end("Ada", "likes", "coffee") == []
        assert len(await other.facts.end("Ada", "likes")) == 1


async def test_a_repeated_request_has_its_effect_once(world: World) -> None:
    """Also late, when the answer would be another by now."""
    put = {"subject": "light", "predicate": "is", "object": "on"}
    async with Wire(world) as wire:
        first = await wire.result("fact.put", put, id="a")
        await wire.result("fact.put", {**put, "object": "off"}, id="b")
        again = await wire.result("fact.put", put, id="a")
        assert (again["id"], again["outcome"], first["replayed"], again["replayed"]) == (first["id"], "stored", False, True)
        found = await wire.result("fact.find", {"subject": "light", "ever": True})
        assert [one["object"] for one in found["facts"]] == ["off", "on"]
        ended = await wire.result("fact.end", {"subject": "light", "predicate": "is"}, id="c")
        assert await wire.result("fact.end", {"subject": "light", "predicate": "is"}, id="c") == ended
        refused = await wire.refused("fact.put", {**put, "confidence": 0.5}, id="a")
        assert refused["code"] == RequestIdReused.code


async def test_a_forget_reaches_facts_and_what_they_came_from(world: World, memory: MemoryClient) -> None:
    """By words, by what they are derived from; nothing of them is left, and the receipt holds."""
    source = await memory.store("Ada said that she keeps kumquats.")
    for object_ in ("kumquats", "kumquat trees"):
        await memory.facts.put("Ada", "keeps", object_, derived_from=[source.id])
    other = await memory.facts.put("Bob", "keeps", "kumquat jam")
    await memory.facts.put("Bob", "keeps", "bees")
    await world.drained(memory)

    await memory.forget(source.id, durability="archived")
    assert await objects(memory, "Ada", ever=True) == []
    receipt = await memory.forget_many(words="kumquat jam", durability="archived")
    await world.drained(memory)

    assert [one.id for one in receipt.memories] == [other.id]
    assert await objects(memory, ever=True) == ["bees"]
    assert (await verified(memory, receipt.id)).ok
    assert b"kumquat" not in await world.everything_in_redis()
    assert "kumquat" not in await world.everything_in_mongo()
    with pytest.raises(Forgotten):
        await memory.facts.put("Ada", "keeps", "bees", derived_from=[source.id])


async def test_bad_input_is_refused_and_long_objects_are_found(world: World, memory: MemoryClient) -> None:
    """By the field's name; an object at its limit is compared whole."""
    await memory.facts.put("Ada", "owns", "x" * 4096)
    assert len(await objects(memory, "Ada", object="X" * 4096)) == 1
    for bad in (
        {"subject": ""}, {"predicate": " "}, {"object": ""}, {"subject": "x" * 257}, {"object": "x" * 4097},
        {"confidence": 1.5}, {"subject": "a\0"}, {"valid_until": START}, {"valid_from": "2026-01-01T00:00:00"},
    ):  # fmt: skip
        async with Wire(world) as wire:
            refused = await wire.refused("fact.put", {"subject": "s", "predicate": "p", "object": "o", **bad})
            assert refused["code"] == BadRequest.code, bad
    await goes_on(world)
