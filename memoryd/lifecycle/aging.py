"""A look at every memory of both stores, each once and as the newer store has it, with what retention has to know of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from memoryd.archive.store import Archive
from memoryd.archive.walk import in_order
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
    derived_from: Sequence[str]


class Ages:
    """Looks at one Redis and the archive. `tiers` say how heat is computed and what is pinned."""

    def __init__(self, records: Records, archive: Archive, configured: Retentions, tiers: Configured) -> None:
        self._records = records
        self._survey = Survey(records)
        self._archive = archive
        self._configured = configured
        self._tiers = tiers

    async def each(self, now: float, shielded: frozenset[str]) -> AsyncIterator[list[Looked]]:
        """Every memory that is not forgotten, some at a time. `shielded` stay whatever their tags are.

        Raises HotUnavailable, ArchiveUnavailable: who cannot look everywhere must not decide what is too many.
        """
        uses = await self._survey.uses()
        tenants = [] if OTHERS in self._configured else sorted(self._configured)
        async for memories in in_order(self._archive, tenants, RETENTION_LOOK_MAX):
            keys = [self._records.keys.memory(kind_of(one.memory_type), one.scope, one.id) for one in memories]
            hot = {one.candidate.memory_id: one for one in await self._survey.of(keys, uses, now, self._tiers)}
            buried = await self._records.forgotten([one.id for one in memories])
            found = []
            for one in memories:
                here = hot.get(one.id)
                newer = here if here is not None and here.version >= one.version else None
                if buried.get(one.id, 0) < (newer or one).version:
                    found.append(self._of_record(newer, now, shielded) if newer else self._of_document(one, now, shielded))
            yield list(filter(None, found))
        seen: set[str] = set()  # a walk through Redis's keys may give one twice; what is only here is on its way to the archive
        async for records in self._survey.each(now, self._tiers):
            only = [one for one in await self._not_archived(records) if one.candidate.memory_id not in seen]
            seen |= {one.candidate.memory_id for one in only}
            yield list(filter(None, [self._of_record(one, now, shielded) for one in only]))

    async def _not_archived(self, records: Sequence[Surveyed]) -> list[Surveyed]:
        """Those that the archive does not have yet, or has forgotten in a former life."""
        states = await self._archive.states([one.candidate.memory_id for one in records])
        new = []
        for one in records:
            state = states.get(one.candidate.memory_id)
            if state is None or (state.get("tombstone") and int(state["version"]) < one.version):
                new.append(one)
        return new

    def _of_record(self, one: Surveyed, now: float, shielded: frozenset[str]) -> Looked | None:
        return self._looked(one.project, one.candidate, one.created_at, one.tags, one.derived_from, now, shielded)

    def _of_document(self, one: Memory, now: float, shielded: frozenset[str]) -> Looked | None:
        candidate = Candidate(
            one.id, one.tier, one.memory_type, one.importance, max(one.created_at, one.last_accessed).timestamp(), one.agent_id,
            one.access_count, one.feedback.prior(int(now * 1e6)) if one.feedback else 0.0,
        )  # fmt: skip
        created_at = to_microseconds(one.created_at) / 1e6
        project = Scope(one.tenant, one.project)
        return self._looked(project, candidate, created_at, one.tags, one.derived_from, now, shielded)

    def _looked(
        self, project: Scope, one: Candidate, created_at: float, tags: Iterable[str], derived_from: Sequence[str], now: float,
        shielded: frozenset[str],
    ) -> Looked | None:  # fmt: skip
        rules = retention_of(self._configured, project.tenant, project.project)
        if rules is None:
            return None
        tiers = rules_of(self._tiers, project.tenant, project.project)
        kept = one.memory_id in shielded or stays(tags, rules, tiers.pin_tags)
        aging = Aging(one.memory_id, one.memory_type, one.agent, now - created_at, one.heat(now, tiers), kept)
        return Looked(project, aging, derived_from)


def stays(tags: Iterable[str], rules: Retention, pin_tags: Iterable[str]) -> bool:
    """Whether a memory with these tags is pinned or held."""
    return not {*rules.hold_tags, *pin_tags}.isdisjoint(tags)
