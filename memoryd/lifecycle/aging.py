"""A look at every memory of both stores, each once and as the newer store has it, with what retention has to know of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from memoryd.archive.store import Archive
from memoryd.archive.walk import in_order, made_of
from memoryd.clock import to_microseconds
from memoryd.hot.records import Records
from memoryd.keys import kind_of
from memoryd.lifecycle.policy import Candidate
from memoryd.lifecycle.retention import Aging
from memoryd.lifecycle.survey import Survey, Surveyed
from memoryd.limits import RETENTION_LOOK_MAX
from memoryd.model.memory import Memory
from memoryd.model.retention import Retention, Retentions, retention_of
from memoryd.model.rules import OTHERS, Configured, rules_of
from memoryd.model.scope import Scope


@dataclass(frozen=True, slots=True)
class Looked:
    """One memory of a project that has rules."""

    project: Scope
    aging: Aging


class Ages:
    """Looks at one Redis and the archive. `tiers` say how heat is computed and what is pinned."""

    def __init__(self, records: Records, archive: Archive, configured: Retentions, tiers: Configured) -> None:
        self._records = records
        self._survey = Survey(records)
        self._archive = archive
        self._configured = configured
        self._tiers = tiers

    async def each(self, now: float) -> AsyncIterator[list[Looked]]:
        """Every memory that is not forgotten, some at a time.

        Raises HotUnavailable, ArchiveUnavailable: who cannot look everywhere must not decide what is too many.
        """
        uses = await self._survey.uses()
        tenants = [] if OTHERS in self._configured else sorted(self._configured)
        async for memories in in_order(self._archive, tenants, RETENTION_LOOK_MAX):
            keys = [self._records.keys.memory(kind_of(one.memory_type), one.scope, one.id) for one in memories]
            hot = {one.candidate.memory_id: one for one in await self._survey.of(keys, uses, now, self._tiers)}
            buried = await self._records.tombstones.versions([one.id for one in memories])
            found = []
            for one in memories:
                here = hot.get(one.id)
                newer = here if here is not None and here.version >= one.version else None
                if buried.get(one.id, 0) < (newer or one).version:
                    found.append(self._of_record(newer, now) if newer else self._of_document(one, now))
            yield await self._with_made(list(filter(None, found)), now)
        seen: set[str] = set()  # a walk through Redis's keys may give one twice; what is only here is on its way to the archive
        async for records in self._survey.each(now, self._tiers):
            only = [one for one in await self._not_archived(records) if one.candidate.memory_id not in seen]
            seen |= {one.candidate.memory_id for one in only}
            yield await self._with_made(list(filter(None, [self._of_record(one, now) for one in only])), now)

    async def _not_archived(self, records: Sequence[Surveyed]) -> list[Surveyed]:
        """Those that the archive does not have yet, or has forgotten in a former life."""
        states = await self._archive.states([one.candidate.memory_id for one in records])
        new = []
        for one in records:
            state = states.get(one.candidate.memory_id)
            if state is None or (state.get("tombstone") and int(state["version"]) < one.version):
                new.append(one)
        return new

    async def _with_made(self, found: Sequence[Looked], now: float) -> list[Looked]:
        """Each as warm as the warmest that was made of it, and kept where one of these is: they would go with it."""
        projects: dict[Scope, list[str]] = {}
        for one in found:
            projects.setdefault(one.project, []).append(one.aging.memory_id)
        made: dict[str, list[Aging]] = {}
        for project, memory_ids in projects.items():
            made |= await self._made(project, memory_ids, now)
        return [
            replace(one, aging=replace(one.aging, heat=max(of.heat for of in some), kept=any(of.kept for of in some)))
            if len(some := [one.aging, *made.get(one.aging.memory_id, ())]) > 1 else one
            for one in found
        ]  # fmt: skip

    async def _made(self, project: Scope, memory_ids: Sequence[str], now: float) -> dict[str, list[Aging]]:
        """What the archive knows to be made of each of these, and of that, and so on."""
        made: dict[str, list[Aging]] = {}
        sources = {one: {one} for one in memory_ids}  # of these, by what was made of them
        new = set(memory_ids)
        while new:
            later = set()
            for one in await made_of(self._archive, project, sorted(new)):
                of = set().union(*(sources[source] for source in one.derived_from if source in sources))
                looked = self._of_document(one, now)
                if looked and (fresh := of - sources.setdefault(one.id, set())):
                    sources[one.id] |= fresh
                    later.add(one.id)
                    for source in fresh:
                        made.setdefault(source, []).append(looked.aging)
            new = later
        return made

    def _of_record(self, one: Surveyed, now: float) -> Looked | None:
        return self._looked(one.project, one.candidate, one.created_at, one.tags, now)

    def _of_document(self, one: Memory, now: float) -> Looked | None:
        candidate = Candidate(
            one.id, one.tier, one.memory_type, one.importance, max(one.created_at, one.last_accessed).timestamp(), one.agent_id,
            one.access_count, one.feedback.prior(int(now * 1e6)) if one.feedback else 0.0,
        )  # fmt: skip
        created_at = to_microseconds(one.created_at) / 1e6
        return self._looked(Scope(one.tenant, one.project), candidate, created_at, one.tags, now)

    def _looked(self, project: Scope, one: Candidate, created_at: float, tags: Iterable[str], now: float) -> Looked | None:
        rules = retention_of(self._configured, project.tenant, project.project)
        if rules is None:
            return None
        tiers = rules_of(self._tiers, project.tenant, project.project)
        kept = stays(tags, rules, tiers.pin_tags)
        aging = Aging(one.memory_id, one.memory_type, one.agent, now - created_at, one.heat(now, tiers), kept)
        return Looked(project, aging)


def stays(tags: Iterable[str], rules: Retention, pin_tags: Iterable[str]) -> bool:
    """Whether a memory with these tags is pinned or held."""
    return not {*rules.hold_tags, *pin_tags}.isdisjoint(tags)
