"""Which memories are forgotten by policy, and why. Pure: what is known of them goes in, ids with reasons come out.

A memory is due when it is older than its type is kept, when it is colder than the floor (the heat of `policy`), or when its
agent, then its project, has more than may stay: the coldest go. A memory is as warm as the warmest that was made of it, because
that goes with it. What is pinned or held is never due, nor what it was made of; it counts among what stays.

A plan is made in two looks at all memories, in which only what is due is kept: the first counts, the second chooses. It has a
largest size; of a larger one the rest is due in the next. A plan that is carried out leaves nothing to plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from memoryd.limits import RETENTION_PLAN_MAX
from memoryd.model.memory import MemoryType
from memoryd.model.retention import Retention


class Reason(StrEnum):
    """Why a memory is forgotten."""

    AGED = "it is older than its type is kept"
    COLD = "its heat is below the floor"
    AGENT_LIMIT = "its agent has more than are kept"
    PROJECT_LIMIT = "its project has more than are kept"


@dataclass(frozen=True, slots=True)
class Aging:
    """What retention knows of a memory."""

    memory_id: str
    memory_type: MemoryType
    agent: str
    age: float
    """Seconds since it was stored first."""
    heat: float
    """Its own, or that of what was made of it, whichever is more."""
    kept: bool
    """Whether it must stay: it is pinned or held, or something that is was made of it."""


@dataclass(frozen=True, slots=True)
class Due:
    """A memory that is to be forgotten: why, and the numbers behind it."""

    memory_id: str
    reason: Reason
    measured: float
    mark: float

    def told(self) -> str:
        """Its reason with its numbers."""
        return f"{self.reason} ({self.measured:.6g}, the mark is {self.mark:g})"


def plan(memories: Sequence[Aging], rules: Retention, *, most: int = RETENTION_PLAN_MAX) -> list[Due]:
    """What one project forgets; at most so many."""
    planning = Planning(rules)
    for one in memories:
        planning.count(one)
    planning.allot(most)
    for one in memories:
        planning.choose(one)
    return planning.due()


class Planning:
    """One project's plan: `count` each memory, `allot` room, `choose` among the same memories, then see what is `due`."""

    def __init__(self, rules: Retention) -> None:
        self._rules = rules
        self._ripe_count = 0
        self._of_agent: Counter[str] = Counter()
        self._free: Counter[str] = Counter()
        self._ripe: list[Due] = []
        self._seen: Counter[str] = Counter()
        self._ripe_room = 0
        self._agents: dict[str, _Coldest] = {}
        self._rest = _Coldest(0)
        self.cut = False
        """Whether there is more than there was room for."""

    def count(self, one: Aging) -> None:
        """The first look at a memory."""
        if self._verdict(one):
            self._ripe_count += 1
        else:
            self._of_agent[one.agent] += 1
            self._free[one.agent] += not one.kept

    def allot(self, room: int) -> int:
        """Says how many may be chosen, from what was counted; how much room that leaves for others."""
        self._ripe_room, room = self._taken(self._ripe_count, room)
        staying, free = self._of_agent.total(), self._free.total()
        for agent, count in sorted(self._of_agent.items()):
            over = _over(count, self._rules.keep_of_agent, self._free[agent])
            size, room = self._taken(over, room)
            staying, free = staying - over, free - over
            self._agents[agent] = _Coldest(size)
        size, room = self._taken(_over(staying, self._rules.keep_of_project, free), room)
        self._rest = _Coldest(size)
        return room

    def _taken(self, wanted: int, room: int) -> tuple[int, int]:
        self.cut |= wanted > room
        taken = min(wanted, room)
        return taken, room - taken

    def choose(self, one: Aging) -> None:
        """The second look at it."""
        if verdict := self._verdict(one):
            if len(self._ripe) < self._ripe_room:
                self._ripe.append(verdict)
            return
        self._seen[one.agent] += 1
        if not one.kept and one.agent in self._agents:
            for warmer in self._agents[one.agent].offer(one):
                self._rest.offer(warmer)

    def due(self) -> list[Due]:
        """What is to be forgotten. No more than what was seen the second time allows: others forget meanwhile, too."""
        due, staying = list(self._ripe), self._seen.total()
        for agent, coldest in self._agents.items():
            count = self._seen[agent]
            chosen, warmer = coldest.settle(_over(count, self._rules.keep_of_agent, count))
            staying -= len(chosen)
            due += [Due(one.memory_id, Reason.AGENT_LIMIT, count, self._rules.keep_of_agent or 0) for one in chosen]
            for one in warmer:
                self._rest.offer(one)
        chosen, _ = self._rest.settle(_over(staying, self._rules.keep_of_project, staying))
        return due + [Due(one.memory_id, Reason.PROJECT_LIMIT, staying, self._rules.keep_of_project or 0) for one in chosen]

    def _verdict(self, one: Aging) -> Due | None:
        """What speaks against a memory by itself, whatever others there are."""
        if one.kept:
            return None
        kept_seconds = self._rules.max_age_seconds.get(one.memory_type)
        if kept_seconds is not None and one.age > kept_seconds:
            return Due(one.memory_id, Reason.AGED, one.age, kept_seconds)
        if self._rules.floor is not None and one.heat < self._rules.floor:
            return Due(one.memory_id, Reason.COLD, one.heat, self._rules.floor)
        return None


class _Coldest:
    """The coldest of many, of which it holds some more than it wants; of equal ones those with the lower ids."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._some: list[Aging] = []

    def offer(self, one: Aging) -> list[Aging]:
        """Takes one in; those that are too warm by now."""
        if not self._size:
            return [one]
        self._some.append(one)
        return self._drop(self._size) if len(self._some) >= 2 * self._size else []

    def settle(self, size: int) -> tuple[list[Aging], list[Aging]]:
        """The coldest, no more than `size`, and the others."""
        warmer = self._drop(min(size, self._size))
        return self._some, warmer

    def _drop(self, size: int) -> list[Aging]:
        self._some.sort(key=lambda one: (one.heat, one.memory_id))
        warmer, self._some = self._some[size:], self._some[:size]
        return warmer


def _over(count: int, keep: int | None, free: int) -> int:
    """How many are too many, of those that may go."""
    return 0 if keep is None else max(0, min(count - keep, free))
