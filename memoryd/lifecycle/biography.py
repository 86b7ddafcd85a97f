"""A memory's biography: each version and what made it, where it lives now, what came of it, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.clock import from_microseconds
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.keys import DEAD_LETTERS
from memoryd.limits import BIOGRAPHY_LETTERS_MAX, BIOGRAPHY_VERSIONS_MAX
from memoryd.model.ids import check_id
from memoryd.model.record import Tombstone
from memoryd.model.scope import Scope


class Chapter(msgspec.Struct, frozen=True):
    """One version of a memory. `op` is the journal's word: stored, updated, moved, forgotten."""

    version: int
    op: str
    tier: str
    agent: str
    recorded_at: datetime | None


class Biography(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that both stores know of a memory's life; nothing of what it says."""

    id: str
    state: str
    """hot (Redis and MongoDB), only hot (not archived yet), archive (MongoDB only), forgotten."""
    tier: str = ""
    pending: bool = False
    """Whether it has no vector yet."""
    accesses: int = 0
    last_accessed: datetime | None = None
    derived: int = 0
    """How many memories were made of it."""
    given_up: list[str] = []
    """Why a follower has given up one of its changes."""
    receipts: list[str] = []
    """The receipts of forgets that name it."""
    chapters: list[Chapter]


async def biography(records: Records, archive: Archive, scope: Scope, memory_id: str) -> Biography | None:
    """The life of a memory of the scope's project, or None. Raises HotUnavailable, ArchiveUnavailable."""
    check_id("id", memory_id)
    project = Scope(scope.tenant, scope.project).check()
    hot = await records.get(project, memory_id)
    stone = await records.tombstones.inside(project, memory_id)
    mine = {"tenant": project.tenant, "project": project.project}
    with archive_errors("read the biography"):
        found = archive.versions.find({"memory_id": memory_id, **mine}, {"content": 0, "content_zstd": 0, "embedding": 0})
        versions = [one async for one in found.sort("version", 1).limit(BIOGRAPHY_VERSIONS_MAX)]
        current = await archive.memories.find_one({"_id": memory_id, **mine}, {"content": 0, "content_zstd": 0, "embedding": 0})
        made_of_it = {"derived_from": memory_id, "derived_from.0": {"$exists": True}, **mine}  # as the partial index has it
        derived = await archive.memories.count_documents(made_of_it)
        told = archive.database["receipts"].find({"memories.id": memory_id, **mine}, {"_id": 1}).sort("seq", 1)
        receipts = [one["_id"] async for one in told]
    if hot is None and stone is None and current is None and not versions:
        return None
    if hot is not None:
        state = "hot" if current and not current.get("tombstone") else "only hot"
    else:
        state = "forgotten" if stone or not current or current.get("tombstone") else "archive"
    return Biography(
        id=memory_id, state=state, tier=str(hot.tier) if hot else str((current or {}).get("tier", "")),
        pending=bool(hot and hot.pending), accesses=hot.access_count if hot else int((current or {}).get("access_count", 0)),
        last_accessed=hot.last_accessed if hot else None, derived=derived, given_up=await _letters(records, memory_id),
        receipts=receipts, chapters=_chapters(versions, stone, current),
    )  # fmt: skip


def _chapters(
    versions: Sequence[Mapping[str, Any]], stone: Tombstone | None, current: Mapping[str, Any] | None
) -> list[Chapter]:
    """A forget takes the versions along; what is left of it is a tombstone in each store."""
    ends = [msgspec.structs.asdict(stone)] if stone else []
    ends += [dict(current)] if current and current.get("tombstone") else []
    told = [_chapter(one) for one in versions] + [_chapter({**one, "op": "forgotten"}) for one in ends]
    return sorted({one.version: one for one in told}.values(), key=lambda one: one.version)


def _chapter(version: Mapping[str, Any]) -> Chapter:
    moment = version.get("recorded_at", version.get("forgotten_at"))
    return Chapter(
        int(version["version"]), str(version["op"]), str(version.get("tier", "")), str(version.get("agent_id", "")),
        from_microseconds(int(moment)) if moment is not None else None,
    )  # fmt: skip


async def _letters(records: Records, memory_id: str) -> list[str]:
    """Why, of the latest dead letters, those about this memory were given up."""
    client: Any = records.redis
    with hot_errors("look at the dead letters"):
        rows = await client.xrevrange(DEAD_LETTERS, count=BIOGRAPHY_LETTERS_MAX)
    mine = [fields for _, fields in rows if fields.get(b"id") == memory_id.encode()]
    return [f"{one.get(b'group', b'').decode()}: {one.get(b'reason', b'').decode()}" for one in mine]
