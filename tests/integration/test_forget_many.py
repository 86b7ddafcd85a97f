"""Many memories are forgotten by what they have in common: exactly the plan, in both stores, with what was made of them."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

import memoryd.lifecycle.forgetting
import memoryd.lifecycle.planning
from memoryd import MemoryClient
from memoryd.errors import ArchiveUnavailable, BadRequest, Conflict, Forgotten, NotFound, Overloaded, TooLarge
from memoryd.hot import receipts as hot_receipts
from memoryd.hot.forgetting import forget
from memoryd.hot.records import Records
from memoryd.keys import RECEIPTS, REQUESTS, forgetting
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.selection import digest
from memoryd.local.servers import Servers
from memoryd.model.receipt import ForgetPlan, FullReceipt
from memoryd.model.results import Stored
from memoryd.protocol import client, server
from memoryd.protocol.connection import Patience
from memoryd.storing import Storing
from tests.fakes import FakeClock
from tests.integration.tools import a_hand, archived, caught_up, hot, past, verified
from tests.waiting import eventually
from tests.world import World, private_settings

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def ids_of(client: MemoryClient, *contents: str, **details: Any) -> list[str]:
    """The ids of these contents, stored."""
    kept = await client.store_many([{"content": one, **details} for one in contents])
    return [one.id for one in kept if isinstance(one, Stored)]


def listed(answer: ForgetPlan | FullReceipt) -> set[str]:
    """The ids of a plan or of a receipt."""
    return {one.id for one in answer.memories}


async def gone(client: MemoryClient, *memory_ids: str) -> bool:
    """Whether all of them are."""
    for memory_id in memory_ids:
        try:
            await client.get(memory_id)
        except NotFound:
            continue
        return False
    return True


async def nothing_forgotten(*_: Any) -> list[str]:
    """A store whose look at its sources came a moment too early."""
    return []


# --- what is selected -------------------------------------------------------------------------------------------------
async def test_each_criterion_selects_what_it_says_and_all_must_hold(settings: Any) -> None:
    """What is only hot, what is only archived and what is in both counts alike."""
    async with World(settings) as world:
        world.clock = clock = FakeClock(NOW - 40 * DAY)
        await world.start("daemon", "sync")
        async with world.connect() as scout, world.connect(agent="") as project, world.connect(agent="planner") as other:
            [old] = await ids_of(scout, "An old note.")
            clock.moment = NOW - DAY
            [tagged] = await ids_of(scout, "A kiwi farm.", tags=["farms", "odd, tag"])
            [event] = await ids_of(scout, "We met at noon.", type="episodic", session="s1")
            [lesson] = await ids_of(scout, "Water the plants.", type="procedural", session="s1")
            [foreign] = await ids_of(other, "An old note.", tags=["farms"])
            [worded] = await ids_of(scout, "Straße: the Élan of KIWI_1, naïve")
            await caught_up(world, scout)
            clock.moment = NOW
            key = world.keys.memory("semantic", scout.scope, old)
            await world.lose(key)  # as a memory that has gone cold
            await world.stop("sync")
            [fresh] = await ids_of(scout, "A kiwi at noon.", tags=["farms"])  # not archived yet

            async def selects(client: MemoryClient, **selection: Any) -> set[str]:
                return listed(await client.plan_forget(**selection))

            assert await selects(scout, ids=[old, foreign]) == {old}
            assert await selects(scout, session="s1") == {event, lesson}
            assert await selects(project, agent="planner") == {foreign}
            assert await selects(scout, tags=["farms", "nothing"]) == {tagged, fresh}
            assert await selects(scout, tags=["odd, tag"]) == {tagged}
            assert await selects(project, tags=["farms"]) == {tagged, fresh, foreign}
            assert await selects(scout, types=["episodic", "procedural"]) == {event, lesson}
            assert await selects(scout, older_than_seconds=30 * 24 * 3600) == {old}
            assert await selects(scout, before=(NOW - DAY).isoformat()) == {old}
            assert await selects(scout, words="KIWI") == {tagged, fresh}
            assert await selects(scout, words="naïve kiwi_1, STRASSE") == {worded}
            assert await selects(scout, words="kiw") == set()
            assert fresh in await selects(scout, query="Which kiwi at noon?", limit=1)
            best = [hit.memory.id for hit in await scout.recall("kiwi") if hit.why["meaning"].value >= 0.9]
            assert await selects(scout, query="kiwi", limit=50, min_score=0.9) == set(best)
            assert await selects(scout, query="kiwi", limit=50, tags=["farms"], words="noon") == {fresh}
            assert await selects(scout, session="s1", types=["episodic"]) == {event}
            assert await selects(scout, session="s1", words="kiwi") == set()
            assert await selects(scout, everything=True) == {old, tagged, event, lesson, worded, fresh}
            async with world.connect(session="s1") as session:
                assert await selects(session, everything=True) == {event, lesson}

            plan = await scout.plan_forget(everything=True)
            assert {one.id: one.where for one in plan.memories} == {
                **dict.fromkeys((tagged, event, lesson, worded), "both"), old: "archive", fresh: "hot"
            }  # fmt: skip
            assert plan.removes["mongodb"] == {"memories": 5, "versions": 5}
            assert plan.removes["redis"]["records"] == 5


async def test_a_selection_that_cannot_be_meant_is_refused(unsynced: World) -> None:
    """Above all the empty one: nobody forgets everything by leaving something out."""
    async with unsynced.connect() as memory, unsynced.connect(session="s1") as session:
        for wrong in (
            {}, {"limit": 3}, {"ids": ["mem_1"]}, {"session": ""}, {"words": "!!!"}, {"words": " "}, {"query": "\0"},
            {"agent": "other"}, {"everything": True, "session": "s1"}, {"older_than_seconds": -1}, {"min_score": 2},
            {"before": "2026-01-01T00:00:00"}, {"everything": True, "colour": "green"}, {"tags": [""]},
        ):  # fmt: skip
            with pytest.raises(BadRequest):
                await memory.plan_forget(**wrong)
        with pytest.raises(BadRequest):
            await session.plan_forget(session="s2")


async def test_a_memory_that_no_index_holds_is_found(unsynced: World) -> None:
    """One with a vector of another length is in no index; a forget walks the keys."""
    async with unsynced.connect() as memory:
        [hidden] = await ids_of(memory, "The hidden kumquat.", tags=["fruit"])
        await eventually(lambda: _embedded(unsynced, hidden), what="its vector")
        key = unsynced.keys.memory("semantic", memory.scope, hidden)
        await unsynced.redis.hset(key, "embedding", b"short")
        assert not (await memory.recall("kumquat")).hits

        receipt = await memory.forget_many(tags=["fruit"])

        assert listed(receipt) == {hidden}
        assert not await unsynced.redis.exists(key)


async def test_what_a_person_changed_in_mongodb_counts(world: World, memory: MemoryClient) -> None:
    """Also before sync has brought it here: the newer of two versions says what a memory is."""
    [edited, other] = await ids_of(memory, "Plain one.", "Plain two.")
    await caught_up(world, memory)
    await world.stop("sync")
    await world.memories.update_one({"_id": edited}, {"$set": {"content": "A kumquat."}})

    assert listed(await memory.plan_forget(words="kumquat")) == {edited}
    await memory.forget_many(words="kumquat")
    await world.start("sync")
    await caught_up(world, memory)

    assert await archived(world) == {other: (await hot(world))[other]}
    assert "kumquat" not in await world.everything_in_mongo()


# --- the plan is what is done -----------------------------------------------------------------------------------------
async def test_the_run_is_the_plan_that_was_shown(world: World, memory: MemoryClient) -> None:
    """By its digest: the same memories, versions, reasons and counts; and nothing of them is left."""
    ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(25)), session="s1", type="fact")
    [other] = await ids_of(memory, "Kumquat, elsewhere.")
    await caught_up(world, memory)

    plan = await memory.plan_forget(session="s1")
    receipt = await memory.forget_many(session="s1", if_plan=plan.digest, durability="archived")

    assert receipt.plan == plan.digest
    assert {one.id: (one.version - 1, one.reason) for one in receipt.memories} == {
        one.id: (one.version, one.reason) for one in plan.memories
    }
    assert plan.removes["redis"] == {"records": 25, "cached_vectors": 25}
    assert receipt.removed == {
        "redis": {**plan.removes["redis"], "journal_entries": 0},
        "mongodb": {"memories": 25, "versions": 25},
    }
    assert receipt.durability == "archived"
    assert receipt.selection == {"session": "s1"}
    assert (receipt.asked_by, receipt.agent, receipt.count) == (memory.name, "scout", 25)
    assert await gone(memory, *ids)
    assert (await memory.get(other)).content
    assert set(await hot(world)) == set(await archived(world)) == {other}
    assert (await verified(memory, receipt.id)).findings == []
    assert (await memory.verify_receipt(receipt.id, chain=True)).ok


async def test_a_plan_that_is_another_by_now_is_not_carried_out(unsynced: World) -> None:
    """One memory more, one version more: the person who decided has not seen it."""
    async with unsynced.connect() as memory:
        [first] = await ids_of(memory, "Kumquat one.", session="s1")
        plan = await memory.plan_forget(session="s1")
        await memory.update(first, importance=0.9)
        with pytest.raises(Conflict) as refused:
            await memory.forget_many(session="s1", if_plan=plan.digest)
        again = await memory.plan_forget(session="s1")
        assert refused.value.details == {"plan": again.digest, "count": 1}
        await ids_of(memory, "Kumquat two.", session="s1")
        with pytest.raises(Conflict):
            await memory.forget_many(session="s1", if_plan=again.digest)
        assert len(await hot(unsynced)) == 2
        assert (await memory.receipts()) == []


async def test_what_a_forget_selected_by_is_not_in_its_receipt(world: World, memory: MemoryClient) -> None:
    """Tags, words and a query may quote what was to be forgotten: a receipt has their digests, nobody has their vector."""
    await ids_of(memory, "The kumquat of Ada.", tags=["salak"])
    await caught_up(world, memory)
    receipt = await memory.forget_many(
        tags=["salak"], words="kumquat", query="Whose kumquat, rambutan?", durability="archived"
    )
    await caught_up(world, memory)

    assert receipt.count == 1
    assert receipt.selection["words"] == digest("kumquat")
    everything = (await world.everything_in_redis()).decode(errors="replace") + await world.everything_in_mongo()
    assert [word for word in ("salak", "kumquat", "rambutan") if word in everything] == []
    assert [key async for key in world.redis.scan_iter("aether:cache:embedding:*")] == []


async def test_more_than_a_forget_can_hold_is_refused_before_anything_is_done(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hint how to narrow it."""
    monkeypatch.setattr(memoryd.lifecycle.planning, "FORGET_PLAN_MAX", 3)
    async with unsynced.connect() as memory:
        await ids_of(memory, *(f"Note {number}." for number in range(4)))
        with pytest.raises(TooLarge) as refused:
            await memory.forget_many(everything=True)
        assert "narrow" in (refused.value.hint or "")
        assert len(await hot(unsynced)) == 4


async def test_nothing_is_forgotten_while_no_receipt_can_be_left(
    unsynced: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forget that nobody could prove afterwards waits, and says so."""
    monkeypatch.setattr(hot_receipts, "RECEIPTS_WAITING_MAX", 0)
    async with unsynced.connect() as memory:
        [kept] = await ids_of(memory, "A note.")
        for forget in (memory.forget(kept), memory.forget_many(ids=[kept])):
            with pytest.raises(Overloaded):
                await forget
        assert (await memory.get(kept)).version == 1


async def test_a_forget_that_cannot_look_everywhere_does_not_pretend(
    own_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB away: no plan, no forget of many, no verification. One hot memory is forgotten all the same, and what is
    made of it meanwhile is forgotten as soon as somebody archives it."""
    assert own_servers.mongo is not None
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.start("daemon", "sync")
        async with world.connect() as memory:
            [source, other] = await ids_of(memory, "A source.", "Another.")
            [made] = await ids_of(memory, "Made of it.", derived_from=[source])
            await caught_up(world, memory)
            await own_servers.mongo.stop()
            with pytest.raises(ArchiveUnavailable):
                await memory.plan_forget(everything=True)
            with pytest.raises(ArchiveUnavailable):
                await memory.forget_many(everything=True)
            receipt = await memory.forget(source)
            assert receipt.derived == 1
            assert set(await hot(world)) == {other}
            with pytest.raises(ArchiveUnavailable):
                await memory.verify_receipt(receipt.receipt)
            assert (await memory.receipt(receipt.receipt)).seq == 0
            monkeypatch.setattr(Storing, "forgotten", nothing_forgotten)  # the store looked a moment before the forget
            late = await memory.store("Made of it in that moment.", derived_from=[source])
            await own_servers.mongo.start()
            await caught_up(world, memory)
            await eventually(lambda: _chained(memory, receipt.receipt), what="the receipt is chained")
            await eventually(lambda: gone(memory, made, late.id), what="the archiver has forgotten the late one")
            await caught_up(world, memory)
            assert set(await archived(world)) == set(await hot(world)) == {other}
            assert (await verified(memory, receipt.receipt)).findings == []


# --- what goes with it ------------------------------------------------------------------------------------------------
async def test_what_was_made_of_a_memory_goes_with_it(world: World, memory: MemoryClient) -> None:
    """And what was made of that, also of another agent; of another project it is not the same memory."""
    async with world.connect(agent="planner") as planner, world.connect(project="other") as elsewhere:
        [source, other] = await ids_of(memory, "A source.", "Another source.")
        [summary] = await ids_of(planner, "A summary.", derived_from=[other, source])
        [second] = await ids_of(memory, "A summary of it.", derived_from=[summary])
        [stranger] = await ids_of(elsewhere, "A stranger.", derived_from=[source])
        await caught_up(world, memory)
        await world.lose(world.keys.memory("semantic", memory.scope, second))  # gone cold

        plan = await memory.plan_forget(ids=[source])
        assert {one.id: one.reason for one in plan.memories} == {
            source: "selected by id",
            summary: f"derived from {source}",
            second: f"derived from {summary}",
        }
        receipt = await memory.forget_many(ids=[source], if_plan=plan.digest, durability="archived")

        assert listed(receipt) == {source, summary, second}
        assert set(await archived(world)) == {other, stranger}
        assert (await verified(memory, receipt.id)).ok
        assert (await elsewhere.get(stranger)).version == 1


async def test_a_single_forget_takes_along_what_redis_knows_and_the_archiver_the_rest(
    world: World, memory: MemoryClient
) -> None:
    """What was made of it and is cold now is only in MongoDB: there the archiver finds it."""
    [source] = await ids_of(memory, "A source.")
    [warm] = await ids_of(memory, "Made of it, warm.", derived_from=[source])
    [cold] = await ids_of(memory, "Made of it, cold.", derived_from=[source])
    await caught_up(world, memory)
    await world.lose(world.keys.memory("semantic", memory.scope, cold))

    receipt = await memory.forget(source, durability="archived")
    await caught_up(world, memory)
    await eventually(lambda: _nothing_archived(world), what="the archiver has forgotten what was made of it")

    assert receipt.derived == 1
    assert listed(await memory.receipt(receipt.receipt)) == {source, warm}
    assert await gone(memory, warm, cold)
    [by_sync] = await eventually(lambda: receipts_of(world, "sync"), what="it has left its receipt")
    assert {one.id: one.reason for one in by_sync.memories} == {cold: f"derived from {source}"}


@pytest.mark.parametrize("summary_first", [True, False], ids=["the summary is archived first", "the forget is archived first"])
async def test_a_summary_and_a_forget_that_cross_each_other_leave_no_summary(
    unsynced: World, monkeypatch: pytest.MonkeyPatch, summary_first: bool
) -> None:
    """In two archivers' hands, in either order; also a former version of it, although it was made anew without its source."""
    monkeypatch.setattr(Storing, "forgotten", nothing_forgotten)
    async with unsynced.connect() as memory, a_hand(unsynced, "one") as one, a_hand(unsynced, "other") as other:
        [source] = await ids_of(memory, "A source.")
        [rebuilt] = await ids_of(memory, "First made of it.", derived_from=[source])
        await memory.update(rebuilt, content="Made anew without it.", derived_from=[])
        await one.archive_all()
        forgotten = await memory.forget(source)
        assert forgotten.derived == 0
        entry = await one.take()
        [summary] = await ids_of(memory, "A summary, in that moment.", derived_from=[source])
        stored = await other.take()
        for hand, entries in [(other, stored), (one, entry)] if summary_first else [(one, entry), (other, stored)]:
            await hand.archiver.archive(entries)
        await one.archive_all()

        assert await gone(memory, source, summary)
        assert set(await archived(unsynced)) == set(await hot(unsynced)) == {rebuilt}
        assert await past(unsynced, rebuilt) == [(2, "Made anew without it.")]
        assert await past(unsynced, summary) == []
        await one.archiver.archive(entry)  # delivered once more
        assert set(await hot(unsynced)) == {rebuilt}


async def test_cascade_follows_what_is_related_in_both_directions(world: World, memory: MemoryClient) -> None:
    """Inside the scope only, and as far as it leads; without it nothing related is touched."""
    async with world.connect(agent="planner") as planner:
        [far] = await ids_of(memory, "Far.")
        [named] = await ids_of(memory, "Named by it.", related=[far])
        [start] = await ids_of(memory, "The start.", related=[named])
        [naming] = await ids_of(memory, "Names it.", related=[start])
        [made] = await ids_of(memory, "Made of what names it.", derived_from=[naming])
        [outside] = await ids_of(planner, "Names it from outside.", related=[start])
        [apart] = await ids_of(memory, "Apart.")
        await caught_up(world, memory)

        assert listed(await memory.plan_forget(ids=[start])) == {start}
        receipt = await memory.forget_many(ids=[start], cascade=True, durability="archived")

        assert {one.id: one.reason for one in receipt.memories} == {
            start: "selected by id", named: f"related to {start}", naming: f"related to {start}",
            far: f"related to {named}", made: f"derived from {naming}",
        }  # fmt: skip
        assert set(await archived(world)) == {outside, apart}


async def test_what_names_a_forgotten_source_is_refused(world: World, memory: MemoryClient) -> None:
    """By store, each item of store_many and update; a source that was stored again is one like any other."""
    [source, kept] = await ids_of(memory, "A source.", "Something.")
    await memory.forget(source)
    with pytest.raises(Forgotten) as refused:
        await memory.store("Made of it.", derived_from=[kept, source])
    assert refused.value.details == {"ids": [source]}
    with pytest.raises(Forgotten):
        await memory.update(kept, derived_from=[source])
    several = await memory.store_many([{"content": "Made of it.", "derived_from": [source]}, {"content": "Not made of it."}])
    assert [type(one) for one in several] == [Forgotten, Stored]
    assert (await memory.get(kept)).version == 1

    assert await ids_of(memory, "A source.") == [source]
    made = await memory.store("Made of it again.", derived_from=[source])
    await caught_up(world, memory)
    assert (await memory.get(made.id)).derived_from == [source]


# --- late writers and long work -----------------------------------------------------------------------------------------
async def test_a_late_archiver_brings_nothing_of_many_back(unsynced: World) -> None:
    """It has read the entries before the forget, and writes them after another one has archived all of it."""
    async with unsynced.connect() as memory, a_hand(unsynced, "late") as late, a_hand(unsynced, "other") as other:
        ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(20)), session="s1")
        read = await late.take()
        receipt = await memory.forget_many(session="s1")
        await other.archive_all()

        await late.archiver.archive(read)
        await other.archive_all()

        assert receipt.count == len(ids)
        assert not await archived(unsynced)
        assert "Kumquat" not in await unsynced.everything_in_mongo()


async def requests(world: World) -> int:
    """How many were ever sent."""
    return int((await world.redis.xinfo_stream(REQUESTS))["entries-added"])


async def test_a_forget_that_takes_long_is_neither_taken_over_nor_done_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two daemons, a client that asks again and again, a takeover that would be due many times over: one plan, one run."""
    monkeypatch.setattr(server, "TAKEOVER_IDLE_SECONDS", 2.5)
    plans, carried_out, plan = [], 0, Planner.plan
    carry_out = server.Server.carry_out

    async def slow(self: Any, *args: Any, **more: Any) -> Any:
        plans.append(args)
        await asyncio.sleep(8)
        return await plan(self, *args, **more)

    async def counted(self: Any, envelope: Any, **more: Any) -> Any:
        nonlocal carried_out
        carried_out += envelope.op == "forget_many"
        return await carry_out(self, envelope, **more)

    monkeypatch.setattr(Planner, "plan", slow)
    monkeypatch.setattr(server.Server, "carry_out", counted)
    monkeypatch.setattr(client, "LONG", Patience(timeout_seconds=120, resend_seconds=0.7))
    await world.start("daemon2")
    async with world.connect() as memory:
        ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(5)), session="s1")
        before = await requests(world)
        receipt = await memory.forget_many(session="s1")
        asked = await requests(world) - before

    assert listed(receipt) == set(ids)
    assert len(plans) == 1
    assert 1 < carried_out <= asked  # the repeats, which waited; no takeover


# --- repeats and crashes ----------------------------------------------------------------------------------------------
async def test_a_repeat_is_answered_with_the_same_receipt(world: World, memory: MemoryClient) -> None:
    """One effect, one receipt, one place in the chain; also of ten repeats at once, and of both kinds of forget."""
    ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(5)), session="s1")
    [one] = await ids_of(memory, "One.")
    await caught_up(world, memory)

    def forget(client: MemoryClient) -> Any:
        return client.forget_many(session="s1", request_id="many")

    async with world.connect() as second, world.connect() as third:
        clients = (memory, second, third)
        answers = await asyncio.gather(*(forget(client) for client in clients for _ in range(3)))
        answers += [await forget(memory)]
        singles = [await client.forget(one, request_id="single") for client in clients]
    await eventually(lambda: _chain_length(world, 2), what="both receipts are chained")

    assert len({answer.id for answer in answers}) == 1
    assert all(answer == answers[0] for answer in answers)
    assert listed(answers[0]) == set(ids)
    assert len({(s.receipt, s.outcome, s.version, s.forgotten_at, s.journal_entries_removed) for s in singles}) == 1
    assert [s.count for s in await memory.receipts()] == [1, 5]


async def test_a_turn_is_kept_no_longer_than_it_lasts(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a driver swallows the cancellation of who keeps it: it would lengthen the next one's turn for ever."""
    monkeypatch.setattr(hot_receipts, "FORGET_TURN_SECONDS", 0.04)
    kept = asyncio.Event()

    async def swallowing(*_: Any) -> None:
        if not kept.is_set():
            kept.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    monkeypatch.setattr(redis, "pexpire", swallowing)
    async with hot_receipts.Forgets(redis).turn("rcp_" + "0" * 32):
        await kept.wait()
    assert "forget's turn" not in {one.get_name() for one in asyncio.all_tasks()}


async def test_a_forget_that_was_cut_off_is_finished_with_the_same_receipt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its daemon dies between two batches; the repeat goes on with the kept plan, and counts what the first one did."""
    monkeypatch.setattr(memoryd.lifecycle.forgetting, "BATCH", 4)
    monkeypatch.setattr(hot_receipts, "FORGET_TURN_SECONDS", 1.0)
    async with world.connect() as memory:
        ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(12)), session="s1")
        [made] = await ids_of(memory, "Made of one.", derived_from=[ids[0]])
        await caught_up(world, memory)
        plan = await memory.plan_forget(session="s1")
        steps = 0

        async def one_batch_only(records: Records, many: Any, *, now: int) -> Any:
            nonlocal steps
            steps += 1
            if steps == 2:
                await asyncio.Event().wait()  # here it dies
            return await forget(records, many, now=now)

        monkeypatch.setattr("memoryd.lifecycle.forgetting.forget", one_batch_only)
        first = asyncio.create_task(memory.forget_many(session="s1", request_id="cut off"))
        await eventually(lambda: steps == 2, what="the daemon is in the middle")
        first.cancel()
        await world.kill("daemon")
        monkeypatch.setattr("memoryd.lifecycle.forgetting.forget", forget)
        assert len(await hot(world)) == 13 - 4
        await world.start("daemon")
        receipt = await memory.forget_many(session="s1", request_id="cut off", durability="hot")

        assert receipt.plan == plan.digest
        assert listed(receipt) == {*ids, made}
        assert receipt.removed["redis"]["records"] == 13
        assert receipt.removed["redis"]["cached_vectors"] == 13
        assert receipt.removed["mongodb"] == {"memories": 13, "versions": 13}
        assert not await hot(world)
        await caught_up(world, memory)
        await eventually(lambda: _chained(memory, receipt.id), what="the receipt is chained")
        assert (await verified(memory, receipt.id)).ok
        left: Any = await world.redis.hgetall(forgetting(receipt.id))
        assert set(left) == {b"answer", b"entry"}
        await eventually(lambda: _none_waits(world), what="the receipt is acknowledged")


async def memory_receipts(world: World) -> list[FullReceipt]:
    """Every receipt of the archive."""
    from memoryd.archive.receipts import ReceiptArchive, to_receipt
    from memoryd.model.scope import Scope

    chain = ReceiptArchive(world.archive.database).chain(Scope("acme", "support"))
    return [to_receipt(one) async for one in chain]


async def receipts_of(world: World, name: str) -> list[FullReceipt]:
    """Those of what this one has forgotten."""
    return [one for one in await memory_receipts(world) if one.asked_by == name]


async def _chain_length(world: World, length: int) -> bool:
    return len(await memory_receipts(world)) >= length


async def _none_waits(world: World) -> bool:
    return not await world.redis.xlen(RECEIPTS)


async def _chained(memory: MemoryClient, receipt_id: str) -> bool:
    return (await memory.receipt(receipt_id)).seq > 0


async def _nothing_archived(world: World) -> bool:
    return not await archived(world)


async def _embedded(world: World, memory_id: str) -> bool:
    return (await hot(world))[memory_id].vector is not None
