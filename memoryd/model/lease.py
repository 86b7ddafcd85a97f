"""A lease: the right to work on a task, for a while, with a token that only grows."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a task now."""

    task: str
    token: int
    """Higher than that of every lease before it in the project: what a lease guards refuses lower ones than it has seen."""
    agent: str
    session: str
    since: datetime
    seconds_left: float


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """The lease of a task; none when nobody has it."""

    lease: Lease | None


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the lease was still the caller's."""

    released: bool
