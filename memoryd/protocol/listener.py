"""A client's ear: hears events live, and asks for those that it may have missed, so that none is skipped or told twice."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Any, Self

import msgspec
from redis.asyncio.client import PubSub

from memoryd import keys
from memoryd.errors import EventsLost, HotUnavailable, NoAnswer, Overloaded
from memoryd.hot.client import hot_errors
from memoryd.limits import IDS_TOLD_MAX
from memoryd.model.events import Event, EventsPage, Hint, Place
from memoryd.protocol.connection import RECONNECT_SECONDS, Connection
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import received

# How long the daemons are not asked. A place that other agents' events have been left out of grows old behind them, and
# a connection can be dead without anybody telling us.
ASK_SECONDS = 60.0

AWAY = (HotUnavailable, NoAnswer, Overloaded)


async def page(connection: Connection, after: str | None) -> EventsPage:
    """The kept events behind a place."""
    return await connection.call("events", {"after": after}, EventsPage)


class Listener:
    """Listens for one scope, from `place` on. Pub/sub tells at once; whatever it may not have told is asked for."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self._connection = connection
        self._place = place
        self._pubsub: PubSub | None = None
        self._behind = True
        self._asked_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def more(self, *, patiently: bool = True) -> list[Event]:
        """The next events, as soon as there are some; `patiently`, or raises when Redis or the daemons are away.

        Raises EventsLost; then the listener has nothing more to tell.
        """
        while True:
            try:
                if self._pubsub is None:
                    self._pubsub = await self._subscribed()
                events = await (self._missed() if self._behind else self._heard(self._pubsub))
            except AWAY:
                await self._hang_up()
                if not patiently:
                    raise
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                if events or not patiently:
                    _tell(events)
                    return events

    async def _subscribed(self) -> PubSub:
        """A new subscription. What was said before it, the kept events know."""
        pubsub, scope = self._connection.blocking.pubsub(), self._connection.scope
        self._behind = True
        try:
            with hot_errors("events"):
                if scope.agent:
                    await pubsub.subscribe(keys.events(scope))
                else:
                    await pubsub.psubscribe(keys.events_prefix(scope) + "*")
                await pubsub.get_message(timeout=5)  # only a confirmed subscription hears what comes after the question
        except BaseException:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            raise
        return pubsub

    async def _missed(self) -> list[Event]:
        answer = await page(self._connection, str(self._place))
        if answer.gap:
            raise EventsLost(place=answer.next)
        events = [self._told(hint) for hint in answer.events]
        self._place = Place.parse(answer.next)
        self._behind, self._asked_at = answer.more, time.monotonic()
        return events

    async def _heard(self, pubsub: PubSub) -> list[Event]:
        left = self._asked_at + ASK_SECONDS - time.monotonic()
        with hot_errors("events"):
            message: dict[str, Any] | None = await pubsub.get_message(timeout=left) if left > 0 else None
        if message is None or message["type"] not in ("message", "pmessage"):
            # It is time to ask; or redis-py has subscribed anew, in silence, on another connection than before.
            self._behind = True
            return []
        hint = msgspec.json.decode(message["data"], type=Hint)
        if self._place.holds(hint):
            return []
        event = self._told(hint)
        return [event] if self._connection.scope.session in ("", hint.session) else []

    def _told(self, hint: Hint) -> Event:
        self._place = self._place.behind(hint)
        return Event(**msgspec.structs.asdict(hint), place=str(self._place))

    async def _hang_up(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with contextlib.suppress(Exception):
                await pubsub.aclose()  # type: ignore[no-untyped-call]


def _tell(events: list[Event]) -> None:
    """That they have come, linked to what caused each."""
    ids = [one.id for one in events[:IDS_TOLD_MAX]]
    received([one.traceparent for one in events], {telemetry.BATCH_SIZE: len(events), telemetry.RECORD_IDS: ids})
