"""What a forget is to remove: everything in both stores that was selected, and everything that was made of it.

Redis is walked by its keys, not asked through an index, because an index may lack a record that is there (it is being
built, or a vector does not fit); MongoDB is asked through its own. What was made of the selected memories is looked up
through both stores' indexes; what those miss, and what is stored meanwhile, the archiver forgets when it comes by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from memoryd.archive.days import happened
from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.errors import ArchiveUnavailable, TooLarge
from memoryd.hot import lookups
from memoryd.hot.clauses import Filters
from memoryd.hot.records import Records
from memoryd.lifecycle.holders import Holder
from memoryd.lifecycle.selection import Criteria, Selection, resolve
from memoryd.lifecycle.targets import Plan, Target, added, counted, project_of, target
from memoryd.limits import FORGET_PLAN_MAX
from memoryd.model.memory import Memory
from memoryd.model.question import Narrowing, Question
from memoryd.model.results import Hit, Recalled
from memoryd.model.scope import Scope

BATCH = 500  # memories that are looked at together: about 2 MB of usual ones

Recall = Callable[..., Awaitable[Recalled]]


@dataclass(frozen=True)
class Found:
    """A living memory as each store has it."""

    hot: Memory | None
    archived: Memory | None

    @property
    def current(self) -> list[Memory]:
        """What it is now: what the newer store says. Of one version both count: a person's edit may be on its way."""
        sides = [one for one in (self.hot, self.archived) if one is not None]
        newest = max(one.version for one in sides)
        return [one for one in sides if one.version == newest]


class Planner:
    """Finds what a selection means in one Redis and the archive."""

    def __init__(
        self,
        records: Records,
        archive: Archive | None,
        recall: Recall,
        holders: Sequence[Holder],
        clock: Clock,
    ) -> None:
        self._records = records
        self._archive = archive
        self._recall = recall
        self._holders = holders
        self._clock = clock

    async def plan(self, scope: Scope, selection: Selection, *, cascade: bool) -> Plan:
        """What to remove now.

        Raises ArchiveUnavailable: who cannot look everywhere must not say that it is gone. Raises TooLarge.
        """
        now = self._clock.now()
        criteria = resolve(selection, scope, now)
        await self._present().ping()
        chosen: dict[str, Target] = {}
        degraded = ""
        if selection.query:
            recalled = await self._recalled(criteria.scope, selection)
            degraded = recalled.degraded
            hits = [hit.memory.id for hit in recalled if _likeness(hit) >= selection.min_score]
            await self._choose(chosen, hits, criteria, selection.reason())
        else:
            async for ids in _named_or(selection, self._everywhere(criteria)):
                await self._choose(chosen, ids, criteria, selection.reason())
        await self._follow(scope, chosen, cascade=cascade)
        return await self._counted(criteria, chosen, now, degraded)

    async def plan_these(self, project: Scope, reasons: Mapping[str, str], stays: Callable[[Memory], bool]) -> Plan:
        """These memories of a project, each with the reason why it goes, and what was made of them.

        Without those that stay; empty when something stays that was made of them. Raises what `plan` raises.
        """
        now = self._clock.now()
        chosen: dict[str, Target] = {}
        for memory_id, found in (await self._look(project, reasons)).items():
            if not any(map(stays, found.current)):
                chosen[memory_id] = target(found.hot, found.archived, reasons[memory_id])
        picked = set(chosen)
        await self._follow(project, chosen, cascade=False)
        made = await self._look(project, chosen.keys() - picked)
        if any(stays(side) for found in made.values() for side in found.current):
            chosen = {}
        if not chosen:
            return Plan(asked_at=now, targets=[], removes={})
        return await self._counted(resolve(Selection(ids=list(chosen)), project, now), chosen, now)

    async def _counted(self, criteria: Criteria, chosen: Mapping[str, Target], now: datetime, degraded: str = "") -> Plan:
        targets = list(chosen.values())
        counts = [await one.find(criteria, targets) for one in self._holders]
        versions = sum([await self._present().history.count(ids) for ids in _some(list(chosen))])
        removes = added([counted(targets), {"mongodb": {"versions": versions}}, *counts])
        return Plan(asked_at=now, targets=targets, removes=removes, degraded=degraded)

    async def plan_one(self, scope: Scope, one: Target) -> Plan:
        """A memory with what was made of it, as far as Redis knows. The archive is not asked: the archiver does that."""
        now = self._clock.now()
        chosen, new = {one.id: one}, [one.id]
        while new:
            ids = await lookups.naming(self._records.redis, project_of(scope), "derived_from", new) - chosen.keys()
            hot = await self._records.get_many(project_of(scope), sorted(ids)) if ids else {}
            found = {memory_id: Found(memory, None) for memory_id, memory in hot.items()}
            more = _named(found, "derived_from", chosen, "derived from")
            chosen |= more
            _check_size(chosen)
            new = list(more)
        return Plan(asked_at=now, targets=list(chosen.values()), removes={})

    async def memories(self, scope: Scope, selection: Selection, *, most: int) -> list[Memory]:
        """The selected memories themselves, as they are now, in the order in which they happened.

        Redis's index is asked for them, not every key as for a forget: the end of a session costs what the session holds. What is
        not indexed (yet) is found when it is archived. Raises what `plan` raises; TooLarge beyond `most` of them.
        """
        criteria = resolve(selection, scope, self._clock.now())
        await self._present().ping()
        found: dict[str, Memory] = {}

        async def add(ids: Sequence[str]) -> None:
            for memory_id, one in (await self._look(criteria.scope, set(ids) - found.keys())).items():
                if any(map(criteria.matches, one.current)):
                    found[memory_id] = one.current[0]
            if len(found) > most:
                raise TooLarge(
                    f"the selection holds more than {most} memories", hint="narrow it, for instance by session or by `before`"
                )

        if selection.query:
            recalled = await self._recalled(criteria.scope, selection)
            await add([hit.memory.id for hit in recalled if _likeness(hit) >= selection.min_score])
        else:
            async for ids in _named_or(selection, self._indexed(criteria, most)):
                await add(ids)
        return sorted(found.values(), key=lambda one: (one.valid_from, one.created_at, one.id))

    async def happened(self, scope: Scope, since: datetime, before: datetime, *, most: int) -> list[Memory]:
        """The scope's memories that became true in this time, as they are now, in that order. Raises what `memories` raises."""
        archive = self._present()
        await archive.ping()
        hot = await lookups.happened(self._records.redis, scope, since, before, most + 1)
        ids = sorted({*hot, *await happened(archive, scope, since, before)})
        if len(ids) > most:
            raise TooLarge(f"more than {most} memories became true in this time")
        found: list[Memory] = []
        for some in _some(ids):
            newest = [one.current[0] for one in (await self._look(scope, some)).values()]
            found += [one for one in newest if scope.holds(one.scope) and since <= one.valid_from < before]
        return sorted(found, key=lambda one: (one.valid_from, one.created_at, one.id))

    # --- what was selected ----------------------------------------------------------------------------------------

    async def _recalled(self, scope: Scope, selection: Selection) -> Recalled:
        question = Question(
            query=selection.query, limit=selection.limit, types=selection.types, tags=selection.tags,
            agent=scope.agent or None,  # its own: what others share with it is not its to forget or to compress
        )
        return await self._recall(scope, question)

    async def _everywhere(self, criteria: Criteria) -> AsyncIterator[list[str]]:
        """The ids of all memories that match in one of the stores; some may come twice."""
        text = bool(criteria.words)
        async for memories in self._records.each(criteria.scope, size=BATCH, with_text=text):
            yield [one.id for one in memories if criteria.matches(one)]
        async for ids in self._archived(criteria, with_text=text):
            yield ids

    async def _indexed(self, criteria: Criteria, most: int) -> AsyncIterator[Sequence[str]]:
        """The ids that Redis's index and the archive know, some beyond `most`; some may come twice."""
        among = Narrowing(types=sorted(criteria.types), tags=sorted(criteria.tags))
        for some in _some(await lookups.matching_ids(self._records.redis, criteria.scope, Filters(among), most + 1)):
            yield some
        async for ids in self._archived(criteria, with_text=bool(criteria.words)):
            yield ids

    async def _archived(self, criteria: Criteria, *, with_text: bool) -> AsyncIterator[list[str]]:
        archived = self._present().each(
            criteria.scope, types=criteria.types, tags=criteria.tags, before=criteria.before, size=BATCH, with_text=with_text
        )
        async for memories in archived:
            yield [one.id for one in memories if criteria.matches(one)]

    async def _choose(self, chosen: dict[str, Target], ids: Sequence[str], criteria: Criteria, reason: str) -> None:
        for memory_id, found in (await self._look(criteria.scope, set(ids) - chosen.keys())).items():
            if any(map(criteria.matches, found.current)):
                chosen[memory_id] = target(found.hot, found.archived, reason)
        _check_size(chosen)

    async def _look(self, scope: Scope, ids: Iterable[str]) -> dict[str, Found]:
        """Those of the memories that live in the scope's project, as both stores have them at this moment."""
        found: dict[str, Found] = {}
        project = project_of(scope)
        for some in _some(sorted(ids)):
            hot = await self._records.get_many(project, some)
            archived = await self._present().living(some)
            stones = await self._records.tombstones.of(some)
            for memory_id in some:
                sides = (hot.get(memory_id), archived.get(memory_id))
                buried = stones[memory_id].version if memory_id in stones else 0
                lives = [one if one and one.version > buried and project.holds(one.scope) else None for one in sides]
                if any(lives):
                    here, there = lives
                    found[memory_id] = Found(here.filled(there) if here and there and here.light else here, there)
        return found

    # --- what goes with it ----------------------------------------------------------------------------------------

    async def _follow(self, scope: Scope, chosen: dict[str, Target], *, cascade: bool) -> None:
        """Adds what was made of the chosen, and what was made of that; with `cascade` also what is related.

        Nobody can make a summary anew without its source yet. Whoever can, one day, is asked here and in the archiver
        (`memoryd_sync.derived`), before the memory becomes a target.
        """
        new = list(chosen)
        while new:
            found = await self._look(scope, await self._naming(project_of(scope), "derived_from", new) - chosen.keys())
            more = _named(found, "derived_from", chosen, "derived from")
            if cascade:
                more |= await self._related(scope, new, chosen, more)
            chosen |= more
            _check_size(chosen)
            new = list(more)

    async def _related(
        self, scope: Scope, new: Sequence[str], chosen: dict[str, Target], more: dict[str, Target]
    ) -> dict[str, Target]:
        """What the new ones call related, and what calls them so; inside the scope only."""
        known = chosen.keys() | more.keys()
        backward = await self._naming(scope, "related", new)
        named: dict[str, str] = {}
        for memory_id, one in (await self._look(scope, new)).items():
            for side in one.current:
                named |= dict.fromkeys(sorted(set(side.related) - named.keys()), memory_id)
        found = {
            memory_id: one
            for memory_id, one in (await self._look(scope, (backward | named.keys()) - known)).items()
            if any(scope.holds(side.scope) for side in one.current)
        }
        forward = {
            memory_id: target(one.hot, one.archived, f"related to {named[memory_id]}")
            for memory_id, one in found.items()
            if memory_id in named
        }
        return _named(found, "related", chosen, "related to") | forward

    async def _naming(self, scope: Scope, field: str, ids: Sequence[str]) -> set[str]:
        hot = await lookups.naming(self._records.redis, scope, field, ids)
        return hot | await self._present().naming(scope, field, ids)

    def _present(self) -> Archive:
        if self._archive is None:
            raise ArchiveUnavailable("forget: this daemon has no archive to look into")
        return self._archive


def _named(found: dict[str, Found], field: str, chosen: dict[str, Target], words: str) -> dict[str, Target]:
    """Those that name one of the chosen."""
    targets = {}
    for memory_id, one in found.items():
        sources = sorted({source for side in one.current for source in getattr(side, field)} & chosen.keys())
        if sources:
            targets[memory_id] = target(one.hot, one.archived, f"{words} {sources[0]}")
    return targets


def _check_size(chosen: dict[str, Target]) -> None:
    if len(chosen) > FORGET_PLAN_MAX:
        raise TooLarge(
            f"the selection holds more than {FORGET_PLAN_MAX} memories",
            hint="narrow it, for instance by `before`, by session or by type, and forget in several steps",
        )


async def _named_or(selection: Selection, matching: AsyncIterator[Sequence[str]]) -> AsyncIterator[Sequence[str]]:
    """The ids that a selection without a query may mean: those that it names, or the `matching` ones."""
    if selection.ids:
        for some in _some(selection.ids):
            yield some
    else:
        async for ids in matching:
            yield ids


def _some(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def _likeness(hit: Hit) -> float:
    """How alike a memory and the query are, 0 to 1 whatever else was found (a score is comparable within one answer only)."""
    if "quote" in hit.why and hit.why["quote"].value:
        return 1.0
    return max(0.0, hit.why["meaning"].value) if "meaning" in hit.why else 0.0
