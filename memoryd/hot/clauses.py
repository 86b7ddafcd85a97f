"""What a search in Redis requires: the scope, always, and what narrows it.

Callers' values reach a query only as parameters, so no id, name, tag or text can become query syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memoryd import keys as names
from memoryd.clock import to_microseconds
from memoryd.limits import SEARCH_TIMEOUT_SECONDS
from memoryd.model.episode import EpisodeFilter, Outcome
from memoryd.model.memory import MemoryType
from memoryd.model.question import TIMES, Narrowing
from memoryd.model.scope import Scope, to_tag

EVERYTHING = Narrowing()
NAMED_MAX = 200  # ids that one query looks for: each is a term of its own


@dataclass(frozen=True)
class Filters:
    """What narrows a search beyond its scope; empty means all."""

    among: Narrowing = EVERYTHING
    """Its agent and session are part of the scope already."""
    episodes: EpisodeFilter | None = None
    """Only events that fit."""
    shared: bool = False
    """Also what other agents share with the scope's."""


class Clause:
    """A query string under construction, with its parameters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.params: dict[str, str | bytes | int] = {}

    def tag(self, name: str, values: Sequence[str]) -> None:
        """Requires one of the exact values."""
        self.exact(name, [to_tag(value) for value in dict.fromkeys(values)])

    def exact(self, name: str, marks: Sequence[str]) -> None:
        """The same for values that are written as the index holds them already."""
        self.parts.append(f"@{name}:{{{'|'.join(self._param(mark) for mark in marks)}}}")

    def either(self, names: Sequence[str], value: str) -> None:
        """Requires the exact value of one of the tags."""
        mark = self._param(to_tag(value))
        self.parts.append(f"({'|'.join(f'@{name}:{{{mark}}}' for name in names)})")

    def between(self, name: str, least: int | None, most: int | None) -> None:
        """Requires a number from `least` to `most`."""
        ends = ["-inf" if least is None else self._param(least), "+inf" if most is None else self._param(most)]
        self.parts.append(f"@{name}:[{' '.join(ends)}]")

    def never(self, name: str, most: int) -> None:
        """Refuses a number up to `most`; what has none passes."""
        self.parts.append(f"-@{name}:[-inf {self._param(most)}]")

    def true_since(self, moment: int) -> None:
        """Requires that it ends later. What has no end is still true; but an event without one was a moment only."""
        since, later, event = self._param(moment), self._param(moment + 1), self._param(str(MemoryType.EPISODIC))
        endless = f"-@valid_until:[-inf +inf] (@valid_from:[{since} +inf]|-@memory_type:{{{event}}})"
        self.parts.append(f"(@valid_until:[{later} +inf]|({endless}))")

    def words(self, terms: Sequence[str], *, none: bool = False) -> None:
        """Requires at least one of the terms, or none. They hold letters and digits only, and are parameters all the same."""
        self.parts.append(f"{'-' * none}@terms:({'|'.join(self._param(term) for term in terms)})")

    def arguments(self, seconds: float | None = None) -> list[Any]:
        """The values and the time limit, as a query's last arguments but the dialect. See `answers.whole`."""
        most = SEARCH_TIMEOUT_SECONDS if seconds is None else min(seconds, SEARCH_TIMEOUT_SECONDS)
        flat = [part for pair in self.params.items() for part in pair]
        return ["TIMEOUT", max(1, int(most * 1000)), "PARAMS", len(flat), *flat]

    def _param(self, value: str | int) -> str:
        name = f"p{len(self.params)}"
        self.params[name] = value
        return f"${name}"

    def __str__(self) -> str:
        return " ".join(self.parts)


def copied(clause: Clause) -> Clause:
    """The same, to go on from: a query adds parameters of its own."""
    copy = Clause()
    copy.parts, copy.params = list(clause.parts), dict(clause.params)
    return copy


def scope_clause(scope: Scope, filters: Filters = Filters()) -> Clause:  # frozen
    """The exact tags that keep a query inside its scope."""
    clause = Clause()
    clause.tag("tenant", [scope.tenant])
    clause.tag("project", [scope.project])
    if scope.agent:
        clause.either(("agent_id", "shared_with") if filters.shared else ("agent_id",), scope.agent)
    if scope.session:
        clause.tag("session_id", [scope.session])
    _narrow(clause, filters.among)
    if filters.episodes is not None:
        _events(clause, filters.episodes)
    return clause


def _narrow(clause: Clause, among: Narrowing) -> None:
    for name, values in (("memory_type", among.types), ("tags", among.tags), ("tier", among.tiers)):
        if values:
            clause.tag(name, [str(value) for value in values])
    for facets in among.facets():
        clause.exact("facets", facets)
    since, before, recorded_since, recorded_before = (_microseconds(getattr(among, name)) for name in TIMES)
    if since is not None:
        clause.true_since(since)
    if before is not None:
        clause.between("valid_from", None, before - 1)
    if recorded_since is not None or recorded_before is not None:
        clause.between("recorded_at", recorded_since, None if recorded_before is None else recorded_before - 1)


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _events(clause: Clause, wanted: EpisodeFilter) -> None:
    clause.tag("outcome", wanted.outcomes or list(Outcome))  # which every event has, and nothing else
    for name, values in (
        ("event_type", wanted.event_types), ("error_kind", wanted.error_kinds), ("source_tool", wanted.tools)
    ):  # fmt: skip
        if values:
            clause.tag(name, values)
    if wanted.since is not None or wanted.until is not None:
        clause.between("valid_from", wanted.since, wanted.until)


def kinds_of(filters: Filters) -> list[str]:
    """The kinds of memories among which there may be one that passes."""
    return [kind for kind in names.KINDS if not filters.among.types or kind in {names.kind_of(one) for one in filters.among.types}]
