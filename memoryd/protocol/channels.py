"""The client's channels: `memory.channels`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from memoryd import keys
from memoryd.hot.client import hot_errors
from memoryd.limits import CHANNEL_PAGE_MAX
from memoryd.model.channel import ChannelMessage, MessagePage, Published
from memoryd.protocol.connection import Connection
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import received

LOOK_SECONDS = 10.0  # how often a subscriber asks although nothing was hinted: hints can be lost


class ChannelClient:
    """What the agents of the project say to each other; a channel needs no making."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, channel: str, data: Any, *, request_id: str | None = None) -> Published:
        """Says something (any JSON) to all who subscribe, and to who reads later."""
        return await self._connection.call("channel.publish", {"channel": channel, "data": data}, Published, request_id)

    async def read(self, channel: str, *, after: str | None = "", limit: int = 100) -> MessagePage:
        """The messages behind a position, from the beginning on by default; with None only the position of now."""
        args = {"channel": channel, "after": after, "limit": limit}
        return await self._connection.call("channel.read", args, MessagePage)

    async def subscribe(self, channel: str, *, after: str | None = None) -> AsyncGenerator[ChannelMessage, None]:
        """Every message from now on, or behind a position, once and in order, without end.

        Who notes the position of the last one goes on behind it after any interruption. A jump of `number` says that what
        was between is gone.
        """
        async with self._connection.blocking.pubsub() as hints:
            with hot_errors("subscribe"):
                await hints.subscribe(keys.said(self._connection.scope, channel))
                await hints.get_message(timeout=LOOK_SECONDS)  # from here on nothing is said unheard
            if after is None:
                after = (await self.read(channel, after=None)).next
            while True:
                page = await self.read(channel, after=after, limit=CHANNEL_PAGE_MAX)
                received([one.traceparent for one in page.messages], {telemetry.BATCH_SIZE: len(page.messages)})
                for message in page.messages:
                    yield message
                after = page.next
                if not page.more:
                    await _hint(hints)


async def _hint(hints: Any) -> None:
    """Waits until something may have been said; hints that have gathered meanwhile count as one."""
    with hot_errors("subscribe"):
        if await hints.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS):
            while await hints.get_message(ignore_subscribe_messages=True, timeout=0.0):
                pass
