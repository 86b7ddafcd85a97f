"""Which memories change their tier, and why. Pure: what is known of the memories goes in, moves with reasons come out.

A memory is as warm as it is important, new or recently used, and often used:

    heat = importance × 0.5^(idle / half-life of its type) × (1 + ln(1 + accesses)) × (1 + worth)

Down (`short` → `long`) go, coldest first: what nobody has used for so long that its content need not stay, what is cold,
what is over a limit of its agent or its project, and what has to make room in a full Redis. Up (`long` → `short`) comes what
was used since it went down, warmest first, as far as there is room. What is held stays, whatever happens.

A plan is stable: once it is carried out, the same rules at the same moment plan nothing. Every way down ends below the mark
that began it (`spare`, `low`), nothing that goes down has been used *since*, and what comes up would not be sent down again.
See docs/tiers.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from memoryd.model.memory import MemoryType, Tier
from memoryd.model.rules import Rules


class Reason(StrEnum):
    """Why a memory changes its tier."""

    AGED = "its content was not used for longer than it is kept"
    COLD = "it is cold"
    AGENT_LIMIT = "its agent has more than it may have in the tier short"
    PROJECT_LIMIT = "its project has more than it may have in the tier short"
    PRESSURE = "Redis is too full"
    USED = "it was used, and there is room"


# `gc=False`: a sweep holds hundreds of thousands of both, and the collector would stop everybody to look at each.
class Candidate(msgspec.Struct, frozen=True, gc=False):
    """What the policy knows of a memory. Times are seconds since 1970."""

    memory_id: str
    tier: Tier
    memory_type: MemoryType
    importance: float
    last_used: float
    agent: str = ""
    accesses: int = 0
    worth: float = 0.0
    """What is left of the feedback on it, from -0.5 to 1."""
    used: bool = False
    """Whether it was used since it came into its tier."""
    held: str = ""
    """Why it must stay where it is; empty when it need not."""
    size: int = 0
    """About how many bytes of Redis it takes in `short` more than in `long`."""

    def heat(self, now: float, rules: Rules) -> float:
        """How warm it is; see the module."""
        idle = max(0.0, now - self.last_used)
        fresh: float = 0.5 ** (idle / rules.half_life(self.memory_type))
        return self.importance * fresh * (1 + math.log1p(self.accesses)) * (1 + self.worth)


@dataclass(frozen=True)
class Pressure:
    """How full Redis is, in bytes; `most` is its maxmemory, 0 for none."""

    used: int = 0
    most: int = 0


class Move(msgspec.Struct, frozen=True, gc=False):
    """A memory's change of tier: why, and the numbers behind it (what was looked at, and the mark that it was held against)."""

    memory_id: str
    to: Tier
    reason: Reason
    heat: float
    measured: float
    mark: float


def plan(memories: Iterable[Candidate], now: float, pressure: Pressure, rules: Rules) -> list[Move]:
    """The moves of one project's memories. Those of other tiers than `short` and `long` are left alone."""
    return _Planning(memories, now, pressure, rules).moves()


def verdict(one: Candidate, now: float, rules: Rules, heat: float) -> tuple[Reason | None, float, float]:
    """What speaks against a memory's content in Redis by itself, whatever others there are; measure and mark. `heat` is its own."""
    idle = max(0.0, now - one.last_used)
    if idle > rules.content_seconds:
        return Reason.AGED, idle, rules.content_seconds
    if idle > rules.short_seconds and heat < rules.cold:
        return Reason.COLD, heat, rules.cold
    return None, heat, rules.cold


def resting(idle: Mapping[str, float], most: int) -> list[str]:
    """Which of an agent's sessions are over its limit: those unused for longest, of equal ones the first by name."""
    longest = sorted(idle, key=lambda one: (-idle[one], one))
    return longest[: max(0, len(longest) - most)]


class _Planning:
    def __init__(self, memories: Iterable[Candidate], now: float, pressure: Pressure, rules: Rules) -> None:
        self._now, self._rules, self._pressure = now, rules, pressure
        some = [one for one in memories if one.tier in (Tier.SHORT, Tier.LONG)]
        self._heat = {one.memory_id: one.heat(now, rules) for one in some}
        # Coldest first; of equal ones the id decides, so that a plan does not depend on the order of its input.
        some.sort(key=lambda one: (self._heat[one.memory_id], one.memory_id))
        self._short = [one for one in some if one.tier is Tier.SHORT]
        self._long = [one for one in some if one.tier is Tier.LONG]
        self._moves: dict[str, Move] = {}
        self._used = pressure.used

    def moves(self) -> list[Move]:
        for one in self._movable(self._short):
            reason, measured, mark = verdict(one, self._now, self._rules, self._heat[one.memory_id])
            if reason is not None:
                self._down(one, reason, measured, mark)
        by_agent: dict[str, list[Candidate]] = {}
        for one in self._short:
            by_agent.setdefault(one.agent, []).append(one)
        for agent in sorted(by_agent):
            self._within(by_agent[agent], self._rules.short_of_agent, Reason.AGENT_LIMIT)
        self._within(self._short, self._rules.short_of_project, Reason.PROJECT_LIMIT)
        self._make_room()
        self._bring_back()
        return list(self._moves.values())

    def _movable(self, some: Sequence[Candidate]) -> list[Candidate]:
        return [one for one in some if not one.held and one.memory_id not in self._moves]

    def _within(self, some: Sequence[Candidate], limit: int, reason: Reason) -> None:
        """Sends the coldest down until there are as few as leaves some room below the limit."""
        count = sum(one.memory_id not in self._moves for one in some)
        if count > limit:
            too_many = count - math.floor(limit * (1 - self._rules.spare))
            for one in self._movable(some)[:too_many]:
                self._down(one, reason, count, limit)

    def _make_room(self) -> None:
        """Sends the coldest down until Redis is as empty as it should be then."""
        most, rules = self._pressure.most, self._rules
        if not most or self._used <= rules.high * most:
            return
        share = self._used / most
        for one in self._movable(self._short):
            if self._used <= rules.low * most:
                return
            self._down(one, Reason.PRESSURE, share, rules.high)

    def _bring_back(self) -> None:
        """Brings up what was used, warmest first, as far as every limit leaves room."""
        staying = [one for one in self._short if one.memory_id not in self._moves]
        of_agent = Counter(one.agent for one in staying)
        for one in reversed(self._movable([one for one in self._long if one.used])):
            most, rules = self._pressure.most, self._rules
            room = of_agent[one.agent] < rules.short_of_agent and of_agent.total() < rules.short_of_project
            fits = not most or self._used + one.size <= rules.low * most
            if room and fits and verdict(one, self._now, rules, self._heat[one.memory_id])[0] is None:
                of_agent[one.agent] += 1
                self._used += one.size
                self._move(one, Tier.SHORT, Reason.USED, self._heat[one.memory_id], rules.cold)

    def _down(self, one: Candidate, reason: Reason, measured: float, mark: float) -> None:
        self._used -= one.size
        self._move(one, Tier.LONG, reason, measured, mark)

    def _move(self, one: Candidate, to: Tier, reason: Reason, measured: float, mark: float) -> None:
        self._moves[one.memory_id] = Move(one.memory_id, to, reason, self._heat[one.memory_id], measured, mark)
