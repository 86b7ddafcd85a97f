"""Channels in Redis: what a project's agents say to each other, each a stream of the newest messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.clock import from_microseconds
from memoryd.hot import scripts
from memoryd.hot.changes import Request
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import Keys, request_digest
from memoryd.limits import ANSWERS_TTL_SECONDS, CHANNEL_MESSAGES_MAX, CHANNEL_TTL_SECONDS
from memoryd.model.channel import ChannelMessage
from memoryd.model.scope import Scope, from_tag, to_tag

SCAN = 1000  # keys of one look: a millisecond of Redis


class Channels:
    """The channels of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def publish(self, scope: Scope, channel: str, data: bytes, request: Request) -> Sequence[bytes]:
        """Appends a message: done with its position and number, or reused."""
        places = [self._keys.channel(scope, channel), self._keys.answers(Scope(scope.tenant, scope.project))]
        args: list[Encoded] = [
            request_digest(f"{scope.agent}:{request.id}"), request.fingerprint, ANSWERS_TTL_SECONDS * 1000,
            CHANNEL_MESSAGES_MAX, CHANNEL_TTL_SECONDS, names.said(scope, channel), to_tag(scope.agent),
            to_tag(scope.session), data, request.traceparent,
        ]  # fmt: skip
        with hot_errors("publish"):
            words: Sequence[bytes] = await scripts.channel_publish(self._redis, places, args)
        return words

    async def read(self, scope: Scope, channel: str, *, after: str, count: int) -> list[ChannelMessage]:
        """The messages behind a position."""
        with hot_errors("read a channel"):
            rows = await self._redis.xrange(self._keys.channel(scope, channel), min=f"({after}" if after else "-", count=count)
        return [_message(*row) for row in rows]

    async def last(self, scope: Scope, channel: str) -> str:
        """The position of now: that of the newest message."""
        with hot_errors("read a channel"):
            rows = await self._redis.xrevrange(self._keys.channel(scope, channel), count=1)
        return rows[0][0].decode() if rows else "0-0"

    async def all(self, scope: Scope) -> AsyncIterator[tuple[str, list[ChannelMessage]]]:
        """Every channel of the scope's project, by its key, with all of its messages."""
        with hot_errors("look at channels"):
            found = [key.decode() async for key in self._redis.scan_iter(match=self._keys.channels(scope), count=SCAN)]
            for key in found:
                yield key, [_message(*row) for row in await self._redis.xrange(key)]

    async def drop(self, key: str, positions: Sequence[str]) -> int:
        """Takes messages out of a channel; how many there were."""
        with hot_errors("drop messages"):
            return int(await self._redis.xdel(key, *positions)) if positions else 0


def _message(position: bytes, fields: dict[bytes, bytes]) -> ChannelMessage:
    return ChannelMessage(
        position=position.decode(), number=int(fields[b"number"]), agent=from_tag(fields[b"agent"].decode()),
        session=from_tag(fields[b"session"].decode()), data=msgspec.json.decode(fields[b"data"]),
        at=from_microseconds(int(position.partition(b"-")[0]) * 1000), traceparent=fields.get(b"traceparent", b"").decode(),
    )  # fmt: skip
