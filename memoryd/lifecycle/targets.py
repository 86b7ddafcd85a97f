"""What a forget was planned to remove: pure data, kept in Redis while it is carried out. None of it is content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import msgspec

from memoryd.limits import RECEIPT_PAGE_MAX
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.receipt import ForgetPlan, Planned, Removed
from memoryd.model.scope import Scope
from memoryd.model.summary import of_a_day


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One memory that is to be forgotten, with what it takes to do so."""

    id: str
    version: int
    type: MemoryType
    agent: str
    session: str
    hot: bool
    archived_version: int
    """0: the archive has none."""
    contents: list[str]
    """The hashes of its content in each store, for the caches."""
    reason: str
    message: int | None = None
    """Which message of its session it says that it is made of."""
    day: date | None = None
    """The day whose summary it is."""

    @property
    def where(self) -> str:
        """hot, archive, or both."""
        if self.hot and self.archived_version:
            return "both"
        return "hot" if self.hot else "archive"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a forget is to remove, and why."""

    asked_at: datetime
    targets: list[Target]
    removes: Removed
    degraded: str = ""

    @property
    def digest(self) -> str:
        """The same for two plans that remove the same versions for the same reasons."""
        rows = sorted((one.id, one.version, one.reason) for one in self.targets)
        return hashlib.sha256(msgspec.json.encode(rows)).hexdigest()

    def shown(self) -> ForgetPlan:
        """As a caller sees it."""
        listed = [
            Planned(id=one.id, version=one.version, type=one.type, where=one.where, reason=one.reason)
            for one in self.targets[:RECEIPT_PAGE_MAX]
        ]
        return ForgetPlan(
            digest=self.digest, count=len(self.targets), removes=self.removes, memories=listed, degraded=self.degraded
        )


def target(hot: Memory | None, archived: Memory | None, reason: str) -> Target:
    """The target that a memory becomes; at least one store has it."""
    sides = [one for one in (hot, archived) if one is not None]
    newest = max(sides, key=lambda one: one.version)
    return Target(
        id=newest.id, version=newest.version, type=newest.memory_type, agent=newest.agent_id, session=newest.session_id,
        hot=hot is not None, archived_version=archived.version if archived else 0,
        contents=sorted({one.content_hash for one in sides if one.content_hash}), reason=reason,
        message=number if isinstance(number := newest.metadata.get("message"), int) else None,
        day=of_a_day(newest),
    )  # fmt: skip


def counted(targets: Sequence[Target]) -> Removed:
    """How many records and documents these are."""
    return {
        "redis": {"records": sum(one.hot for one in targets)},
        "mongodb": {"memories": sum(one.archived_version > 0 for one in targets)},
    }


def added(counts: Iterable[Removed]) -> Removed:
    """The sums of several counts."""
    total: Removed = {}
    for one in counts:
        for store, kinds in one.items():
            here = total.setdefault(store, {})
            for kind, count in kinds.items():
                here[kind] = here.get(kind, 0) + count
    return total


def project_of(scope: Scope) -> Scope:
    """The whole project of a scope: what was made of a memory goes with it, whichever agent made it."""
    return Scope(scope.tenant, scope.project)
