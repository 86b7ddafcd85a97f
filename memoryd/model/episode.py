"""An episode: an event of an agent, kept as an episodic memory that says what kind of event it was and how it ended.

What says so is the name `event` of the memory's metadata. The index has the same as fields of their own (`event_fields`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from memoryd.limits import EPISODE_DATA_BYTES_MAX, EPISODE_TEXT_BYTES_MAX
from memoryd.model.memory import Durability, Importance, Memory
from memoryd.model.scope import to_tag
from memoryd.model.values import INT64_MAX

EVENT = "event"
FIELDS = ("event_type", "outcome", "error_kind", "latency_us")  # of the index, beside a memory's
SHOWN_VALUE_CHARS = 1_000  # of each value of the data in an episode's text: what a page begins with says what it is


class Outcome(StrEnum):
    """How an event ended."""

    OK = "ok"
    ERROR = "error"
    NONE = "none"
    """It is of a kind that does not end well or badly: a message, a checkpoint."""


@dataclass(frozen=True)
class EpisodeFilter:
    """What narrows a search of episodes beyond its scope; empty means all. Times in microseconds since 1970."""

    event_types: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    error_kinds: Sequence[str] = ()
    tools: Sequence[str] = ()
    since: int | None = None
    until: int | None = None


class NewEpisode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives to `episode.record`."""

    event_type: str
    data: dict[str, Any] = {}
    text: str = ""
    outcome: Outcome = Outcome.OK
    error_kind: str = ""
    latency_us: int | None = None
    tool: str = ""
    session: str | None = None
    importance: Importance = 0.5
    tags: list[str] = []
    happened_at: datetime | None = None


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One event of an agent."""

    id: str
    event_type: str
    outcome: Outcome
    error_kind: str
    latency_us: int | None
    tool: str
    text: str
    data: dict[str, Any] | None
    """None when it is in the archive by reference: `episode.data` fetches it."""
    data_bytes: int
    agent: str
    session: str
    importance: float
    tags: list[str]
    happened_at: datetime
    recorded_at: datetime


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An episode that is acknowledged."""

    id: str
    position: str
    """Its place in the agent's log."""
    durability: Durability = Durability.HOT
    replayed: bool = False


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """An episode in its place of the agent's log."""

    position: str
    episode: Episode


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an agent's log, in order."""

    entries: list[Logged]
    next: str
    """The position to go on after."""
    more: bool
    """Whether there is more by now; a part may be empty and there be more."""


class Episodes(msgspec.Struct, frozen=True, kw_only=True):
    """What a search of episodes found."""

    episodes: list[Episode]
    degraded: str = ""
    """Why something was not searched; empty when all was."""


class EpisodeData(msgspec.Struct, frozen=True, kw_only=True):
    """What an episode was recorded with."""

    data: dict[str, Any]


POSITION_PATTERN = re.compile(r"\d{1,14}-\d{1,6}")


def to_number(position: str) -> int:
    """A position as one number in the same order: milliseconds, and 20 bits for the entries of one of them."""
    milliseconds, _, sequence = position.partition("-")
    return int(milliseconds) << 20 | int(sequence)


def to_position(number: int) -> str:
    """The position behind its number."""
    return f"{number >> 20}-{number & (1 << 20) - 1}"


def event_of(memory: Memory) -> dict[str, Any] | None:
    """What a memory says of an event, if it is one."""
    event = memory.metadata.get(EVENT)
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def event_fields(metadata: Mapping[str, Any]) -> dict[str, str | int]:
    """The index's fields of an event; those that it does not have, or has in another form, are left out."""
    event = metadata.get(EVENT)
    if not isinstance(event, dict):
        return {}
    named = zip(("event_type", "outcome", "error_kind"), ("type", "outcome", "error_kind"), strict=True)
    words = {field: event.get(name) for field, name in named}
    fields: dict[str, str | int] = {field: to_tag(word) for field, word in words.items() if word and isinstance(word, str)}
    latency = event.get("latency_us")
    if isinstance(latency, int) and not isinstance(latency, bool) and abs(latency) <= INT64_MAX:
        fields["latency_us"] = latency
    return fields


def to_event(new: NewEpisode, data: bytes) -> dict[str, Any]:
    """What the metadata says of a new episode; its data only as far as that is small."""
    event: dict[str, Any] = {"type": new.event_type, "outcome": new.outcome, "data_bytes": len(data)}
    if new.error_kind:
        event["error_kind"] = new.error_kind
    if new.latency_us is not None:
        event["latency_us"] = new.latency_us
    if len(data) <= EPISODE_DATA_BYTES_MAX:
        event["data"] = new.data
    return event


def to_episode(memory: Memory, event: Mapping[str, Any]) -> Episode:
    """The episode behind a memory. Whoever edits the metadata by hand may leave anything there."""
    latency, data, size = event.get("latency_us"), event.get("data"), event.get("data_bytes")
    return Episode(
        id=memory.id, event_type=event["type"], outcome=_outcome(event), error_kind=str(event.get("error_kind", "")),
        latency_us=latency if isinstance(latency, int) else None, tool=memory.source_tool, text=memory.content,
        data=data if isinstance(data, dict) else None, data_bytes=size if isinstance(size, int) else 0, agent=memory.agent_id,
        session=memory.session_id, importance=memory.importance, tags=memory.tags, happened_at=memory.valid_from,
        recorded_at=memory.created_at,
    )  # fmt: skip


def _outcome(event: Mapping[str, Any]) -> Outcome:
    known = event.get("outcome")
    return Outcome(known) if isinstance(known, str) and known in set(Outcome) else Outcome.NONE


def described(new: NewEpisode) -> str:
    """An event in words, to be found by: what it was, how it ended, and what its data begins with."""
    about = " ".join(filter(None, [new.event_type, new.tool]))
    ended = "" if new.outcome is Outcome.NONE else f": {new.outcome}{f' ({new.error_kind})' if new.error_kind else ''}"
    took = f" in {new.latency_us / 1000:g} ms" if new.latency_us is not None else ""
    values = [f"{name}: {_shown(value)}" for name, value in new.data.items()]
    return _cut("\n".join([f"{about}{ended}{took}", *filter(None, [new.text]), *values]))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_VALUE_CHARS else text[:SHOWN_VALUE_CHARS] + "…"


def _cut(text: str) -> str:
    return text.encode()[:EPISODE_TEXT_BYTES_MAX].decode(errors="ignore")
