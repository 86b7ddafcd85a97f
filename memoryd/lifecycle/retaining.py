"""Forgetting by policy: what is due is planned over all memories of both stores, and forgotten in batches with a receipt each.

Before each batch it is noted what is begun, and its plan is kept like that of every forget. A run that dies is followed by one that
first ends what was begun, with the receipt that it would have had.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.errors import Conflict
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.jobs.state import JobStates
from memoryd.lifecycle.aging import Ages, stays
from memoryd.lifecycle.forgetting import Asked, Forgetting
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.retention import Due, Planning
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.targets import Plan
from memoryd.limits import RETENTION_BATCH_MAX, RETENTION_PLAN_MAX
from memoryd.model.memory import Durability, Memory
from memoryd.model.retention import Retention, Retentions, retention_of
from memoryd.model.rules import Configured, rules_of
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import inject

JOB = "retention"
DERIVED = "derived"


@dataclass(frozen=True)
class Planned:
    """What retention would forget now."""

    due: Mapping[Scope, Sequence[Due]]
    """By project."""
    cut: bool
    """Whether more is due than one plan holds; a run goes on with the next."""

    @property
    def digest(self) -> str:
        """The same for two plans that forget the same memories for the same reasons."""
        rows = sorted((one.memory_id, one.reason.name) for some in self.due.values() for one in some)
        return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()


class _Begun(msgspec.Struct, frozen=True):
    """A batch under way, for the run that follows this one should it die."""

    project: Scope
    request: str
    ids: list[str]

    def asked(self) -> Asked:
        """The forget that it is."""
        fingerprint = hashlib.sha256(msgspec.json.encode(self.ids)).hexdigest()
        request = Request(self.request, fingerprint, inject(), JOB)
        return Asked(self.project, Selection(ids=self.ids), request, Durability.HOT)


class Retaining:
    """Plans over one Redis and the archive. `tiers` say what is pinned, and how heat is computed."""

    def __init__(
        self, records: Records, archive: Archive, planner: Planner, configured: Retentions, tiers: Configured, clock: Clock
    ) -> None:
        self._ages = Ages(records, archive, configured, tiers)
        self._planner = planner
        self._configured = configured
        self._tiers = tiers
        self._clock = clock

    async def plan(self) -> Planned:
        """What is due now. Nothing is changed. Raises HotUnavailable, ArchiveUnavailable."""
        if not self._configured:
            return Planned({}, cut=False)
        now = self._clock.now().timestamp()
        plans: dict[Scope, Planning] = {}
        async for some in self._ages.each(now):
            for looked in some:
                if looked.project not in plans:
                    plans[looked.project] = Planning(self._rules(looked.project))
                plans[looked.project].count(looked.aging)
        room = RETENTION_PLAN_MAX
        for _, one in sorted(plans.items(), key=lambda pair: (pair[0].tenant, pair[0].project)):
            room = one.allot(room)
        async for some in self._ages.each(now):
            for looked in some:
                if looked.project in plans:
                    plans[looked.project].choose(looked.aging)
        due = {project: found for project, one in plans.items() if (found := one.due())}
        return Planned(due, any(one.cut for one in plans.values()))

    def _rules(self, project: Scope) -> Retention:
        rules = retention_of(self._configured, project.tenant, project.project)
        assert rules is not None
        return rules

    async def batches(self, planned: Planned) -> AsyncIterator[tuple[Scope, Mapping[str, Due], Plan]]:
        """The plan in parts that each are one forget, with what was made of the memories: looked up anew, so without those that
        were pinned or held meanwhile."""
        for project, due in planned.due.items():
            rules, pins = self._rules(project), rules_of(self._tiers, project.tenant, project.project).pin_tags

            def kept(memory: Memory, rules: Retention = rules, pins: Sequence[str] = pins) -> bool:
                return stays(memory.tags, rules, pins)

            for some in _some(due):
                known = {one.memory_id: one for one in some}
                reasons = {memory_id: one.told() for memory_id, one in known.items()}
                plan = await self._planner.plan_these(project, reasons, kept)
                if plan.targets:
                    yield project, known, plan


class PolicyForgetting:
    """Carries the plans out."""

    def __init__(self, retaining: Retaining, forgetting: Forgetting, states: JobStates) -> None:
        self._retaining = retaining
        self._forgetting = forgetting
        self._states = states

    async def run(self, if_plan: str) -> dict[str, int]:
        """Forgets what is due, plan after plan, and counts it by reason; with a digest exactly this plan first, or nothing.

        Raises what `Retaining.plan` raises, Overloaded, and Conflict.
        """
        done: Counter[str] = Counter()
        await self._end_begun()
        while True:
            planned = await self._retaining.plan()
            if if_plan not in ("", planned.digest):
                raise Conflict(
                    "the plan is another by now; nothing was forgotten",
                    hint="look at it again (memoryd retention plan); the daemons may have another MEMORYD_RETENTION than you",
                )
            before, if_plan = done.total(), ""
            async for project, due, plan in self._retaining.batches(planned):
                done += await self._forget(project, due, plan)
            if not planned.cut or done.total() == before:
                return {"forgotten": done.total(), **done}

    async def _forget(self, project: Scope, due: Mapping[str, Due], plan: Plan) -> Counter[str]:
        begun = _Begun(project, f"retention {secrets.token_hex(8)}", list(due))
        await self._states.note(JOB, msgspec.json.encode(begun).decode())
        receipt = await self._forgetting.forget_planned(begun.asked(), plan)
        await self._states.note(JOB, "")
        gone = receipt.memories if receipt else []
        counts = Counter(due[one.id].reason.name.lower() if one.id in due else DERIVED for one in gone)
        for reason, count in counts.items():
            measure(telemetry.RETAINED, count, {telemetry.REASON: reason})
        return counts

    async def _end_begun(self) -> None:
        if noted := await self._states.noted(JOB):
            await self._forgetting.forget_planned(msgspec.json.decode(noted, type=_Begun).asked(), None)
            await self._states.note(JOB, "")


def _some(due: Sequence[Due]) -> Iterator[Sequence[Due]]:
    return (due[start : start + RETENTION_BATCH_MAX] for start in range(0, len(due), RETENTION_BATCH_MAX))
