"""When a job is due, and what a run of it leaves. Pure data and arithmetic; all times are UTC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OFF = "off"
_EVERY = re.compile(r"every (\S+) s")
FORM = re.compile(r"(daily|mon|tue|wed|thu|fri|sat|sun) ([01]\d|2[0-3]):([0-5]\d)")

TIMES: Mapping[str, str] = {
    "days": "daily 01:00",
    "summaries": "daily 02:00",
    "retention": "daily 03:00",
    "verify": "sun 04:00",
    "duplicates": "sun 05:00",
}
"""The jobs with a time of day, each with the one that it has unless `MEMORYD_JOBS` says another: UTC, out of most offices' hours.
The sweep of the tiers has a period instead."""


@dataclass(frozen=True)
class Every:
    """So long after the last run has begun."""

    seconds: float

    def after(self, moment: datetime) -> datetime:
        """When it is due next, after a run at this moment."""
        return moment + timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


@dataclass(frozen=True)
class At:
    """A time of each day, or of one day of each week."""

    hour: int
    minute: int
    weekday: int | None = None

    def after(self, moment: datetime) -> datetime:
        """When it is due next, after a run at this moment."""
        due = moment.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        if self.weekday is not None:
            due += timedelta(days=(self.weekday - due.weekday()) % 7)
        return due if due > moment else due + timedelta(days=1 if self.weekday is None else 7)

    def __str__(self) -> str:
        return f"{'daily' if self.weekday is None else WEEKDAYS[self.weekday]} {self.hour:02}:{self.minute:02}"


When = Every | At


def when_of(text: str) -> At | None:
    """A time as it is configured; None when it is off. Raises ValueError."""
    if text == OFF:
        return None
    found = FORM.fullmatch(text)
    if not found:
        raise ValueError(f"expected daily HH:MM, sun HH:MM (or another day) or {OFF}, for instance daily 03:00; UTC")
    day, hour, minute = found.groups()
    return At(int(hour), int(minute), None if day == "daily" else WEEKDAYS.index(day))


def time_of(job: str, times: Mapping[str, str]) -> At | None:
    """When a job runs by these settings; None: only when it is asked for."""
    return when_of(times.get(job, TIMES[job]))


def due_after(when: str, moment: datetime) -> datetime | None:
    """The same as `When.after`, of a time as `str` gives it; None when it is off."""
    if found := _EVERY.fullmatch(when):
        return Every(float(found[1])).after(moment)
    at = when_of(when)
    return at.after(moment) if at else None


def check_times(times: dict[str, str]) -> dict[str, str]:
    """These, if each names a job and a time. Raises ValueError."""
    for name, text in times.items():
        if name not in TIMES:
            raise ValueError(f"there is no job that is called so; there are {', '.join(TIMES)}")
        when_of(text)
    return times


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job."""

    id: str
    job: str
    by: str
    """The process that has done it."""
    why: str
    """due, or asked."""
    started_at: datetime
    finished_at: datetime
    outcome: str
    """ok, stopped (its process was told to stop, or lost its turn), or the error's code."""
    done: dict[str, int]
    """What it has done, counted: moved, forgotten …"""
    bytes_before: dict[str, int]
    """What Redis and MongoDB took, as far as they answered; and about what the memories of each tier took there."""
    bytes_after: dict[str, int]


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands."""

    job: str
    when: str
    """off: only when it is asked for."""
    paused: bool
    running: str
    """The process that is at it."""
    last_run_at: datetime | None
    last_outcome: str
    """Of its last report; empty without one."""
    due_at: datetime | None
    """None while it is paused or off."""
