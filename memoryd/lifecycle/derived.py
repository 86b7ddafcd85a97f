"""Whether what was made of a memory may live on: it may not once that memory is forgotten.

A memory that was stored again after its forget is a source like any other. What was made of its former life goes all
the same, and the times tell the two apart: a derived memory's newest version is older than the forget, or it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.hot.records import Records
from memoryd.model.scope import Scope

Forget = tuple[int, int]
"""The version and the time (microseconds since 1970) of a forget."""


@dataclass(frozen=True)
class Sources:
    """What is known of some memories that others may have been made of."""

    hot: Mapping[str, int]
    """The versions of their records in Redis."""
    archived: Mapping[str, Mapping[str, Any]]
    """MongoDB's documents: version, tombstone, forgotten_at."""
    forgets: Mapping[str, Forget]
    """The last forget of those that were forgotten."""

    def life(self, memory_id: str) -> int:
        """The version in which the memory lives in one of the stores; 0 when it does not."""
        document = self.archived.get(memory_id, {})
        archived = 0 if document.get("tombstone") else int(document.get("version", 0))
        return max(self.hot.get(memory_id, 0), archived)

    def orphaned(self, derived_from: Iterable[str], recorded_at: datetime | int) -> str:
        """The first of its forgotten sources that this version was made of; '' when it may stay."""
        moment = to_microseconds(recorded_at) if isinstance(recorded_at, datetime) else recorded_at
        for source in derived_from:
            version, forgotten_at = self.forgets.get(source, (0, 0))
            if version and (moment <= forgotten_at or self.life(source) <= version):
                return source
        return ""


async def sources_of(
    records: Records,
    archive: Archive,
    project: Scope,
    memory_ids: Sequence[str],
    *,
    forgets: Mapping[str, Forget] = MappingProxyType({}),
) -> Sources:
    """What both stores know of these memories of a project now; `forgets` are those that are known without a tombstone."""
    hot = await records.present(project, memory_ids)
    states = await archive.states(memory_ids)
    archived = {one: state for one, state in states.items() if _within(project, state)}
    known: dict[str, Forget] = dict(forgets)
    for memory_id, stone in (await records.tombstones.of(memory_ids)).items():
        if project.holds(stone.scope):
            known[memory_id] = max(known.get(memory_id, (0, 0)), (stone.version, stone.forgotten_at))
    for memory_id, state in archived.items():
        if state.get("tombstone"):
            last = (int(state["version"]), int(state["forgotten_at"]))
            known[memory_id] = max(known.get(memory_id, (0, 0)), last)
    return Sources(hot, archived, known)


def _within(project: Scope, state: Mapping[str, Any]) -> bool:
    return (state.get("tenant"), state.get("project")) == (project.tenant, project.project)
