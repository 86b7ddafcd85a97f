"""A day of an agent: when it is, where its summary is noted, and what is told of it. Days are those of UTC."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from memoryd.clock import from_microseconds
from memoryd.errors import BadRequest
from memoryd.model.agent import agent_scope
from memoryd.model.document import Place
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

COLLECTION = "days"


class DaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What happened on one day of one agent, in few words."""

    date: datetime.date
    agent: str
    text: str
    summary: str
    """The summary's id: a memory, for `get` and `expand`."""
    memories: int
    """How many memories it stands for."""
    chars: int
    """Their characters."""
    left_out: int
    """How many more the day has that the summary does not speak of: it had too many."""
    made_by: str
    made_at: datetime.datetime
    sources: list[str]
    """What it was made of: memories, and summaries of the day's sessions."""


def day_scope(scope: Scope, agent: str | None) -> Scope:
    """The scope of the agent whose day is meant. Raises BadRequest when that is none, or only one of its sessions."""
    if scope.session:
        raise BadRequest("scope.session: a day is of all of an agent's sessions", field="scope.session")
    return agent_scope(scope.check(), agent)


def check_over(day: datetime.date, now: datetime.datetime) -> datetime.date:
    """`day`, if it is over by now. Raises BadRequest."""
    if day >= now.date():
        raise BadRequest(f"date: {day} is not over yet (UTC)", field="date", hint="ask for a day before today")
    return day


def bounds(day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
    """Its first moment, and the first one after it."""
    since = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
    return since, since + datetime.timedelta(days=1)


def day_place(scope: Scope, day: datetime.date) -> Place:
    """Where an agent's day is noted. The id ends with the date, which the key tells too."""
    names = msgspec.json.encode(("day", scope.tenant, scope.project, scope.agent, day))
    return Place(COLLECTION, f"day_{hashlib.sha256(names).hexdigest()[:24]}{day:%Y%m%d}", scope)


def to_day(day: datetime.date, noted: Mapping[str, Any], summary: Memory) -> DaySummary:
    """What is told of a day, from its note and the summary that this names."""
    return DaySummary(
        date=day, agent=summary.agent_id, text=summary.content, summary=summary.id, memories=int(noted["memories"]),
        chars=int(noted["chars"]), left_out=int(noted["left_out"]), made_by=str(noted["made_by"]),
        made_at=from_microseconds(int(noted["made_at"])), sources=list(summary.derived_from),
    )  # fmt: skip
