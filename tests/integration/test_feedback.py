"""Feedback: what was of use comes earlier the next time, what was not comes later and is still found."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.clock import from_microseconds
from memoryd.errors import BadRequest, NotFound, RequestIdReused
from memoryd.hot.records import Records
from memoryd.keys import memories
from memoryd.limits import RECALL_LIFE_SECONDS
from memoryd_sync.reconcile import Kind, Reconciler
from tests.fakes import FakeClock
from tests.integration.tools import a_hand, archived, hot, one_story
from tests.waiting import eventually
from tests.world import World

QUESTION = "Which tea does Ada like?"


async def two(memory: MemoryClient) -> tuple[str, str]:
    """Two memories that say equally much to the question."""
    first, second = [await memory.store(f"Ada likes {one} tea.", type="fact", wait="searchable") for one in ("green", "white")]
    return first.id, second.id


def found(recalled: Any) -> list[str]:
    """The ids, best first."""
    return [hit.memory.id for hit in recalled]


async def prior(memory: MemoryClient, memory_id: str) -> float:
    """What recall makes of what was said of a memory."""
    hits = {hit.memory.id: hit for hit in await memory.recall(QUESTION)}
    part = hits[memory_id].why.get("feedback")
    return part.value if part else 0.0


async def test_what_was_of_use_comes_first_and_what_was_not_is_still_found(world: World, memory: MemoryClient) -> None:
    """One verdict of each kind, said again, replaced and taken back; the score says how much it made."""
    one, other = await two(memory)
    world.embedder.away = True  # it would find one of two like the question, by chance
    recalled = await memory.recall(QUESTION)
    assert "feedback" not in recalled.hits[0].why

    last, first = found(recalled)[::-1][:2]
    assert (await memory.feedback(recalled.recall_id, useful=[last], useless=[first])).judged == 2
    after = await memory.recall(QUESTION)
    assert found(after)[:2] == [last, first]
    assert [hit.why["feedback"].value for hit in after] == pytest.approx([1 / 3, -1 / 3], abs=1e-5)

    assert (await memory.feedback(recalled.recall_id, useful=[last], useless=[first])).unchanged == 2
    assert (await memory.feedback(recalled.recall_id, useless=[last], undo=[first])).judged == 2
    assert [await prior(memory, last), await prior(memory, first)] == pytest.approx([-1 / 3, 0], abs=1e-5)
    assert (await memory.get(last)).version == 1

    # A hundred people find it useless; who asks for it in its own words gets it first all the same.
    for _ in range(100):
        again = await memory.recall(QUESTION, limit=2)
        await memory.feedback(again.recall_id, useless=[one])
    assert await prior(memory, one) == -0.5
    assert found(await memory.recall("green tea"))[0] == one
    assert set(found(await memory.recall(QUESTION))) == {one, other}


async def test_feedback_is_archived_followed_rebuilt_and_verified(world: World, memory: MemoryClient) -> None:
    """It is part of the memory in both stores, and goes when its content changes or it is forgotten."""
    one, other = await two(memory)
    recalled = await memory.recall(QUESTION)
    await memory.feedback(recalled.recall_id, useful=[one], useless=[other])
    await world.drained(memory)
    told = await one_story(world)
    assert [told[key].memory.feedback.count for key in (one, other)] == [1, 1]  # type: ignore[union-attr]

    # An emptied Redis has it again, and a lost part of it is found and mended on either side.
    await world.redis.flushall()

    async def rebuilt() -> bool:
        return {key: one.memory.feedback for key, one in (await hot(world)).items()} == {
            key: one.memory.feedback for key, one in told.items()
        }

    await eventually(rebuilt, what="Redis has the feedback again")
    async with world.connect() as again:
        assert await prior(again, one) == pytest.approx(1 / 3, abs=1e-5)

    async with a_hand(world) as hand:
        reconciler = Reconciler(Records(world.redis, world.keys), world.archive, hand.projector)
        await mended(world, memory, reconciler, one, other)

    # New words begin without it; other changes keep it, also when a person makes them in MongoDB.
    await memory.update(one, content="Ada likes black tea.")
    await memory.update(other, importance=0.9)
    await world.drained(memory)
    await world.memories.update_one({"_id": other}, {"$set": {"tags": ["drinks"]}})

    async def followed() -> bool:
        return (await hot(world))[other].memory.tags == ["drinks"]

    await eventually(followed, what="the edit is followed")
    await world.drained(memory)
    assert {key: bool(one.memory.feedback) for key, one in (await one_story(world)).items()} == {one: False, other: True}
    await memory.forget(other, durability="archived")
    stored = await memory.store("Ada likes white tea.", type="fact")
    assert (stored.id, (await memory.get(other)).feedback) == (other, None)


async def mended(world: World, memory: MemoryClient, reconciler: Reconciler, one: str, other: str) -> None:
    """A verdict that the archive has lost, and one that Redis has lost. Sync hears of neither before both were looked at."""
    await world.stop("sync")
    await world.memories.update_one({"_id": one}, {"$unset": {"feedback": ""}})
    redis: Any = world.redis
    await redis.hdel(world.keys.memory("semantic", memory.scope, other), "feedback")
    differing = (await reconciler.compare()).differences
    assert {diff.place.memory_id: diff.kind for diff in differing} == {
        one: Kind.ARCHIVE_LACKS_FEEDBACK, other: Kind.HOT_LACKS_FEEDBACK,
    }  # fmt: skip
    await reconciler.mend(differing)
    await world.start("sync")
    await world.drained(memory)
    assert (await reconciler.compare()).differences == []


async def test_feedback_that_an_edit_in_the_archive_overtakes_is_not_lost(unsynced: World) -> None:
    """The edit makes a version of what the archive had before the verdict reached it."""
    world = unsynced
    async with world.connect() as memory, a_hand(world) as hand:
        one, _ = await two(memory)
        await hand.archive_all()
        await memory.feedback((await memory.recall(QUESTION)).recall_id, useful=[one])
        said = (await hot(world))[one].memory.feedback
        assert said is not None
        await world.memories.update_one({"_id": one}, {"$set": {"tags": ["edited"]}})
        document = await world.memories.find_one({"_id": one})
        assert document is not None
        await hand.projector.apply_document(document)
        await hand.archive_all()
        for there in ((await archived(world))[one].memory, (await hot(world))[one].memory):
            assert (there.version, there.tags, there.feedback) == (2, ["edited"], said)


async def test_only_what_a_recall_of_the_scope_gave_can_be_judged(world: World, memory: MemoryClient) -> None:
    """For a day; not twice at once, not by others, and nothing that it has not given. A request's id is good for one."""
    await world.stop("daemon")
    world.clock = clock = FakeClock(await _now(world))
    await world.start("daemon")
    one, other = await two(memory)
    recalled = await memory.recall("green", limit=1, profile="facts")
    stranger = "mem_" + "0" * 32
    wrongs: list[dict[str, Any]] = [{}, {"useful": [one], "useless": [one]}, {"useful": [stranger]}]
    for wrong in wrongs:
        with pytest.raises(BadRequest):
            await memory.feedback(recalled.recall_id, **wrong)
    for nobody in ("1-1", "99999999999999-0"):
        with pytest.raises(NotFound):
            await memory.feedback(nobody, useful=[one])
    with pytest.raises(BadRequest):
        await memory.feedback("*", useful=[one])
    async with world.connect(agent="another") as stranger_client, world.connect(session="s9") as inside:
        for client in (stranger_client, inside):
            with pytest.raises(NotFound):
                await client.feedback(recalled.recall_id, useful=[one])

    for _ in range(2):
        assert (await memory.feedback(recalled.recall_id, useful=[one], request_id="same")).judged == 1
    with pytest.raises(RequestIdReused):
        await memory.feedback(recalled.recall_id, useless=[one], request_id="same")
    assert (await hot(world))[one].memory.feedback.useful == 1.0  # type: ignore[union-attr]

    both = await memory.recall(QUESTION)
    await memory.forget(other)
    answer = await memory.feedback(both.recall_id, useful=[one, other])
    assert (answer.judged, answer.gone) == (1, [other])

    # It fades by halves; taking back removes what is left, no more and no less.
    clock.moment += timedelta(days=30)
    assert await prior(memory, one) == pytest.approx((1 + 1) / 2 / (1 + 2), abs=1e-4)
    with pytest.raises(NotFound):
        await memory.feedback(both.recall_id, useful=[one])
    clock.moment -= timedelta(days=30) - timedelta(seconds=RECALL_LIFE_SECONDS - 60)
    assert (await memory.feedback(both.recall_id, undo=[one])).judged == 1
    left = (await hot(world))[one].memory.feedback
    assert left is not None
    assert left.useful == pytest.approx(0.5 ** (1 / 30), abs=1e-3)


async def _now(world: World) -> Any:
    seconds, micros = await world.redis.time()
    return from_microseconds(seconds * 1_000_000 + micros)


async def test_what_a_session_was_given_counts_a_little_once_a_day(world: World, memory: MemoryClient) -> None:
    """A day is 24 hours since: midnight is nothing to it. Its context names the recall, so that the model's verdict can follow. It
    is found also when only the archive has the memory by then."""
    await world.stop("daemon")
    midnight = (await _now(world)).replace(hour=0, minute=0, second=0, microsecond=0)
    world.clock = clock = FakeClock(midnight - timedelta(seconds=1))
    await world.start("daemon")
    one, _ = await two(memory)
    session = memory.working("s1")
    await session.append({"role": "user", "content": "hello"})
    for _ in range(3):
        context = await session.context(QUESTION)
        clock.moment += timedelta(seconds=1)
    assert one in [hit.memory.id for hit in context.recalled]
    assert await prior(memory, one) == pytest.approx(0.1 / 2.1, abs=1e-4)
    await memory.working("s2").append({"role": "user", "content": "hello"})
    await memory.working("s2").context(QUESTION)
    assert await prior(memory, one) == pytest.approx(0.2 / 2.2, abs=1e-4)
    redis: Any = world.redis
    verdicts = [key async for key in redis.scan_iter(match="aether:verdict:*")]
    assert all([RECALL_LIFE_SECONDS - 600 < await redis.ttl(key) <= RECALL_LIFE_SECONDS for key in verdicts])
    await redis.delete(*verdicts)  # as a day does
    context = await session.context(QUESTION)
    assert await prior(memory, one) == pytest.approx(0.3 / 2.3, abs=1e-4)

    await world.drained(memory)
    await world.stop("sync")
    await redis.delete(*[key async for key in redis.scan_iter(match=f"{memories('semantic')}*{one}")])
    assert (await memory.feedback(context.recall_id, useful=[one])).judged == 1
    assert await prior(memory, one) == pytest.approx(1.3 / 3.3, abs=1e-3)


async def test_a_recall_that_redis_cannot_note_is_still_a_recall(world: World, memory: MemoryClient) -> None:
    """A full Redis refuses the note, and the answer has no recall_id; a forget of everything takes notes along."""
    await two(memory)
    assert (await memory.recall(QUESTION)).recall_id
    notes = world.keys.recalls(memory.scope)
    assert await world.redis.exists(notes)
    await memory.forget_many(words="nothing like it")
    assert not await world.redis.exists(notes)
    await world.redis.set(notes, "in the way")
    assert (await memory.recall(QUESTION)).recall_id == ""
    assert len(await memory.recall(QUESTION)) == 2
