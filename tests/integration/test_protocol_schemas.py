"""What a running memoryd says on the wire is what the delivered schemas say. No client of ours is in between."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from redis.asyncio.client import PubSub

from memoryd import keys
from memoryd.hot.client import open_blocking_redis
from memoryd.model.scope import Scope
from memoryd_schemas.protocol_files import protocol_schema
from tests.waiting import eventually
from tests.world import World

SCOPE = {"tenant": "acme", "project": "support", "agent": "scout", "session": ""}


class Wire:
    """A client as somebody in another language would write it: the stream, a channel, and JSON."""

    def __init__(self, world: World, replies: PubSub, events: PubSub) -> None:
        self._world = world
        self._replies = replies
        self._events = events

    async def ask(self, op: str, args: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
        """Sends a request; the reply, after it was checked against its schema. `changes` spoil the envelope."""
        envelope = {"v": 1, "id": secrets.token_hex(8), "op": op, "scope": SCOPE, "args": args, "reply_to": "wire"}
        raw = json.dumps(envelope | changes)
        if not changes:
            check("envelope", envelope)
        entry: dict[Any, Any] = {"envelope": raw, "id": envelope["id"], "reply_to": "wire"}
        await self._world.redis.xadd("aether:requests", entry)
        reply: dict[str, Any] = json.loads((await heard(self._replies))["data"])
        check("reply", reply)
        assert reply["id"] == envelope["id"]
        return reply

    async def result(self, op: str, args: dict[str, Any]) -> Any:
        """The result of a request that is expected to succeed, checked against its schema."""
        reply = await self.ask(op, args)
        assert reply["ok"], reply
        check(f"{op}.args", args)
        check(f"{op}.result", reply["result"])
        return reply["result"]

    async def event(self) -> dict[str, Any]:
        """The next event, checked against its schema."""
        event: dict[str, Any] = json.loads((await heard(self._events))["data"])
        check("event", event)
        return event


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    """A raw client of the running world, which hears its answers and the events of its scope."""
    scope = Scope(SCOPE["tenant"], SCOPE["project"], SCOPE["agent"])
    async with (
        open_blocking_redis(world.settings.redis_url) as redis,
        redis.pubsub() as replies,
        redis.pubsub() as events,
    ):
        await replies.subscribe("aether:replies:wire")
        await events.subscribe(keys.events(scope))
        for one in (replies, events):
            await heard(one)  # the subscription's own confirmation
        yield Wire(world, replies, events)


async def test_every_verb_answers_in_the_shape_that_is_written_down(world: World, wire: Wire) -> None:
    """One life of a memory, each answer validated."""
    details = {
        "metadata": {"source": "chat", "n": [1, 2.5, None]},
        "tags": ["drinks"],
        "session": "s1",
        "importance": 0.8,
    }
    kept = await wire.result("store", {"content": "Ada prefers tea to coffee.", "type": "fact", **details})
    await wire.result("store", {"content": "Ada prefers tea to coffee.", "type": "fact", **details})
    several = await wire.result(
        "store_many", {"memories": [{"content": "One.", "related": [kept["id"]]}, {"content": " "}]}
    )
    await wire.result("get", {"id": kept["id"]})
    found = await wire.result("recall", {"query": "What does Ada drink, tea?", "types": ["fact"], "tags": ["drinks"]})
    await wire.result(
        "update",
        {
            "id": kept["id"],
            "changes": {"valid_until": "2026-05-08T13:56:00Z"},
            "if_version": 1,
            "durability": "archived",
        },
    )
    await wire.result("get", {"id": kept["id"]})
    await wire.result("stats", {})
    await wire.result("forget", {"id": kept["id"], "durability": "fsync"})
    again = await wire.result("forget", {"id": kept["id"]})
    async with world.connect() as memory:
        await world.drained(memory)  # that another one has its vector is an event, too
    events = await wire.result("events", {"after": (await wire.result("events", {}))["next"]})

    assert [list(one) for one in several] == [["stored"], ["error"]]
    assert [hit["memory"]["id"] for hit in found["hits"]] == [kept["id"]]
    assert again["outcome"] == "already"
    assert events["events"] == []


async def test_degraded_answers_have_the_same_shape(world: World, wire: Wire) -> None:
    """Without the model and before any vector: what is missing is said, in fields that the schema knows."""
    world.embedder.away = True
    await wire.result("store", {"content": "Ada paints lighthouses."})

    found = await wire.result("recall", {"query": "Which lighthouses?"})

    assert found["degraded"]
    assert (await wire.result("stats", {}))["pending"] == 1


@pytest.mark.parametrize(
    ("op", "args", "spoiled", "code"),
    [
        ("get", {"id": "mem_" + "0" * 32}, {}, "not_found"),
        ("get", {"id": "mine"}, {}, "bad_request"),
        ("store", {"content": ["no text"]}, {}, "bad_request"),
        ("stats", {}, {"op": "dream"}, "unknown_operation"),
        ("stats", {}, {"v": 2}, "bad_request"),
        ("stats", {}, {"scope": {"tenant": "acme"}}, "bad_request"),
    ],
)
async def test_errors_have_the_shape_that_is_written_down(
    wire: Wire, op: str, args: dict[str, Any], spoiled: dict[str, Any], code: str
) -> None:
    """A reply is a result or a problem, never both."""
    reply = await wire.ask(op, args, **spoiled)

    assert (reply["ok"], reply["error"]["code"]) == (False, code)
    assert "result" not in reply


async def test_a_conflict_says_the_current_version(wire: Wire) -> None:
    """The one error whose details a client has to read."""
    kept = await wire.result("store", {"content": "Ada prefers tea.", "type": "fact"})
    reply = await wire.ask("update", {"id": kept["id"], "changes": {"content": "Ada prefers coffee."}, "if_version": 7})

    assert reply["error"]["code"] == "conflict"
    assert reply["error"]["details"] == {"current_version": 1}


async def test_events_have_the_shape_that_is_written_down_and_name_the_session_as_it_is(wire: Wire) -> None:
    """Names are percent-encoded in channels, never in the JSON: a client compares them with its own."""
    kept = await wire.result("store", {"content": "Ada prefers tea.", "type": "fact", "session": "Tuesday: tea/ü"})
    await wire.result("store", {"content": "Ada prefers tea.", "type": "fact", "session": "Tuesday: tea/ü"})
    await wire.result("forget", {"id": kept["id"]})

    heard = []
    while "forgotten" not in heard:
        event = await wire.event()
        assert (event["id"], event["type"], event["session"]) == (kept["id"], "fact", "Tuesday: tea/ü")
        heard.append(event["op"])
    assert heard[0] == "stored"
    assert "touched" in heard


def check(name: str, value: Any) -> None:
    """Raises jsonschema's ValidationError, which says where the value and its schema differ."""
    Draft202012Validator(protocol_schema(name)).validate(value)


async def heard(channel: PubSub) -> dict[str, Any]:
    """The next message."""

    async def one() -> dict[str, Any] | None:
        message: dict[str, Any] | None = await channel.get_message(timeout=0.1)
        return message

    message = await eventually(one, what="a message on the channel")
    assert message is not None
    return dict(message)
