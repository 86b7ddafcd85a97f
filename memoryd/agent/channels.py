"""Channels: what the agents of a project say to each other, and how a forget reaches it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from memoryd.hot.changes import Request
from memoryd.hot.channels import Channels
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.limits import CHANNEL_DATA_BYTES_MAX
from memoryd.model.channel import ChannelMessage, MessagePage, Published, check_position
from memoryd.model.receipt import Finding, FullReceipt, Removed
from memoryd.model.scope import Scope, check_name
from memoryd.model.values import check_json
from memoryd.model.words import words_of
from memoryd.storing import refusal
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


class ProjectChannels:
    """The verbs of channels. A channel is the project's: all its agents may publish and read."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def publish(self, scope: Scope, channel: str, data: Any, *, request: Request) -> Published:
        """Says something to who listens, and to who looks later. Raises BadRequest, RequestIdReused."""
        check_name("channel", channel)
        text = check_json("data", data, bytes_max=CHANNEL_DATA_BYTES_MAX)
        outcome, *words = await self._channels.publish(scope, channel, text, request)
        if outcome != b"done":
            raise refusal(outcome.decode())
        measure(telemetry.CHANNEL_MESSAGES)
        return Published(position=words[0].decode(), number=int(words[1]))

    async def read(self, scope: Scope, channel: str, *, after: str | None, limit: int) -> MessagePage:
        """The messages behind a position; without one none, and the position of now."""
        check_name("channel", channel)
        if after is None:
            return MessagePage(messages=[], next=await self._channels.last(scope, channel))
        found = await self._channels.read(scope, channel, after=check_position(after), count=limit + 1)
        page = found[:limit]
        return MessagePage(messages=page, next=page[-1].position if page else after, more=len(found) > limit)


class ChannelHolder:
    """What the scope's agents have said in channels: reached by place, by words and by age."""

    name = "channels"

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many messages go."""
        return _counted(sum([len(positions) async for _, positions in self._reached(criteria)]))

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Takes them out."""
        return _counted(sum([await self._channels.drop(*one) async for one in self._reached(criteria)]))

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Messages of the place that was emptied, from before that. Words are not known any more."""
        asked = receipt.selection
        if asked.keys() - {"session", "agent", "everything"}:
            return []
        scope = receipt.scope.of_agent(asked.get("agent")).narrowed(asked.get("session"))
        return [
            Finding(where=self.name, id=one.position, what="it is there, from before the forget")
            async for _, messages in self._channels.all(scope)
            for one in messages
            if _inside(scope, one) and one.at < receipt.asked_at
        ]

    async def _reached(self, criteria: Criteria) -> AsyncIterator[tuple[str, list[str]]]:
        if criteria.by_place_or_time:
            async for key, messages in self._channels.all(criteria.scope):
                yield key, [one.position for one in messages if _meant(criteria, one)]


def _inside(scope: Scope, one: ChannelMessage) -> bool:
    return scope.agent in ("", one.agent) and scope.session in ("", one.session)


def _meant(criteria: Criteria, one: ChannelMessage) -> bool:
    return (
        _inside(criteria.scope, one)
        and (criteria.before is None or one.at < criteria.before)
        and criteria.words <= words_of(msgspec.json.encode(one.data).decode())
    )


def _counted(messages: int) -> Removed:
    return {"redis": {"channel_messages": messages}} if messages else {}
