"""The verbs of episodes: episode.record, episode.replay, episode.search, episode.data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from memoryd.agent.episodes import EpisodeStore, filter_of
from memoryd.hot.changes import Request
from memoryd.limits import (
    EPISODE_DATA_BYTES_MAX,
    EPISODE_DATA_DEPTH_MAX,
    EPISODE_LIMIT_MAX,
    EPISODE_PAYLOAD_BYTES_MAX,
    NAME_BYTES_MAX,
    TAGS_MAX,
)
from memoryd.model.episode import EpisodeData, Episodes, NewEpisode, Outcome, Recorded, Replayed
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler

Limit = Annotated[int, msgspec.Meta(ge=1, le=EPISODE_LIMIT_MAX)]
Few = Annotated[list[str], msgspec.Meta(max_length=TAGS_MAX)]


class EpisodeRecordArgs(NewEpisode, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `episode.record`."""

    durability: Durability = Durability.HOT


class EpisodeReplayArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `episode.replay`."""

    after: str = ""
    limit: Limit = 100
    agent: str | None = None
    session: str | None = None


class EpisodeSearchArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `episode.search`."""

    query: str = ""
    event_types: Few = []
    outcomes: list[Outcome] = []
    error_kinds: Few = []
    tools: Few = []
    since: datetime | None = None
    until: datetime | None = None
    session: str | None = None
    limit: Limit = 20


class EpisodeDataArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `episode.data`."""

    id: str


FORMS: Mapping[str, Form] = {
    "episode.record": Form(EpisodeRecordArgs, Recorded, writes=True),
    "episode.replay": Form(EpisodeReplayArgs, Replayed),
    "episode.search": Form(EpisodeSearchArgs, Episodes),
    "episode.data": Form(EpisodeDataArgs, EpisodeData),
}

_NAME = {"maxLength": NAME_BYTES_MAX}
_TIME = {"format": "date-time"}
SAYS: Mapping[str, Any] = {
    "EpisodeRecordArgs": {
        "event_type": {
            "minLength": 1, **_NAME, "description": "tool_call, llm_call, error, checkpoint, message, or a word of your own",
        },
        "data": {
            "description": f"what there is to know of it: at most {EPISODE_PAYLOAD_BYTES_MAX} bytes of JSON and "
            f"{EPISODE_DATA_DEPTH_MAX} levels; above {EPISODE_DATA_BYTES_MAX} bytes only the archive keeps it"
        },
        "text": {"description": "in words, to be found by; what the data begins with is found as well"},
        "outcome": {"description": "ok, error, or none for what does not end well or badly"},
        "error_kind": {**_NAME, "description": "which kind of error, in a word"},
        "latency_us": {"minimum": 0, "description": "how long it took, in microseconds"},
        "tool": {**_NAME, "description": "the tool or model that was called"},
        "session": {**_NAME, "description": "its session, when the scope names none"},
        "importance": {"description": "as of a memory"},
        "tags": {"maxItems": TAGS_MAX, "description": "as of a memory"},
        "happened_at": {**_TIME, "description": "when it happened: RFC 3339 with a zone; now without it"},
        "durability": {"description": "as of `store`"},
    },
    "EpisodeReplayArgs": {
        "after": {"description": "the position behind which to begin; empty: the beginning"},
        "limit": {"description": "how many at most"},
        "agent": {"description": "whose log, when the scope names no agent; null: that of no agent"},
        "session": {"description": "only this session's events; null: as the scope says"},
    },
    "EpisodeSearchArgs": {
        "query": {"description": "as of `recall`; empty: the newest"},
        "event_types": {"description": "only these; empty: all"},
        "outcomes": {"description": "only these; empty: all"},
        "error_kinds": {"description": "only these; empty: all"},
        "tools": {"description": "only these; empty: all"},
        "since": {**_TIME, "description": "happened at or after: RFC 3339 with a zone"},
        "until": {**_TIME, "description": "happened at or before: RFC 3339 with a zone"},
        "session": {"description": "only this session's; null: as the scope says"},
        "limit": {"description": "how many at most"},
    },
    "EpisodeDataArgs": {"id": {"description": "the episode's id"}},
    "Recorded": {
        "id": {"description": "the memory that the event is"},
        "position": {"description": "its place in the agent's log"},
        "durability": {"description": "what it has survived"},
        "replayed": {"description": "whether this is the first answer to a repeated request"},
    },
    "Replayed": {
        "entries": {"description": "in order; what was forgotten is left out"},
        "next": {"description": "the position to go on after"},
        "more": {"description": "whether there is more by now; a part may be empty and there be more"},
    },
    "Logged": {"position": {"description": "its place in the log"}},
    "Episodes": {
        "episodes": {"description": "best first with a query, newest first without"},
        "degraded": {"description": "why something was not searched; empty when all was"},
    },
    "Episode": {
        "data": {"description": "what it was recorded with; null: the archive has it, ask `episode.data`"},
        "data_bytes": {"description": "of the data as JSON"},
        "text": {"description": "the memory's content: the event in words"},
        "happened_at": _TIME,
        "recorded_at": _TIME,
    },
    "EpisodeData": {"data": {"description": "what it was recorded with"}},
}


class EpisodeVerbs:
    """Carries them out."""

    def __init__(self, episodes: EpisodeStore) -> None:
        self._episodes = episodes

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "episode.record": self._record, "episode.replay": self._replay, "episode.search": self._search,
            "episode.data": self._data,
        }  # fmt: skip

    async def _record(self, scope: Scope, args: EpisodeRecordArgs, request: Request) -> Any:
        return await self._episodes.record(scope, args, durability=args.durability, request=request)

    async def _replay(self, scope: Scope, args: EpisodeReplayArgs, request: Request) -> Any:
        return await self._episodes.replay(
            scope, after=args.after, limit=args.limit, agent=args.agent, session=args.session
        )

    async def _search(self, scope: Scope, args: EpisodeSearchArgs, request: Request) -> Any:
        wanted = filter_of(
            event_types=args.event_types, outcomes=args.outcomes, error_kinds=args.error_kinds, tools=args.tools,
            since=args.since, until=args.until,
        )  # fmt: skip
        return await self._episodes.search(scope, args.query, wanted, limit=args.limit, session=args.session)

    async def _data(self, scope: Scope, args: EpisodeDataArgs, request: Request) -> Any:
        return await self._episodes.data(scope, args.id)
