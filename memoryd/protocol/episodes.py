"""The client's log: `memory.episodes`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from memoryd import keys
from memoryd.hot.client import hot_errors
from memoryd.limits import EPISODE_LIMIT_MAX, EPISODE_PAYLOAD_BYTES_MAX
from memoryd.model.episode import EpisodeData, Episodes, Logged, Recorded, Replayed
from memoryd.model.events import Hint
from memoryd.model.memory import Durability
from memoryd.model.values import check_json
from memoryd.protocol.connection import Connection
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import received

LOOK_SECONDS = 5.0  # a hint can be lost; how long an event may go unnoticed then


class EpisodeClient:
    """What the scope's agent did: recorded, searched, replayed, followed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def record(
        self,
        event_type: str,
        data: Mapping[str, Any] | None = None,
        *,
        outcome: str = "ok",
        latency_seconds: float | None = None,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **details: Any,
    ) -> Recorded:
        """Appends an event to the agent's log. Details: tool, error_kind, text, session, importance, tags, happened_at."""
        latency = None if latency_seconds is None else round(latency_seconds * 1_000_000)
        check_json("data", data or {}, bytes_max=EPISODE_PAYLOAD_BYTES_MAX)  # as JSON says it: it would write NaN as null
        args = {"event_type": event_type, "data": data or {}, "outcome": outcome, "latency_us": latency}
        return await self._connection.call(
            "episode.record", {**args, "durability": durability, **details}, Recorded, request_id
        )

    async def search(self, query: str = "", *, limit: int = 20, **wanted: Any) -> Episodes:
        """Events that fit, best first; the newest without a query. Wanted: event_types, outcomes, error_kinds, tools,
        since, until, session."""
        return await self._connection.call("episode.search", {"query": query, "limit": limit, **wanted}, Episodes)

    async def data(self, episode_id: str) -> dict[str, Any]:
        """What an event was recorded with, wherever it is kept."""
        return (await self._connection.call("episode.data", {"id": episode_id}, EpisodeData)).data

    async def replay(
        self, *, after: str = "", limit: int = 100, agent: str | None = None, session: str | None = None
    ) -> Replayed:
        """A part of the log from behind a position on; a scope without an agent may name one."""
        args = {"after": after, "limit": limit, "agent": agent, "session": session}
        return await self._connection.call("episode.replay", args, Replayed)

    async def follow(
        self, *, after: str = "", agent: str | None = None, session: str | None = None
    ) -> AsyncIterator[Logged]:
        """Every event behind a position, once and in order: first what there is, then what happens, without end.

        Who notes the position of the last event goes on behind it after any interruption.
        """
        scope = self._connection.scope
        channel = keys.events(msgspec.structs.replace(scope, agent=agent) if agent else scope)
        async with self._connection.blocking.pubsub() as hints:
            with hot_errors("follow a log"):
                await hints.subscribe(channel)
                await hints.get_message(timeout=LOOK_SECONDS)  # from here on nothing happens unheard
            while True:
                part = await self.replay(after=after, limit=EPISODE_LIMIT_MAX, agent=agent, session=session)
                for entry in part.entries:
                    yield entry
                after = part.next
                if not part.more:
                    heard = await _hints(hints)
                    received([one.traceparent for one in heard], {telemetry.BATCH_SIZE: len(heard)})


async def _hints(hints: Any) -> list[Hint]:
    """Waits until something may have happened: the hints of it that have gathered, none after a while."""
    heard: list[Hint] = []
    with hot_errors("follow a log"):
        message = await hints.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS)
        while message:
            heard.append(msgspec.json.decode(message["data"], type=Hint))
            message = await hints.get_message(ignore_subscribe_messages=True, timeout=0.0)
    return heard
