"""The daemon's side of the protocol: every request is answered, whoever dies, and has its effect once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio.client import PubSub

from memoryd import MemoryClient, keys
from memoryd.errors import MemorydError, NoAnswer, NotFound, Overloaded, RequestIdReused
from memoryd.model.ids import content_id, hash_content
from memoryd.model.memory import MemoryType
from memoryd.model.results import Stored
from memoryd.protocol import connection, server
from memoryd.protocol.messages import Envelope
from memoryd.protocol.server import GROUP, Server
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.wire import Wire, goes_on
from tests.world import World


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    """A client without manners."""
    async with Wire(world) as wire:
        yield wire


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many requests each daemon has carried out."""
    count: Counter[str] = Counter()
    carry_out = Server.carry_out

    async def counted(self: Server, envelope: Envelope, **more: Any) -> Any:
        count[self._name] += 1
        return await carry_out(self, envelope, **more)

    monkeypatch.setattr(Server, "carry_out", counted)
    return count


# --- several at a time ------------------------------------------------------------------------------------------------
async def waiting(world: World, count: int) -> bool:
    """Whether so many requests wait."""
    return bool(await world.redis.xlen(keys.REQUESTS) == count)


async def test_what_arrives_together_is_stored_and_answered_together(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a few round trips; one that Redis refuses has the only failure, and every request is answered and gone."""
    send_all, sent = Server._send_all, []

    async def counted(self: Server, replies: Sequence[Any]) -> Any:
        sent.append(len(replies))
        return await send_all(self, replies)

    monkeypatch.setattr(Server, "_send_all", counted)
    contents = [f"Ada has {number} cats." for number in range(40)]
    refused = content_id(memory.scope, MemoryType.FACT, hash_content(contents[7]))
    redis: Any = world.redis
    await redis.set(world.keys.memory("semantic", memory.scope, refused), "not a hash")
    await world.stop("daemon")
    asking = asyncio.gather(*[memory.store(one, type="fact") for one in contents], return_exceptions=True)
    await eventually(lambda: waiting(world, len(contents)), what="all have arrived")
    await world.start("daemon")
    answers = await asking

    failed = [one for one in answers if isinstance(one, BaseException)]
    assert [type(one) for one in failed] == [MemorydError]
    assert answers.index(failed[0]) == 7
    stored = {one.id for one in answers if isinstance(one, Stored)}
    assert len(stored) == 39
    assert {one.memory.id for one in (await memory.recall("Ada cats", limit=50)).hits} == stored
    assert await redis.xlen(keys.REQUESTS) == 0
    assert sum(sent) > len(contents) > 2 * len(sent), "each answer had a round trip of its own"
    await redis.delete(world.keys.memory("semantic", memory.scope, refused))


# --- answers ----------------------------------------------------------------------------------------------------------
async def test_an_answer_goes_where_the_envelope_says(wire: Wire) -> None:
    """The entry's own `reply_to` counts only where the envelope has none."""
    raw = msgspec.json.encode(wire.envelope("stats", id="one"))
    await wire.send(raw, id="other", reply_to="somebody-else")
    assert (await wire.answer_to("one"))["ok"]

    await wire.send(msgspec.json.encode(wire.envelope("stats", id="two", reply_to="")), id="two", reply_to=wire.name)
    assert (await wire.answer_to("two"))["ok"]


async def test_a_request_without_an_address_is_carried_out(world: World, wire: Wire) -> None:
    """Nobody wants the answer; the effect is there all the same, and the entry goes."""
    await wire.send(msgspec.json.encode(wire.envelope("store", {"content": "Fire and forget."}, reply_to="")))

    async def stored() -> bool:
        return bool((await wire.result("stats"))["memories"])

    await eventually(stored, what="the memory is there")
    await empty(world)


async def test_an_answer_has_the_protocols_form(wire: Wire) -> None:
    """Version, id and one of result and error, and nothing else."""
    good, bad = await wire.ask("stats"), await wire.ask("get", {"id": "mem_" + "0" * 32})

    assert set(good) == {"v", "id", "ok", "result"}
    assert set(bad) == {"v", "id", "ok", "error"}
    assert (good["v"], bad["error"]["code"], bad["error"]["details"]["id"]) == (1, "not_found", "mem_" + "0" * 32)


async def test_a_reused_channel_hears_many_answers_each_under_its_id(wire: Wire) -> None:
    """Requests are worked on side by side; an id tells the answers apart."""
    ids = [f"r{number}" for number in range(100)]
    for request_id in ids:
        await wire.send(msgspec.json.encode(wire.envelope("store", {"content": f"Memory {request_id}"}, id=request_id)))
    await eventually(lambda: len(wire.answers) >= len(ids), what="all are answered")

    assert sorted(one["id"] for one in wire.answers) == sorted(ids)
    assert all(one["ok"] for one in wire.answers)


async def test_requests_from_before_the_daemon_are_served(world: World, wire: Wire) -> None:
    """The stream keeps them until somebody comes."""
    await world.stop("daemon")
    await wire.send(msgspec.json.encode(wire.envelope("store", {"content": "Early."}, id="early")))
    await world.start("daemon")

    assert (await wire.answer_to("early"))["result"]["outcome"] == "stored"


async def test_a_burst_that_waits_too_long_is_refused_but_reads_go_on(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the backlog's limit new writes would outlive their callers' patience; a forget is never refused."""
    kept = await memory.store("Before the flood.")
    monkeypatch.setattr(server, "REQUESTS_BACKLOG_MAX", -1)

    async def refuses() -> bool:
        try:
            await memory.store("During the flood.")
        except Overloaded as error:
            return bool(error.details["retry_after_seconds"])
        return False

    await eventually(refuses, what="writes are refused")
    assert (await memory.get(kept.id)).content == "Before the flood."
    assert (await memory.forget(kept.id)).outcome == "forgotten"
    monkeypatch.undo()
    await eventually(lambda: stores(memory), what="writes are taken again")


async def stores(memory: MemoryClient) -> bool:
    """Whether a store is taken."""
    try:
        await memory.store("After the flood.")
    except Overloaded:
        return False
    return True


# --- once -------------------------------------------------------------------------------------------------------------
async def test_a_repeated_request_has_its_effect_once(world: World, wire: Wire) -> None:
    """Every write, three times under one id: one effect, and the first answer each time."""

    async def three(op: str, args: Any) -> list[Any]:
        request_id = secrets.token_hex(8)
        return [await wire.result(op, args, id=request_id) for _ in range(3)]

    fact = await three("store", {"content": "A fact.", "type": "fact"})
    event = await three("store", {"content": "An event.", "type": "episodic"})
    items = [{"content": "An event.", "type": "episodic"}] * 3 + [
        {"content": "A fact.", "type": "fact"},
        {"content": ""},
    ]
    many = await three("store_many", {"memories": items})
    single = await three("store_many", {"memories": items[:1]})
    update = await three("update", {"id": fact[0]["id"], "changes": {"content": "Changed."}, "if_version": 1})
    forget = await three("forget", {"id": event[0]["id"]})

    for answers in (fact, event, update):
        assert [one["replayed"] for one in answers] == [False, True, True]
        assert len({(one["id"], one["version"], one["outcome"]) for one in answers}) == 1
    for answers in (many, single):
        assert len({json.dumps([one.get("stored", {}).get("id") for one in answer]) for answer in answers}) == 1
    assert len({one["stored"]["id"] for one in many[0][:3]}) == 3
    assert {(one["version"], one["outcome"], one["forgotten_at"]) for one in forget} == {
        (2, "forgotten", forget[0]["forgotten_at"])
    }
    assert update[0]["version"] == 2

    stats = await wire.result("stats")
    assert stats["by_type"] == {"fact": 1, "episodic": 4}
    one = await wire.result("get", {"id": fact[0]["id"]})
    assert (one["version"], one["access_count"]) == (2, 1)  # reinforced once, by store_many
    await goes_on(world)


async def test_a_repeat_is_answered_as_then_although_things_went_on(wire: Wire) -> None:
    """Somebody changed the memory meanwhile, or forgot it: the answer to the first request stays what it was."""
    args = {"content": "A fact.", "type": "fact"}
    first = await wire.result("store", args, id="first")
    await wire.result("update", {"id": first["id"], "changes": {"content": "Another."}})
    assert await wire.result("store", args, id="first") == {**first, "replayed": True}
    await wire.result("forget", {"id": first["id"]})
    assert await wire.result("store", args, id="first") == {**first, "replayed": True}
    assert (await wire.refused("get", {"id": first["id"]}))["code"] == "not_found"


async def test_repeats_at_the_same_time_have_one_effect(world: World, wire: Wire) -> None:
    """Twenty copies of one request in the stream, served side by side by two daemons."""
    await world.start("daemon2")
    raw = msgspec.json.encode(wire.envelope("store", {"content": "An event.", "type": "episodic"}, id="same"))
    for _ in range(20):
        await wire.send(raw)
    await eventually(lambda: len(wire.answers) == 20, what="each copy is answered")

    assert len({one["result"]["id"] for one in wire.answers}) == 1
    assert [one["result"]["replayed"] for one in wire.answers].count(False) == 1
    assert (await wire.result("stats"))["memories"] == 1


async def test_an_id_is_never_answered_with_another_requests_result(world: World, wire: Wire) -> None:
    """Reused for another body it is refused, or is a request of its own; it never gives what the other one gave."""
    first = await wire.result("store", {"content": "An event.", "type": "episodic"}, id="reused")
    error = await wire.refused("store", {"content": "Another event.", "type": "episodic"}, id="reused")
    assert (error["code"], error["hint"]) == ("request_id_reused", RequestIdReused.hint)

    for number in range(40):  # some of them meet in the bucket of an earlier one, most do not
        answer = await wire.ask("store", {"content": f"Fact {number}.", "type": "fact"}, id="reused")
        if answer["ok"]:
            one = await wire.result("get", {"id": answer["result"]["id"]})
            assert (one["content"], answer["result"]["replayed"]) == (f"Fact {number}.", False)
        else:
            assert answer["error"]["code"] == "request_id_reused"
    for op, args in (("update", {"id": first["id"], "changes": {"content": "x"}}), ("forget", {"id": first["id"]})):
        assert (await wire.refused(op, args, id="reused"))["code"] == "request_id_reused"
    assert (await wire.result("get", {"id": first["id"]}))["version"] == 1
    await goes_on(world)


async def test_tenants_may_use_the_same_request_id(wire: Wire) -> None:
    """An id belongs to its project: nobody is refused, or told anything, because of what others sent."""
    answers = [
        await wire.result(
            "store", {"content": "c", "type": "episodic"}, id="1", scope={"tenant": tenant, "project": project}
        )
        for tenant, project in (("a", "p"), ("b", "p"), ("a", "q"), ("a:p", "q"), ("a", "p:q"))
    ]
    assert [one["replayed"] for one in answers] == [False] * 5
    assert len({one["id"] for one in answers}) == 5


async def test_one_client_may_ask_twice_under_one_id_at_once(memory: MemoryClient) -> None:
    """Both calls are answered, the second from the first one's result."""
    kept = await asyncio.gather(*(memory.store("An event.", type="episodic", request_id="same") for _ in range(3)))

    assert len({one.id for one in kept}) == 1
    assert sorted(one.replayed for one in kept) == [False, True, True]


async def test_a_client_that_hears_nothing_asks_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first answer is lost; the repeat has no second effect."""
    monkeypatch.setattr(connection, "RESEND_SECONDS", 0.2)
    send = Server._send
    lost: list[bytes] = []

    async def lossy(self: Server, entry_id: bytes, reply_to: str, reply: bytes) -> None:
        if b"lost" in reply and not lost:
            lost.append(reply)
            reply_to = ""
        await send(self, entry_id, reply_to, reply)

    monkeypatch.setattr(Server, "_send", lossy)
    async with world.connect() as memory:
        kept = await memory.store("An event.", type="episodic", request_id="lost")
        assert lost
        assert kept.replayed
        assert (await memory.stats()).memories == 1


async def test_a_client_that_was_cut_off_asks_again_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that went to the lost connection will not come: there is nothing to wait for."""
    monkeypatch.setattr(connection, "RESEND_SECONDS", 600.0)
    send = Server._send
    lost: list[bytes] = []

    async def cut_off(self: Server, entry_id: bytes, reply_to: str, reply: bytes) -> None:
        if lost:
            await send(self, entry_id, reply_to, reply)
            return
        lost.append(reply)
        await send(self, entry_id, "", reply)
        await world.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]

    async with world.connect() as memory:
        monkeypatch.setattr(Server, "_send", cut_off)
        kept = await asyncio.wait_for(memory.store("An event.", type="episodic", request_id="lost"), PATIENCE_SECONDS)
        assert lost
        assert kept.replayed


async def test_a_request_that_nobody_has_read_is_not_sent_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it waits, nor when its caller asks once more under the same id: repeats would keep the others waiting. One
    that Redis has lost is sent again."""
    monkeypatch.setattr(connection, "RESEND_SECONDS", 0.05)
    await world.stop("daemon")
    async with world.connect() as memory, world.connect(timeout_seconds=0.5) as hasty:
        with pytest.raises(NoAnswer):
            await hasty.store("An event.", type="episodic", request_id="waits")
        again = asyncio.create_task(hasty.store("An event.", type="episodic", request_id="waits"))
        patient = asyncio.create_task(memory.store("Another event.", type="episodic"))
        with pytest.raises(NoAnswer):
            await again
        await eventually(lambda: waiting(world, 2), what="both wait")
        await asyncio.sleep(0.3)
        assert await world.redis.xlen(keys.REQUESTS) == 2

        monkeypatch.setattr(hasty._connection, "_timeout_seconds", PATIENCE_SECONDS)
        await world.redis.delete(keys.REQUESTS)
        await world.start("daemon")
        assert (await patient).version == 1
        assert (await hasty.store("An event.", type="episodic", request_id="waits")).version == 1
        assert (await memory.stats()).memories == 2


# --- published --------------------------------------------------------------------------------------------------------
async def test_a_published_request_is_claimed_once(world: World, wire: Wire, served: Counter[str]) -> None:
    """Two daemons hear it, one carries it out, one answer comes."""
    await world.start("daemon2")

    async def both_listen() -> bool:
        [(_, count)] = await world.redis.pubsub_numsub(keys.REQUESTS)
        return bool(count == 2)

    await eventually(both_listen, what="both listen to the channel")
    ids = [f"p{number}" for number in range(30)]
    for request_id in ids:
        raw = msgspec.json.encode(wire.envelope("store", {"content": "An event.", "type": "episodic"}, id=request_id))
        assert await world.redis.publish(keys.REQUESTS, raw) == 2
    await eventually(lambda: len(wire.answers) >= len(ids), what="all are answered")
    await empty(world)

    assert sorted(one["id"] for one in wire.answers) == sorted(ids)
    assert served.total() == len(ids)
    assert (await wire.result("stats"))["memories"] == len(ids)


async def test_a_claim_lapses(world: World, wire: Wire) -> None:
    """So that the same request, published again much later, is answered again; its effect stays one."""
    raw = msgspec.json.encode(wire.envelope("store", {"content": "An event.", "type": "episodic"}, id="later"))
    await world.redis.publish(keys.REQUESTS, raw)
    await wire.answer_to("later")
    [claimed] = [key async for key in world.redis.scan_iter("aether:claim:*")]
    assert 0 < await world.redis.ttl(claimed) <= 600
    await world.redis.delete(claimed)
    await world.redis.publish(keys.REQUESTS, raw)

    assert (await wire.answer_to("later", after=1))["result"]["replayed"]
    assert (await wire.result("stats"))["memories"] == 1


async def test_two_clients_may_publish_under_one_id(world: World, wire: Wire) -> None:
    """The claim is by address and id."""
    async with Wire(world) as other:
        for one in (wire, other):
            await world.redis.publish(keys.REQUESTS, msgspec.json.encode(one.envelope("stats", id="1")))
        assert (await wire.answer_to("1"))["ok"]
        assert (await other.answer_to("1"))["ok"]


async def test_rubbish_on_the_channel_is_not_heard(world: World, wire: Wire) -> None:
    """It is nobody's request; the daemon listens on."""
    for raw in (
        b"",
        b"\xff",
        b"{}",
        b"null",
        b"[" * 10_000,
        msgspec.json.encode(wire.envelope("stats", v=2)),
        b"x" * 5_000_000,
    ):
        await world.redis.publish(keys.REQUESTS, raw)
    await world.redis.publish(keys.REQUESTS, msgspec.json.encode(wire.envelope("nonsense", id="last")))

    assert (await wire.answer_to("last"))["error"]["code"] == "unknown_operation"
    assert len(wire.answers) == 1
    await goes_on(world)


# --- many daemons, dead daemons ---------------------------------------------------------------------------------------
async def test_two_daemons_share_the_load(world: World, wire: Wire, served: Counter[str]) -> None:
    """Each request goes to one of them, and when one leaves, the other goes on alone."""
    await world.start("daemon2")
    sent = 0

    async def shared() -> bool:
        nonlocal sent
        for _ in range(50):
            sent += 1
            await wire.send(msgspec.json.encode(wire.envelope("store", {"content": f"Memory {sent}."}, id=f"r{sent}")))
        return len(served) == 2

    await eventually(shared, what="both serve")
    await eventually(lambda: len(wire.answers) >= sent, what="all are answered")

    assert served.total() == len(wire.answers) == sent
    await world.stop("daemon")
    assert (await wire.result("stats"))["memories"] == sent
    await goes_on(world)


async def test_what_a_dead_daemon_left_is_taken_over(world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the requests and never answered: one it had not begun, one it had carried out, and rubbish."""
    done = await wire.result("store", {"content": "An event.", "type": "episodic"}, id="done")
    await world.stop("daemon")
    await wire.send(
        msgspec.json.encode(wire.envelope("store", {"content": "Another.", "type": "episodic"}, id="begun"))
    )
    await wire.send(
        msgspec.json.encode(wire.envelope("store", {"content": "An event.", "type": "episodic"}, id="done"))
    )
    await wire.send(b"rubbish", id="rubbish", reply_to=wire.name)
    taken: Any = await world.redis.xreadgroup(GROUP, "dead", {keys.REQUESTS: ">"}, count=10)
    assert len(taken[0][1]) == 3
    monkeypatch.setattr(server, "TAKEOVER_IDLE_SECONDS", 0.3)
    await world.start("daemon", "daemon2")

    assert (await wire.answer_to("begun"))["result"]["outcome"] == "stored"
    again = (await wire.answer_to("done", after=1))["result"]
    assert (again["id"], again["replayed"]) == (done["id"], True)
    assert (await wire.answer_to("rubbish"))["error"]["code"] == "bad_request"
    await empty(world)
    assert (await wire.result("stats"))["memories"] == 2


async def test_a_request_that_is_only_slow_is_not_taken_over(world: World, wire: Wire, served: Counter[str]) -> None:
    """Another daemon leaves it alone until its owner must be dead."""
    await world.start("daemon2")
    await world.stop("sync")  # `archived` now waits
    await wire.send(
        msgspec.json.encode(wire.envelope("store", {"content": "Slow.", "durability": "archived"}, id="slow"))
    )
    await eventually(lambda: served.total() == 1, what="it is being carried out")
    for _ in range(3):
        await wire.result("stats")
    await world.start("sync")

    assert (await wire.answer_to("slow"))["result"]["durability"] == "archived"
    assert served.total() == 4


async def test_a_daemon_that_stops_answers_what_it_has_taken(world: World, wire: Wire) -> None:
    """Stopping is a first-class path: nothing is left pending, and nothing is answered twice."""
    for number in range(100):
        await wire.send(msgspec.json.encode(wire.envelope("store", {"content": f"Memory {number}."}, id=f"r{number}")))
    await world.stop("daemon")
    waiting: Any = await world.redis.xpending(keys.REQUESTS, GROUP)
    assert waiting["pending"] == 0
    await world.start("daemon")
    await eventually(lambda: len(wire.answers) >= 100, what="the rest is answered")

    assert Counter(one["id"] for one in wire.answers) == Counter(f"r{number}" for number in range(100))


async def test_a_redis_that_is_full_refuses_writes_and_loses_nobody(world: World, memory: MemoryClient) -> None:
    """While the archive is away the journals fill it. Sync can start all the same, and by archiving it makes room."""
    await world.stop("sync")
    kept = await memory.store_many([{"content": f"Memory {number}."} for number in range(50)])

    async def embedded() -> bool:
        return (await memory.stats()).embed_backlog == 0

    await eventually(embedded, what="only the archive has still to come")
    await world.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Overloaded):
            await memory.store("There is no room for this.")
        await world.start("sync")

        async def archived() -> bool:
            return await world.memories.count_documents({}) == len(kept)

        await eventually(archived, what="the archiver goes on")
        journals = [world.keys.journal(bucket) for bucket in world.keys.all_buckets()]

        async def trimmed() -> bool:
            return sum([await world.redis.xlen(journal) for journal in journals]) == 0

        await eventually(trimmed, what="the journals give their room back")
    finally:
        await world.redis.config_set("maxmemory", 0)
    await eventually(lambda: stores(memory), what="writes are taken again")
    await goes_on(world)


async def test_clients_do_not_hear_one_another(world: World) -> None:
    """Many at once over one Redis: each call gets its own answer."""

    async def talk(number: int) -> None:
        async with world.connect(agent=f"agent-{number}") as memory:
            kept = await memory.store_many([{"content": f"Mine is {number}-{item}."} for item in range(20)])
            ids = [one.id for one in kept if isinstance(one, Stored)]
            got = await asyncio.gather(*(memory.get(memory_id) for memory_id in ids))
            assert [one.content for one in got] == [f"Mine is {number}-{item}." for item in range(20)]
            with pytest.raises(NotFound):
                await memory.get("mem_" + "0" * 32)

    await asyncio.gather(*(talk(number) for number in range(8)))


async def test_a_caller_that_is_cancelled_ends_and_may_still_tidy_up(world: World, memory: MemoryClient) -> None:
    """Wherever in the call it comes: redis-py loses one now and then in Python 3.11, and who loops would go on for ever."""
    kept, tidied = await memory.store("Ada keeps bees."), set()

    async def ask(number: int) -> None:
        try:
            while True:
                await memory.get(kept.id)
        finally:
            assert (await memory.get(kept.id)).id == kept.id
            tidied.add(number)

    asking = [asyncio.create_task(ask(number)) for number in range(40)]
    await asyncio.sleep(0.1)
    for one in asking:
        one.cancel()
        await asyncio.sleep(0.001)
    ended, _ = await asyncio.wait(asking, timeout=PATIENCE_SECONDS)
    assert all(one.cancelled() for one in asking)
    assert (len(ended), len(tidied)) == (40, 40)


async def test_a_daemon_ends_although_its_driver_swallows_its_cancellation(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py does so now and then, in whichever wait: half a daemon would go on to claim what is published."""
    get_message, asked = PubSub.get_message, asyncio.Event()

    async def swallowing(self: PubSub, *args: Any, **how: Any) -> Any:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            return await get_message(self, *args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(PubSub, "get_message", swallowing)
        await asked.wait()
        await world.kill("daemon")


async def empty(world: World) -> None:
    """Waits until no request is left."""

    async def none_left() -> bool:
        waiting: Any = await world.redis.xpending(keys.REQUESTS, GROUP)
        return await world.redis.xlen(keys.REQUESTS) == 0 and waiting["pending"] == 0

    await eventually(none_left, what="no request is left")
