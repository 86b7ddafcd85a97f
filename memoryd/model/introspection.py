"""What an agent knows, about what, how surely, since when, and how well it is doing, as it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from memoryd.model.agent import AgentState
from memoryd.model.fact import Fact
from memoryd.model.memory import MemoryType

# By how old they are, youngest first: each memory counts once, where it fits first.
AGES: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30),
    "year": timedelta(days=365),
}  # fmt: skip
OLDER = "older"


@dataclass(frozen=True)
class Event:
    """What the report needs of one event of a log. The time is in microseconds since 1970."""

    id: str
    event_type: str
    tool: str
    outcome: str
    error_kind: str
    latency_us: int | None
    at: int


@dataclass
class Counts:
    """How many memories there are, each counted once in each of the three."""

    by_type: Counter[str] = field(default_factory=Counter)
    by_tier: Counter[str] = field(default_factory=Counter)
    by_age: Counter[str] = field(default_factory=Counter)


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """One memory of a list."""

    id: str
    type: MemoryType
    content: str
    created_at: datetime
    last_accessed: datetime
    access_count: int
    importance: float


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A word or a name, and how many memories have it."""

    name: str
    memories: int
    newest: datetime


class Surety(msgspec.Struct, frozen=True, kw_only=True):
    """How sure the facts are that hold now."""

    facts: int
    sure: int
    doubtful: int
    mean_confidence: float | None
    ended: int
    """Facts that do not hold now: they have ended, or have not begun."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long calls took, in microseconds, of those that say so: percentiles by nearest rank."""

    calls: int
    mean_us: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int


class ToolReport(msgspec.Struct, frozen=True, kw_only=True):
    """How well one tool, or all of them, went."""

    tool: str
    calls: int
    """Events that ended well or badly."""
    ok: int
    errors: int
    success_rate: float | None
    error_kinds: dict[str, int]
    latency: Latency | None
    first_at: datetime | None
    last_at: datetime | None


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One day, in UTC, on which something was done."""

    day: str
    calls: int
    errors: int


class Doing(msgspec.Struct, frozen=True, kw_only=True):
    """How well it is doing, by the events of its log since a time."""

    since: datetime
    events: int
    by_event: dict[str, int]
    all: ToolReport
    tools: list[ToolReport]
    """Those with the most calls first."""
    days: list[Day]
    """Oldest first."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A question to which nothing was found."""

    query: str
    times: int
    first_at: datetime
    last_at: datetime
    session: str


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent knows of itself."""

    at: datetime
    state: AgentState | None
    memories: int
    by_type: dict[str, int]
    by_tier: dict[str, int]
    by_age: dict[str, int]
    since: datetime | None
    latest: datetime | None
    surety: Surety
    topics: list[Topic]
    entities: list[Topic]
    sample: int
    """How many memories, the newest, topics, entities and surety were counted in."""
    freshest: list[Brief]
    most_used: list[Brief]
    doing: Doing
    gaps: list[Gap]
    source: str
    """archive: MongoDB, once it had everything; hot: Redis alone, because the archive does not answer."""
    degraded: str = ""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that speaks of what was asked."""

    id: str
    type: MemoryType
    content: str
    confidence: float | None
    """Of a triple: how sure it is; null for what nobody has said."""
    fit: float
    """0 to 1: how well it fits the question, by its words or by its meaning."""
    holds: bool
    """Whether it is valid now."""
    valid_from: datetime
    valid_until: datetime | None
    recorded_at: datetime
    source_tool: str
    derived_from: list[str]
    agent_id: str
    """Whose memory it is; empty: the project's."""
    shared: bool
    """Whether it is not the scope's own, but shared by that agent."""


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of something, and on what grounds."""

    about: str
    known: bool
    confidence: float | None
    """Of the surest fact about it that holds now; null without one."""
    since: datetime | None
    latest: datetime | None
    facts: list[Fact]
    """With it as their subject or object, those that hold since last first; those that have ended too."""
    evidence: list[Evidence]
    """Best first."""
    degraded: str = ""


# --- what is known ------------------------------------------------------------------------------------------------------
