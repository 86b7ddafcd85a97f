"""Agents' logs in the archive: the position of every event that is archived, and the data that only the archive keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import DeleteMany, UpdateOne

from memoryd.archive.batch import Operation
from memoryd.archive.bulk import write_unordered
from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document, to_record
from memoryd.archive.documents import within
from memoryd.archive.store import Archive
from memoryd.model.episode import EpisodeFilter
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

SECONDS_MAX_MS = 5_000  # of a search that an agent waits for


@dataclass
class EpisodeBatch:
    """What one bulk write is to do with logs."""

    logged: dict[str, Document] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    def log(self, memory_id: str, scope: Scope, position: int, data: bytes | None) -> None:
        """An event in its place. Its later versions have the place as well, and no data."""
        place = {"tenant": scope.tenant, "project": scope.project, "agent_id": scope.agent, "session_id": scope.session}
        change: Document = {"$setOnInsert": {**place, "position": position}}
        if data is not None:
            change["$set"] = {"data": data}
        if memory_id not in self.logged or data is not None:
            self.logged[memory_id] = change


class EpisodeArchive:
    """The logs of an archive's database."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._episodes = archive.collection("episodes")

    async def write(self, batch: EpisodeBatch) -> None:
        """Writes positions once, and removes what is forgotten. Repeating it is harmless."""
        with archive_errors("archive episodes"):
            logged: list[Operation] = [UpdateOne({"_id": one}, to, upsert=True) for one, to in batch.logged.items()]
            await write_unordered(self._episodes, logged)
            if batch.forgotten:
                await write_unordered(self._episodes, [DeleteMany({"_id": {"$in": sorted(batch.forgotten)}})])

    async def between(self, scope: Scope, after: int, before: int | None, limit: int) -> list[tuple[int, str]]:
        """Position and id of the scope's events between two positions (both exclusive), in order."""
        position = {"$gt": after} | ({} if before is None else {"$lt": before})
        # An agent's log is its own: a scope without one has a log too.
        query = {**within(scope), "agent_id": scope.agent, "position": position}
        with self._archive.asking("read an agent's log"):
            found = self._episodes.find(query, {"position": 1}).sort("position", 1).limit(limit)
            return [(int(one["position"]), one["_id"]) async for one in found]

    async def data(self, memory_id: str) -> bytes | None:
        """The data that only the archive keeps; None when it has none of this event."""
        with self._archive.asking("get an episode's data"):
            found = await self._episodes.find_one({"_id": memory_id}, {"data": 1})
        return bytes(found["data"]) if found and "data" in found else None

    async def memories(self, scope: Scope, ids: Sequence[str]) -> dict[str, Memory]:
        """Those of the memories that the archive holds for the scope, by id."""
        query = {"_id": {"$in": list(ids)}, "tombstone": {"$ne": True}, "seal": {"$exists": True}}
        with self._archive.asking("get episodes"):
            documents = [one async for one in self._archive.memories.find(query, {"embedding": 0})]
            found = [to_record(one).memory for one in await self._archive.packing.opened(documents)]
        return {one.id: one for one in found if scope.holds(one.scope)}

    async def newest(self, scope: Scope, wanted: EpisodeFilter, limit: int) -> list[Memory]:
        """The scope's newest events that fit."""
        with self._archive.asking("search episodes"):
            found = (
                self._archive.memories.find(_events(scope, wanted), {"embedding": 0})
                .sort([("valid_from", -1), ("_id", 1)])
                .limit(limit)
                .max_time_ms(SECONDS_MAX_MS)
            )
            documents = await self._archive.packing.opened([one async for one in found])
            return [to_record(one).memory for one in documents]


def _events(scope: Scope, wanted: EpisodeFilter) -> Document:
    query: dict[str, Any] = {
        **within(scope), "memory_type": "episodic", "tombstone": {"$ne": True}, "seal": {"$exists": True},
        "metadata.event.type": {"$in": list(wanted.event_types)} if wanted.event_types else {"$type": "string"},
    }  # fmt: skip
    chosen: Mapping[str, Sequence[str]] = {
        "metadata.event.outcome": wanted.outcomes, "metadata.event.error_kind": wanted.error_kinds,
        "source_tool": wanted.tools,
    }  # fmt: skip
    query |= {name: {"$in": list(values)} for name, values in chosen.items() if values}
    span = {"$gte": wanted.since} if wanted.since is not None else {}
    span |= {"$lte": wanted.until} if wanted.until is not None else {}
    return {**query, "valid_from": span} if span else query
