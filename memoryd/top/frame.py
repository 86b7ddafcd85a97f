"""What one look at a memoryd has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from memoryd.hot.lag import Following, Lag


class Operation(msgspec.Struct, frozen=True):
    """One verb in the last minute, as the daemons have counted it."""

    verb: str
    per_second: float
    failed_per_second: float
    p50_ms: float
    """Of a typical period of 10 s."""
    p95_ms: float
    """Of the worst period."""
    p99_ms: float


class Heard(msgspec.Struct, frozen=True):
    """A verb, or an agent, among the requests that were overheard."""

    name: str
    per_second: float


class Overheard(msgspec.Struct, frozen=True):
    """A sample of the requests between both looks: those that were seen before they were answered."""

    requests: int
    verbs: Sequence[Heard]
    agents: Sequence[Heard]
    """As tenant/project/agent."""


class Memory(msgspec.Struct, frozen=True):
    """Redis's."""

    used_bytes: int
    limit_bytes: int
    """0: it may use all there is."""
    share: float
    """Of the limit; 0 without one."""
    fragmentation: float


class Frame(msgspec.Struct, frozen=True):
    """One look, and what has happened since the one before."""

    at: datetime
    seconds: float
    daemons: int
    """That have asked for requests lately."""
    requests_per_second: float
    changes_per_second: float
    """Entries of all journals."""
    commands_per_second: int
    """Of Redis, whoever's."""
    requests_waiting: int
    operations: Sequence[Operation] | None
    """Nothing when no daemon keeps them: see `not_kept`."""
    overheard: Overheard
    tiers: Mapping[str, int]
    pending: int | None
    followers: Sequence[Lag]
    """Of each follower in each bucket."""
    following: Following
    dead_letters: int
    memory: Memory
    not_kept: Sequence[str]
    """What this frame lacks, and how to switch it on."""
