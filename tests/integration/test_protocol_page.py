"""docs/protocol.md is enough to write a client from: its worked example is run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from memoryd.config import Settings
from memoryd.hot.client import open_blocking_redis, open_redis
from memoryd.model.memory import MemoryType
from tests.waiting import eventually
from tests.world import World

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BLOCK = re.compile(r"^```(console|json reply|json event)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TIME = re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"')
TRACED = re.compile(r',"traceparent":"[^"]*"|"traceparent":"[^"]*",')  # other tests of the process may have begun to trace
REMOVED = re.compile(r'"journal_entries_removed":\d+')
IN_CONTEXT = re.compile(r'\+context"')  # and its name
COSINE = re.compile(r'"meaning":{"value":-?[0-9.]+')  # the page shows the real model's
ENTRY = re.compile(r'"(entry|at)":"[\da-f-]+"')
RECALL = re.compile(r'"recall_id":"[\d-]+"')
NEXT = re.compile(r'"next": ?"([\da-f.-]+)"')


@dataclass
class Terminal:
    """Runs what somebody would type, and hears what their listening terminals would print."""

    redis: Redis
    pubsub: PubSub
    heard: dict[str, list[str]] = field(default_factory=lambda: {"replies": [], "events": []})
    places: dict[str, str] = field(default_factory=dict)

    async def type(self, line: str) -> None:
        """One redis-cli command, exactly as the shell would hand it over, with the places of this terminal's answers."""
        for of_page, ours in self.places.items():
            line = line.replace(of_page, ours)
        program, *words = shlex.split(line.removeprefix("$ ").replace("\\\n", " "))
        assert program == "redis-cli"
        words = [word for word in words if word != "--raw"]  # how redis-cli prints
        if words[0] == "SUBSCRIBE":
            await self.pubsub.subscribe(*words[1:])
            await eventually(lambda: self.pubsub.get_message(timeout=0.1), what="the channel is subscribed to")
        else:
            await self.redis.execute_command(*words)  # type: ignore[no-untyped-call]

    async def next(self, kind: str) -> str:
        """The next answer, or the next event that is not of the embedding (which comes when it comes)."""

        async def arrived() -> str | None:
            message = await self.pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message:
                self.heard[message["channel"].decode().split(":")[1]].append(message["data"].decode())
            return self.heard[kind].pop(0) if self.heard[kind] else None

        text = await eventually(arrived, what=f"something on the channel of {kind}")
        assert text
        return str(text)


@pytest.fixture
async def terminal(page_world: World) -> AsyncIterator[Terminal]:
    """Of somebody at the machine where the page's memoryd runs."""
    url = page_world.settings.redis_url
    async with open_redis(url) as redis, open_blocking_redis(url) as blocking, blocking.pubsub() as pubsub:
        yield Terminal(redis, pubsub)


@pytest.fixture
async def page_world(settings: Settings) -> AsyncIterator[World]:
    """As on the page: with the default model's name on the vectors."""
    async with World(settings) as world:
        world.embedder.model = settings.model
        await world.start("daemon", "sync")
        yield world


async def test_the_pages_commands_give_the_pages_answers(page_world: World, terminal: Terminal) -> None:
    """Every command and every message of the worked example, in order; times and stream ids may differ."""
    async with page_world.connect() as memory:
        for kind, text in blocks():
            if kind == "console":
                await page_world.drained(memory)  # the reader's "a moment later"
                await terminal.type(text.strip())
            else:
                said = await terminal.next({"json reply": "replies", "json event": "events"}[kind])
                terminal.places |= dict(zip(NEXT.findall(text), NEXT.findall(said), strict=True))
                assert comparable(said) == comparable(text)


async def test_an_id_that_is_used_for_another_event_is_refused(page_world: World, terminal: Terminal) -> None:
    """As the page says: always for memories that do not dedup, and for the update of the same memory."""
    async with page_world.connect() as memory:
        kept = await memory.store("The build failed.", type=MemoryType.EPISODIC, request_id="r1")
        with pytest.raises(Exception, match="was used before"):
            await memory.store("The build passed.", type=MemoryType.EPISODIC, request_id="r1")
        await memory.update(kept.id, content="The build failed twice.", request_id="r2")
        with pytest.raises(Exception, match="was used before"):
            await memory.update(kept.id, content="The build failed thrice.", request_id="r2")
        again = await memory.update(kept.id, content="The build failed twice.", request_id="r2")

    assert (again.version, again.replayed) == (2, True)


async def test_a_request_published_twice_is_claimed_once(page_world: World, terminal: Terminal) -> None:
    """The page says so: a repeated id is taken for the same message, and the stream is for who needs more."""
    await terminal.type("redis-cli SUBSCRIBE aether:replies:twice")
    scope = {"tenant": "acme", "project": "support"}
    for number in ("p1", "p1", "p2"):
        envelope = json.dumps({"v": 1, "id": number, "op": "stats", "scope": scope, "reply_to": "twice"})
        await terminal.redis.publish("aether:requests", envelope)

    answered = [json.loads(await terminal.next("replies"))["id"] for _ in range(2)]
    requests = await terminal.redis.xinfo_stream("aether:requests")

    assert sorted(answered) == ["p1", "p2"]
    assert requests["entries-added"] == 2


async def test_an_envelope_that_cannot_be_read_is_answered(page_world: World, terminal: Terminal) -> None:
    """This is what the entry's own `id` and `reply_to` are for."""
    await terminal.type("redis-cli SUBSCRIBE aether:replies:torn")
    await terminal.type("""redis-cli XADD aether:requests '*' id r1 reply_to torn envelope '{"v":1,'""")

    reply: dict[str, Any] = json.loads(await terminal.next("replies"))

    assert (reply["id"], reply["ok"], reply["error"]["code"]) == ("r1", False, "bad_request")


def blocks() -> Iterator[tuple[str, str]]:
    """The page's commands and messages, in order."""
    found = BLOCK.findall(PAGE.read_text("utf-8"))
    assert len([kind for kind, _ in found if kind == "console"]) >= 8
    yield from found


def comparable(text: str) -> Any:
    """A message with its times and stream ids made equal. How many journal entries are trimmed already is chance."""
    compact = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
    alike = (
        (TIME, '"<time>"'), (ENTRY, r'"\1":""'), (NEXT, '"next":""'), (RECALL, '"recall_id":""'),
        (REMOVED, '"journal_entries_removed":0'),
        (COSINE, '"meaning":{"value":0'), (IN_CONTEXT, '"'), (TRACED, ""),
    )  # fmt: skip
    for pattern, same in alike:
        compact = pattern.sub(same, compact)
    return json.loads(compact)
