"""Agents of one project: one works on a task at a time, and everybody hears what is said, once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, LeaseHeld, LeaseLost, RequestIdReused
from memoryd.limits import CHANNEL_DATA_BYTES_MAX
from memoryd.model.lease import Lease
from tests.integration.tools import verified
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.wire import Wire
from tests.world import World


async def test_agents_of_a_project_see_what_the_others_are_at_and_no_more(world: World, memory: MemoryClient) -> None:
    """Status and heartbeat; not what they think of themselves, and nothing of another project's."""
    await memory.agent.set(task="deploy", status="working", tools=["kubectl"], self_model={"secret": "kumquat"})
    async with world.connect(agent="ada") as ada, world.connect(project="sales", agent="eve") as eve:
        await ada.agent.set(status="error", error="kumquat")
        await eve.agent.set(status="idle")
        for client in (memory, ada):
            peers = {one.agent: one for one in (await client.agent.peers()).peers}
            assert peers.keys() == {"scout", "ada"}
            assert (peers["scout"].task, peers["scout"].status, peers["scout"].tools) == ("deploy", "working", ["kubectl"])
            assert peers["ada"].status == "error"
            assert peers["ada"].alive
        assert [one.agent for one in (await eve.agent.peers()).peers] == ["eve"]
    async with Wire(world) as wire:
        assert "kumquat" not in str(await wire.result("agent.peers"))


# --- leases -----------------------------------------------------------------------------------------------------------
async def test_of_many_that_want_a_task_one_has_it_and_tokens_only_grow(world: World, memory: MemoryClient) -> None:
    """Whoever they are; also another worker of the same agent. Another project has tasks of its own."""
    async with world.connect(agent="ada") as ada, world.connect(project="sales") as sales:
        tokens = []
        for _ in range(5):
            tries = [client.leases.take("deploy: shop/*") for client in (memory, ada) for _ in range(8)]
            answers = await asyncio.gather(*tries, return_exceptions=True)
            [won] = [one for one in answers if isinstance(one, Lease)]
            held = [one for one in answers if isinstance(one, LeaseHeld)]
            assert len(held) == 15
            assert {one.details["agent"] for one in held} == {won.agent}
            assert await sales.leases.get("deploy: shop/*") is None
            tokens.append(won.token)
            assert (await ada.leases.get("deploy: shop/*")) is not None
            assert await memory.leases.release(won)
            assert not await memory.leases.release(won)
        assert tokens == sorted(set(tokens))
        assert await memory.leases.get("deploy: shop/*") is None


async def test_a_lease_that_ended_is_taken_over_and_its_former_holder_can_do_nothing(world: World, memory: MemoryClient) -> None:
    """Neither renew it nor give back what is another's; also not after Redis has lost everything."""
    async with world.connect(agent="ada") as ada:
        first = await memory.leases.take("deploy")
        assert (await memory.leases.renew(first, ttl_seconds=1)).token == first.token

        async def taken() -> Lease | None:
            try:
                return await ada.leases.take("deploy")
            except LeaseHeld:
                return None

        second = await eventually(taken, what="the lease has ended")
        with pytest.raises(LeaseLost):
            await memory.leases.renew(first)
        assert not await memory.leases.release(first)
        now = await memory.leases.get("deploy")
        assert now is not None
        assert (now.agent, now.token) == ("ada", second.token)

        await world.redis.delete(world.keys.lease(memory.scope, "deploy"), world.keys.fences(memory.scope))
        third = await memory.leases.take("deploy")
        assert first.token < second.token < third.token
        await world.redis.set(world.keys.fences(memory.scope), third.token + 10**12)  # as by a clock that ran ahead
        await memory.leases.release(third)
        assert (await memory.leases.take("deploy")).token == third.token + 10**12 + 1


async def test_a_repeated_take_is_the_same_lease(world: World) -> None:
    """After a lost answer the caller has what it took; under that id nobody else has."""
    async with Wire(world) as wire:
        first = await wire.result("lease.take", {"task": "deploy"}, id="t1")
        again = await wire.result("lease.take", {"task": "deploy"}, id="t1")
        assert again["token"] == first["token"]
        assert (await wire.refused("lease.take", {"task": "deploy"}, id="t2"))["code"] == "lease_held"
        other = {"tenant": "acme", "project": "support", "agent": "ada"}
        assert (await wire.refused("lease.take", {"task": "deploy"}, id="t1", scope=other))["code"] == "lease_held"
        for args in ({"task": ""}, {"task": "x", "ttl_seconds": 0.5}, {"task": "x", "ttl_seconds": 3601}, {"task": "a\0"}):
            assert (await wire.refused("lease.take", args))["code"] == "bad_request"


async def test_who_holds_a_lease_keeps_it_beyond_its_life_and_learns_of_its_loss(world: World, memory: MemoryClient) -> None:
    """It is renewed while the work goes on, waited for by the next one, and lost when it is taken away."""
    async with world.connect(agent="ada") as ada:
        async with memory.leases.hold("deploy", ttl_seconds=9) as mine:
            with pytest.raises(LeaseHeld):
                async with ada.leases.hold("deploy", wait_seconds=11):
                    pass
            mine.check()
            waiting = asyncio.create_task(held_once(ada, "deploy"))
            await asyncio.sleep(0)
        assert await waiting > mine.token
        async with memory.leases.hold("deploy", ttl_seconds=4) as mine:
            await world.redis.delete(world.keys.lease(memory.scope, "deploy"))
            await asyncio.wait_for(mine.lost.wait(), PATIENCE_SECONDS)
            with pytest.raises(LeaseLost):
                mine.check()


async def held_once(client: MemoryClient, task: str) -> int:
    """Waits for a lease and gives it back; its token."""
    async with client.leases.hold(task, wait_seconds=PATIENCE_SECONDS) as lease:
        return lease.token


async def test_a_holder_whose_daemon_is_away_stops_trusting_its_lease_in_time(world: World, memory: MemoryClient) -> None:
    """Nobody can tell it that the lease is lost: its own clock does."""
    async with memory.leases.hold("deploy", ttl_seconds=1) as mine:
        await world.stop("daemon")
        await asyncio.wait_for(mine.lost.wait(), PATIENCE_SECONDS)
        with pytest.raises(LeaseLost):
            mine.check()
        await world.start("daemon")


# --- channels ---------------------------------------------------------------------------------------------------------
async def test_subscribers_hear_everything_once_and_in_order_live_or_later(world: World, memory: MemoryClient) -> None:
    """Four writers at once; one listens from the beginning of the world, one from now, one comes later."""
    async with world.connect(agent="ada", session="s1") as ada, world.connect(agent="eve") as eve:
        await memory.channels.publish("news", "before")
        now = (await eve.channels.read("news", after=None)).next
        live = asyncio.create_task(heard(eve, 41, after=now))
        whole = asyncio.create_task(heard(ada, 42, after=""))
        await _listening(world, 2)

        async def write(client: MemoryClient, writer: int) -> None:
            for number in range(10):
                await client.channels.publish("news", {"writer": writer, "n": number})

        await asyncio.gather(*(write((memory, ada)[writer % 2], writer) for writer in range(4)))
        await ada.channels.publish("news", None)
        later = await heard(memory, 42, after="")

        assert await whole == later
        assert await live == later[1:]
        assert [number for number, *_ in later] == list(range(1, 43))
        assert [data for *_, data in later if isinstance(data, dict) and data["writer"] == 3] == [
            {"writer": 3, "n": number} for number in range(10)
        ]
        assert later[0] == (1, "scout", "", "before")
        assert later[-1] == (42, "ada", "s1", None)
        async with world.connect(project="sales") as sales, world.connect(tenant="x") as stranger:
            assert (await sales.channels.read("news")).messages == (await stranger.channels.read("news")).messages == []
        assert (await memory.channels.read("news:2")).messages == []


async def heard(client: MemoryClient, count: int, *, after: str) -> list[tuple[object, ...]]:
    """The first messages that a subscriber gets."""
    got: list[tuple[object, ...]] = []
    async with asyncio.timeout(60):
        async for one in client.channels.subscribe("news", after=after):
            got.append((one.number, one.agent, one.session, one.data))
            if len(got) == count:
                break
    return got


async def _listening(world: World, count: int) -> None:
    name = "aether:said:acme:support:news"

    async def enough() -> bool:
        [(_, subscribers)] = await world.redis.pubsub_numsub(name)
        return bool(subscribers >= count)

    await eventually(enough, what="the subscribers listen")


async def test_a_channel_keeps_the_newest_and_numbers_tell_what_is_gone(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat is no second message, and pages follow each other."""
    monkeypatch.setattr("memoryd.hot.channels.CHANNEL_MESSAGES_MAX", 5)
    first = await memory.channels.publish("news", 0, request_id="p1")
    assert await memory.channels.publish("news", 0, request_id="p1") == first
    with pytest.raises(RequestIdReused):
        await memory.channels.publish("news", 1, request_id="p1")
    for number in range(1, 10):
        await memory.channels.publish("news", number)
    page = await memory.channels.read("news", after=first.position, limit=3)
    assert ([one.number for one in page.messages], page.more) == ([6, 7, 8], True)
    rest = await memory.channels.read("news", after=page.next)
    assert ([one.data for one in rest.messages], rest.more) == ([8, 9], False)
    assert await world.redis.ttl(world.keys.channel(memory.scope, "news")) > 0
    refused: list[Awaitable[object]] = [
        memory.channels.read("news", after="yesterday"), memory.channels.publish("", 1),
        memory.channels.publish("news", "x" * CHANNEL_DATA_BYTES_MAX), memory.channels.read("news", limit=201),
    ]  # fmt: skip
    for one in refused:
        with pytest.raises(BadRequest):
            await one


async def test_a_forget_reaches_what_was_said(world: World, memory: MemoryClient) -> None:
    """By words, by session, and everything; an agent's forget leaves what others have said, and a receipt is checked."""
    async with world.connect(agent="ada") as ada, world.connect(agent="") as project, world.connect(session="s1") as inner:
        for client in (memory, ada, inner):
            await client.channels.publish("news", {"text": "The kumquat is ripe."})
            await client.channels.publish("other", {"text": "Nothing."})
        assert (await memory.plan_forget(words="kumquat")).removes["redis"]["channel_messages"] == 2
        await memory.forget_many(words="kumquat")
        assert [one.agent for one in (await ada.channels.read("news")).messages] == ["ada"]
        await memory.forget_many(session="s1")
        assert [one.session for one in (await ada.channels.read("other")).messages] == ["", ""]
        receipt = await memory.forget_many(everything=True)
        assert receipt.removed["redis"]["channel_messages"] == 1
        await memory.channels.publish("other", "afterwards")
        assert not (await verified(memory, receipt.id)).findings
        assert [one.agent for one in (await ada.channels.read("other")).messages] == ["ada", "scout"]
        await project.forget_many(everything=True)
        assert (await ada.channels.read("other")).messages == (await ada.channels.read("news")).messages == []
    assert b"kumquat" not in await world.everything_in_redis()
