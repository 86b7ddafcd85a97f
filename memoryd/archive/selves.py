"""What the archive knows of an agent: counts and samples of its memories, and the events of its log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from memoryd.archive.codec import Document, to_record
from memoryd.archive.documents import within
from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.model.introspection import AGES, OLDER, Counts, Event
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

SECONDS_MAX_MS = 3_500  # of a look that an agent waits for
OF_EVENT = ("type", "outcome", "error_kind", "latency_us")


class ArchivedSelf:
    """The agents of an archive's database."""

    name = "archive"

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def counts(self, scope: Scope, now: datetime) -> Counts:
        """How many memories the scope has, by type, tier and age."""
        steps = [
            {"$match": _living(scope)},
            {"$group": {"_id": {"type": "$memory_type", "tier": "$tier", "age": _age(now)}, "n": {"$sum": 1}}},
        ]
        counts = Counts()
        with self._archive.asking("count memories"):
            async for row in await self._archive.memories.aggregate(steps, maxTimeMS=SECONDS_MAX_MS):
                counts.by_type[row["_id"]["type"]] += int(row["n"])
                counts.by_tier[row["_id"]["tier"]] += int(row["n"])
                counts.by_age[row["_id"]["age"]] += int(row["n"])
        return counts

    async def newest(self, scope: Scope, limit: int) -> list[Memory]:
        """The memories that were stored last."""
        return await self._sorted(_living(scope), "created_at", -1, limit)

    async def oldest(self, scope: Scope) -> list[Memory]:
        """The memory that was stored first."""
        return await self._sorted(_living(scope), "created_at", 1, 1)

    async def most_used(self, scope: Scope, limit: int) -> list[Memory]:
        """The memories that were stored again most often."""
        return await self._sorted({**_living(scope), "access_count": {"$gt": 0}}, "access_count", -1, limit)

    async def events(self, scope: Scope, since: int, limit: int) -> list[Event]:
        """The newest events of the scope's logs that happened since a time in microseconds."""
        query = {**_living(scope), "memory_type": "episodic", "metadata.event.type": {"$type": "string"}}
        query["valid_from"] = {"$gte": since}
        wanted = {"source_tool": 1, "valid_from": 1, **{f"metadata.event.{name}": 1 for name in OF_EVENT}}
        with self._archive.asking("read events"):
            found = (
                self._archive.memories.find(query, wanted)
                .sort([("valid_from", -1), ("_id", 1)])
                .limit(limit)
                .allow_disk_use(True)
                .max_time_ms(SECONDS_MAX_MS)
            )
            return [_event(one) async for one in found]

    async def _sorted(self, query: Document, name: str, order: int, limit: int) -> list[Memory]:
        with self._archive.asking("look at memories"):
            found = (
                self._archive.memories.find(query, {"embedding": 0})
                .sort([(name, order), ("_id", 1)])
                .limit(limit)
                .allow_disk_use(True)
                .max_time_ms(SECONDS_MAX_MS)
            )
            return [to_record(one).memory async for one in found]


def _living(scope: Scope) -> Document:
    return {**within(scope), "tombstone": {"$ne": True}, "seal": {"$exists": True}}


def _age(now: datetime) -> Document:
    branches = [
        {"case": {"$gt": ["$created_at", to_microseconds(now - age)]}, "then": name} for name, age in AGES.items()
    ]
    return {"$switch": {"branches": branches, "default": OLDER}}


def _event(document: Document) -> Event:
    """An event as far as it is one: whoever edits the metadata by hand may leave anything there."""
    event: dict[str, Any] = document["metadata"]["event"]
    latency = event.get("latency_us")
    return Event(
        id=document["_id"], event_type=str(event["type"]), tool=document.get("source_tool", ""),
        outcome=str(event.get("outcome", "")), error_kind=str(event.get("error_kind") or ""),
        latency_us=int(latency) if isinstance(latency, int) and not isinstance(latency, bool) else None,
        at=int(document["valid_from"]),
    )  # fmt: skip
