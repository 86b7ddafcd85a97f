"""Rehydration: the memories of a project, an agent or a session are brought back to Redis with their contents, on purpose.

What is used comes back by itself, a sweep later (`lifecycle.tiering`). Who knows what will be used next need not wait for that.
The warmest come first, as far as the limits of the tier `short` and Redis's low water mark leave room; what is left is counted
by why. What came counts as used, so that the next sweep does not send it down again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from memoryd.archive.store import Archive
from memoryd.clock import Clock, to_microseconds
from memoryd.hot.changes import brought_back
from memoryd.hot.headroom import memory_use
from memoryd.hot.projecting import project_many
from memoryd.hot.records import Records
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.policy import Candidate
from memoryd.lifecycle.survey import Survey
from memoryd.limits import TIER_BATCH_MAX
from memoryd.model.memory import Memory, Tier
from memoryd.model.rules import Configured, Rules, rules_of
from memoryd.model.scope import Scope
from memoryd_telemetry.metrics import count_moves

REHYDRATED = "rehydrated"  # the reason of its moves
TEXT_TIMES = 4  # a text is here as content, and as its words in record and index (as `lifecycle.survey` counts it)
RECORD_BYTES = 10_000  # of one that Redis does not have at all: measured, see docs/decisions/0017-the-long-tier.md
Progress = Callable[[int, int], None]
"""Hears how many have been dealt with, of how many that are to be brought."""


class Rehydrated(msgspec.Struct, kw_only=True):
    """What it came to."""

    memories: int = 0
    """Memories of the scope, in whatever tier."""
    whole: int = 0
    """Those that were in Redis with their contents before."""
    brought: int = 0
    left: dict[str, int] = {}
    """How many were not brought, by why: archived, agent_limit, project_limit, pressure, changed."""
    session: str = ""
    """Where the session was, if one was named: hot, archive, or missing."""


@dataclass
class _Room:
    """How much more there may be in the tier `short` of one project."""

    rules: Rules
    used: int
    most: int
    of_agent: Counter[str] = field(default_factory=Counter)

    def refuses(self, one: Candidate) -> str:
        """Why there is no room for one more; empty when there is."""
        if self.of_agent[one.agent] >= self.rules.short_of_agent:
            return "agent_limit"
        if self.of_agent.total() >= self.rules.short_of_project:
            return "project_limit"
        if self.most and self.used + one.size > self.rules.low * self.most:
            return "pressure"
        return ""

    def take(self, one: Candidate) -> None:
        """One more is in the tier."""
        self.of_agent[one.agent] += 1
        self.used += one.size


class Rehydrating:
    """Brings memories back to one Redis."""

    def __init__(
        self, records: Records, archive: Archive, mover: Mover, configured: Configured, clock: Clock, *, model: str
    ) -> None:  # fmt: skip
        self._records = records
        self._archive = archive
        self._mover = mover
        self._configured = configured
        self._clock = clock
        self._model = model

    async def run(
        self, scope: Scope, *, archived: bool = False, dry_run: bool = False, progress: Progress = lambda *_: None
    ) -> Rehydrated:
        """Brings the scope's memories back, with `archived` also those that summaries stand for; or says what would come.

        Run again, it goes on. Raises ArchiveUnavailable, HotUnavailable, Overloaded.
        """
        done = Rehydrated()
        now = self._clock.now().timestamp()
        room = await self._room(scope, now)
        wanted = await self._wanted(scope, done, now, archived=archived)
        left, chosen = Counter(done.left), list[str]()
        for one in sorted(wanted, key=lambda one: (-one.heat(now, room.rules), one.memory_id)):
            if why := room.refuses(one):
                left[why] += 1
            else:
                room.take(one)
                chosen.append(one.memory_id)
        for some in _some(chosen):
            done.brought += len(some) if dry_run else await self._bring(scope, some, left)
            progress(done.brought + left["changed"], len(chosen))
        done.left = {why: count for why, count in sorted(left.items()) if count}
        return done

    # --- what there is --------------------------------------------------------------------------------------------

    async def _room(self, scope: Scope, now: float) -> _Room:
        used, most = await memory_use(self._records.redis)
        room = _Room(rules_of(self._configured, scope.tenant, scope.project), used, most)
        async for some in Survey(self._records).each(now, self._configured):
            for one in some:
                project = one.project == Scope(scope.tenant, scope.project)
                if project and one.whole and one.candidate.tier is not Tier.ARCHIVE:
                    room.of_agent[one.candidate.agent] += 1
        return room

    async def _wanted(self, scope: Scope, done: Rehydrated, now: float, *, archived: bool) -> list[Candidate]:
        """What MongoDB has of the scope, and Redis lacks or has without its content. Contents are read and not kept."""
        wanted: list[Candidate] = []
        async for memories in self._archive.each(scope, size=TIER_BATCH_MAX):
            here = await self._records.get_many(Scope(scope.tenant, scope.project), [one.id for one in memories])
            for one in memories:
                done.memories += 1
                if one.id in here and not here[one.id].light and here[one.id].tier is not Tier.LONG:
                    done.whole += 1
                elif one.tier is Tier.ARCHIVE and not archived:
                    done.left["archived"] = done.left.get("archived", 0) + 1
                else:
                    wanted.append(_candidate(one, now, here=one.id in here))
        return wanted

    # --- the way back ---------------------------------------------------------------------------------------------

    async def _bring(self, scope: Scope, ids: Sequence[str], left: Counter[str]) -> int:
        """Brings some back; how many. What was changed or forgotten meanwhile stays as it is."""
        project = Scope(scope.tenant, scope.project)
        here = await self._records.present(project, ids)
        records = await self._archive.records([one for one in ids if one not in here])
        if cold := [one for one in records.values() if one.memory.tier is not Tier.ARCHIVE]:
            await project_many(self._records, [brought_back(one, self._model) for one in cold])
        away = [one.memory for one in records.values() if one.memory.tier is Tier.ARCHIVE]
        await self._mover.restore([*away, *await self._of_tier(project, ids, Tier.ARCHIVE)], reason=REHYDRATED)
        light = await self._of_tier(project, ids, Tier.LONG)
        count_moves(Tier.LONG, Tier.SHORT, REHYDRATED, len(await self._mover.to_short(light)))
        there = [one for one in (await self._records.get_many(project, ids)).values() if one.tier is Tier.SHORT]
        await asyncio.gather(*map(self._records.note_use, there))
        left["changed"] += len(ids) - len(there)
        return len(there)

    async def _of_tier(self, project: Scope, ids: Sequence[str], tier: Tier) -> list[Memory]:
        here: Mapping[str, Memory] = await self._records.get_many(project, ids)
        return [one for one in here.values() if one.tier is tier]


def _candidate(one: Memory, now: float, *, here: bool) -> Candidate:
    size = TEXT_TIMES * len(one.content.encode()) + (0 if here else RECORD_BYTES)
    worth = one.feedback.prior(int(now * 1e6)) if one.feedback else 0.0
    used = to_microseconds(max(one.created_at, one.last_accessed)) / 1e6
    return Candidate(
        one.id, one.tier, one.memory_type, one.importance, used, one.agent_id, one.access_count, worth, size=size
    )  # fmt: skip


def _some(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + TIER_BATCH_MAX] for start in range(0, len(ids), TIER_BATCH_MAX))
