"""The scratchpad: values for minutes, counted and queued without loss, never more than the quota, never another's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.errors import BadRequest, QuotaExceeded, RequestIdReused
from memoryd.limits import SCRATCH_BYTES_MAX, SCRATCH_NAMES_MAX, SCRATCH_TTL_SECONDS_MIN
from tests.wire import Wire, goes_on
from tests.world import World

ODD = ["*", "a.b", '"]', "$", "$[0]", "ä b", "{0a}", "\u202e", "'", "\\", "%22", "..", "@", "x" * 128]
VALUES: list[Any] = [
    0, -1, 2**53 + 1, -(2**63), 1.5, 1e300, "", "text \u2028 \x01 'x'", True, None, [], {}, [[1], {"a.b": "$"}],
]  # fmt: skip


async def test_values_come_back_as_they_were_whatever_their_names(memory: MemoryClient) -> None:
    """JSON of every kind, under names that mean something to a path, a key or a shell."""
    await memory.scratch.set_many({name: VALUES[n % len(VALUES)] for n, name in enumerate(ODD)})
    for number, value in enumerate(VALUES):
        await memory.scratch.set(f"value {number}", value)

    pad = await memory.scratch.pad()
    assert {name: pad.values[name] for name in ODD} == {name: VALUES[n % len(VALUES)] for n, name in enumerate(ODD)}
    assert [pad.values[f"value {n}"] for n in range(len(VALUES))] == VALUES
    assert (pad.names, await memory.scratch.get("none", "default")) == (len(ODD) + len(VALUES), "default")
    assert await memory.scratch.delete(*ODD, "none") == len(ODD)
    assert await memory.scratch.delete() == len(VALUES)
    assert (await memory.scratch.pad()).values == {}


async def test_counting_and_queueing_lose_nothing(world: World, memory: MemoryClient) -> None:
    """Sixteen writers at once, over two clients; a taker gets each value once, in each writer's order."""
    async with world.connect() as other:

        async def work(client: MemoryClient, writer: int) -> None:
            for number in range(10):
                await client.scratch.increment("count", 2)
                await client.scratch.push("queue", [writer, number], {"last": number})

        await asyncio.gather(*(work((memory, other)[writer % 2], writer) for writer in range(16)))
        assert await memory.scratch.increment("count", -20) == 300
        taken = [one for batch in await asyncio.gather(*(memory.scratch.pop("queue", 100) for _ in range(4))) for one in batch]

    assert len(taken) == 320
    numbers = [one for one in taken if isinstance(one, list)]
    assert sorted(numbers) == [[writer, number] for writer in range(16) for number in range(10)]
    assert (await memory.scratch.pop("queue"), await memory.scratch.pop("none")) == ([], [])
    await memory.scratch.push("stack", 1, 2, 3)
    assert (await memory.scratch.pop("stack", 2, last=True), await memory.scratch.get("stack")) == ([3, 2], [1])


async def test_the_quota_holds_to_the_byte_and_refuses_whole_writes(memory: MemoryClient) -> None:
    """What does not fit changes nothing; what is made smaller makes room."""
    room = SCRATCH_BYTES_MAX - len('{"a":""}')
    await memory.scratch.set("a", "x" * room)
    with pytest.raises(QuotaExceeded):
        await memory.scratch.set_many({"a": "", "b": "x" * room})
    with pytest.raises(QuotaExceeded):
        await memory.scratch.set("b", 0)
    with pytest.raises(QuotaExceeded):
        await memory.scratch.set("a", "x" * (room + 1))
    assert (await memory.scratch.pad()).bytes == SCRATCH_BYTES_MAX
    await memory.scratch.set("a", 1)
    await memory.scratch.set_many({f"n{n}": n for n in range(SCRATCH_NAMES_MAX - 1)})
    with pytest.raises(QuotaExceeded):
        await memory.scratch.increment("one more")
    await memory.scratch.increment("n0")


async def test_a_pad_lives_for_minutes_after_its_last_write(world: World, memory: MemoryClient) -> None:
    """The whole of it; a reader does not keep it alive."""
    await memory.scratch.set("a", 1, ttl_seconds=SCRATCH_TTL_SECONDS_MIN)
    assert SCRATCH_TTL_SECONDS_MIN / 2 < (await memory.scratch.pad()).seconds_left <= SCRATCH_TTL_SECONDS_MIN
    await memory.scratch.increment("a")
    assert (await memory.scratch.pad()).seconds_left > SCRATCH_TTL_SECONDS_MIN
    await world.redis.pexpire(world.keys.scratch(memory.scope), 1)
    await asyncio.sleep(0.01)
    assert (await memory.scratch.pad()).names == 0


async def test_a_pad_is_exactly_its_scopes(world: World, memory: MemoryClient) -> None:
    """Not the session's in the agent's, not the agent's in the project's, not the other way round."""
    scopes: list[dict[str, str]] = [
        {}, {"session": "s1"}, {"session": "s2"}, {"agent": "other"}, {"agent": ""}, {"agent": "", "session": "s1"},
        {"project": "sales"}, {"agent": "scout:s1"},
    ]  # fmt: skip
    for number, scope in enumerate(scopes):
        async with world.connect(**scope) as client:
            assert (await client.scratch.pad()).values == {}, scope
            await client.scratch.set("mine", number)
    for number, scope in enumerate(scopes):
        async with world.connect(**scope) as client:
            assert await client.scratch.get("mine") == number


async def test_a_repeated_request_has_its_effect_once(world: World) -> None:
    """Counting, pushing and taking too, although they would mean something new; its id for another one is refused."""
    async with Wire(world) as wire:
        for _ in range(2):
            assert await wire.result("scratch.increment", {"name": "n"}, id="i") == {"value": 1}
            assert await wire.result("scratch.push", {"name": "l", "values": ["a", "b"]}, id="p") == {"value": 2}
            assert await wire.result("scratch.pop", {"name": "l"}, id="t") == {"values": ["a"]}
        await wire.result("scratch.set", {"values": {"n": 5}}, id="s")
        await wire.result("scratch.set", {"values": {"n": 7}})
        await wire.result("scratch.set", {"values": {"n": 5}}, id="s")  # late, as after a daemon's death
        assert (await wire.result("scratch.get"))["values"] == {"n": 7, "l": ["b"]}
        refused = await wire.refused("scratch.increment", {"name": "n", "by": 2}, id="i")
        assert refused["code"] == RequestIdReused.code


async def test_what_is_no_number_is_not_counted_and_bad_input_is_refused(world: World, memory: MemoryClient) -> None:
    """With the field's name, and nothing half done."""
    await memory.scratch.set_many({"text": "1", "float": 1.5, "huge": 2**60, "list": [1]})
    for name in ("text", "float", "huge", "list"):
        with pytest.raises(BadRequest):
            await memory.scratch.increment(name)
    await memory.scratch.set("edge", 2**53 - 1)
    with pytest.raises(BadRequest):
        await memory.scratch.increment("edge")
    assert await memory.scratch.increment("edge", -1) == 2**53 - 2
    for take in (memory.scratch.push("text", 1), memory.scratch.pop("text")):
        with pytest.raises(BadRequest):
            await take
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    async with Wire(world) as wire:
        for op, args in (
            ("scratch.set", {"values": {}}), ("scratch.set", {"values": {"": 1}}), ("scratch.set", {"values": {"a\0": 1}}),
            ("scratch.set", {"values": {"a": deep}}), ("scratch.set", {"values": {"a": 2**70}}),
            ("scratch.set", {"values": {"a": 1}, "ttl_seconds": 10}), ("scratch.push", {"name": "l", "values": []}),
            ("scratch.set", {"values": {"a": 1}, "ttl_seconds": 1801}), ("scratch.pop", {"name": "l", "count": 101}),
            ("scratch.increment", {"name": "\n"}), ("scratch.increment", {"name": "n", "by": 2**60}),
        ):  # fmt: skip
            assert (await wire.refused(op, args))["code"] == "bad_request", args
    assert "a" not in (await memory.scratch.pad()).values
    await goes_on(world)
