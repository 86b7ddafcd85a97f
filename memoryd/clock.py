"""The only source of time: tests put their own in its place."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Says what time it is."""

    def now(self) -> datetime:
        """The present, in UTC, to the microsecond."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present, in UTC, to the microsecond."""
        return from_microseconds(time.time_ns() // 1000)


def to_microseconds(moment: datetime) -> int:
    """Microseconds from 1970 to an aware `moment`: how both stores keep times (a BSON date has milliseconds only)."""
    return (moment - EPOCH) // MICROSECOND


def from_microseconds(count: int) -> datetime:
    """The moment `count` microseconds after 1970, in UTC. Raises OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=count)
