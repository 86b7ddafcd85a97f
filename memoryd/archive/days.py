"""Days in the archive: what happened on them, by valid time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from memoryd.archive.client import archive_errors
from memoryd.archive.living import LIVING, living_in
from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.model.scope import Scope

DAY_MICROSECONDS = 24 * 3600 * 1_000_000
_BIRTH = datetime(1970, 1, 1, tzinfo=UTC).date()


async def happened(archive: Archive, scope: Scope, since: datetime, before: datetime) -> list[str]:
    """The ids of the scope's memories that became true in this time. Looks through all of the scope's."""
    query = {**living_in(scope), "valid_from": _between(since, before)}
    with archive_errors("look at a day"):
        return [one["_id"] async for one in archive.memories.find(query, {"_id": 1})]


async def days_of_agents(archive: Archive, since: datetime, before: datetime) -> list[tuple[Scope, date]]:
    """Each agent and day of this time on which one of its memories became true, in order. One look through the collection."""
    day = {"$floor": {"$divide": ["$valid_from", DAY_MICROSECONDS]}}
    names = {"tenant": "$tenant", "project": "$project", "agent": "$agent_id", "day": day}
    steps = [
        {"$match": {**LIVING, "agent_id": {"$gt": ""}, "valid_from": _between(since, before)}},
        {"$group": {"_id": names}}, {"$sort": {"_id": 1}},
    ]  # fmt: skip
    with archive_errors("look at the days"):
        found = [one["_id"] async for one in await archive.memories.aggregate(steps)]
    return [
        (Scope(one["tenant"], one["project"], one["agent"]), _BIRTH + timedelta(days=int(one["day"]))) for one in found
    ]


def _between(since: datetime, before: datetime) -> dict[str, int]:
    return {"$gte": to_microseconds(since), "$lt": to_microseconds(before)}
