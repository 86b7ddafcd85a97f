"""An agent that speaks the protocol by hand: whatever bytes a test wants to send, and the answers as they come."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any, Self

import msgspec
from redis.asyncio import Redis

from memoryd import keys
from memoryd.hot.client import open_blocking_redis
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World

SCOPE = {"tenant": "acme", "project": "support", "agent": "scout"}

Answer = dict[str, Any]


class Wire:
    """`async with Wire(world) as wire`: every answer that came to its channel is in `answers`, in order."""

    def __init__(self, world: World) -> None:
        self.redis: Redis = world.redis
        self.name = f"w-{secrets.token_hex(6)}"
        self.answers: list[Answer] = []
        self._news = asyncio.Event()
        self._blocking = open_blocking_redis(world.settings.redis_url)

    async def __aenter__(self) -> Self:
        self._pubsub = self._blocking.pubsub()
        await self._pubsub.subscribe(keys.replies(self.name))
        await eventually(lambda: self._pubsub.get_message(timeout=0.1), what="the channel is subscribed to")
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._blocking.aclose()

    async def _listen(self) -> None:
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                self.answers.append(msgspec.json.decode(message["data"]))
                self._news.set()

    def envelope(self, op: str, args: Any = None, **changes: Any) -> Answer:
        """A request in the protocol's form, with any part of it changed."""
        usual: Answer = {
            "v": 1,
            "id": secrets.token_hex(8),
            "op": op,
            "scope": SCOPE,
            "args": args or {},
            "reply_to": self.name,
        }
        return {**usual, **changes}

    async def send(self, raw: bytes, **fields: str) -> None:
        """An entry of the request stream: `raw` as its envelope, and what else a client puts beside it."""
        entry: Any = {"envelope": raw, **fields}
        await self.redis.xadd(keys.REQUESTS, entry)

    async def answer_to(self, request_id: str, *, after: int = 0) -> Answer:
        """The first answer to a request, among those after the first `after` answers."""
        return await self._first(lambda one: bool(one["id"] == request_id), after)

    async def _first(self, wanted: Callable[[Answer], bool], after: int) -> Answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := next(filter(wanted, self.answers[after:]), None)) is None:
                self._news.clear()
                await self._news.wait()
        return found

    async def raw(self, raw: bytes) -> Answer:
        """The answer to whatever `raw` is."""
        request_id, after = secrets.token_hex(8), len(self.answers)
        await self.send(raw, id=request_id, reply_to=self.name)
        return await self._first(lambda _: True, after)

    async def ask(self, op: str, args: Any = None, **changes: Any) -> Answer:
        """The answer to a request."""
        envelope, after = self.envelope(op, args, **changes), len(self.answers)
        await self.send(msgspec.json.encode(envelope), id=str(envelope["id"]), reply_to=self.name)
        return await self.answer_to(str(envelope["id"]), after=after)

    async def result(self, op: str, args: Any = None, **changes: Any) -> Any:
        """The result of a request that succeeds."""
        answer = await self.ask(op, args, **changes)
        assert answer["ok"], answer
        return answer["result"]

    async def refused(self, op: str, args: Any = None, **changes: Any) -> Answer:
        """The error of a request that fails."""
        answer = await self.ask(op, args, **changes)
        assert not answer["ok"], answer
        error: Answer = answer["error"]
        return error


async def goes_on(world: World) -> None:
    """A newcomer stores and recalls as ever: whatever came before has not hurt the daemon."""
    async with world.connect(project=f"after-{secrets.token_hex(4)}") as memory:
        kept = await memory.store("Ada keeps bees on the roof.", type="fact")
        [hit] = await memory.recall("Who keeps bees?")
        assert hit.memory.id == kept.id
        stats = await world.drained(memory)
        assert stats.dead_letters == 0
