"""The reports of runs in MongoDB's collection `job_runs`, where each stays for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.archive.client import ArchiveRefused, archive_errors
from memoryd.archive.store import Archive
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.headroom import memory_use
from memoryd.hot.sizes import bytes_by_tier
from memoryd.limits import JOB_RUNS_PAGE_MAX, TIER_SAMPLE_MAX
from memoryd.model.job import JobRun
from memoryd.model.memory import Tier

COLLECTION = "job_runs"
ARCHIVED = "archived"  # the index of what is in the tier archive


class JobRuns:
    """The reports of one database."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._runs = archive.collection(COLLECTION)

    async def keep(self, run: JobRun) -> None:
        """Keeps a report. Raises ArchiveUnavailable, ArchiveRefused."""
        document = {name: value for name, value in msgspec.structs.asdict(run).items() if name != "id"}
        with archive_errors("report a job"):
            await self._runs.replace_one({"_id": run.id}, document, upsert=True)

    async def get(self, run_id: str) -> JobRun | None:
        """One report."""
        with archive_errors("read a job's report"):
            found = await self._runs.find_one({"_id": run_id})
        return _run(found) if found else None

    async def latest(self, job: str = "", *, count: int = JOB_RUNS_PAGE_MAX) -> Sequence[JobRun]:
        """The latest reports, of one job or of all; newest first."""
        with archive_errors("read the jobs' reports"):
            found = self._runs.find({"job": job} if job else {}).sort("started_at", -1).limit(min(count, JOB_RUNS_PAGE_MAX))
            return [_run(one) async for one in found]


async def bytes_of(redis: Redis, archive: Archive) -> dict[str, int]:
    """What each store takes: Redis of its memory, MongoDB of its disk with its indexes; and about what the memories of each tier
    take there, without indexes. MongoDB's only if it answers and tells."""
    used, _ = await memory_use(redis)
    sizes = {"redis": used, **await bytes_by_tier(redis)}
    with contextlib.suppress(ArchiveUnavailable, ArchiveRefused), archive.asking("measure the archive"):
        about: Mapping[str, Any] = await archive.database.command("dbStats")
        sizes["mongodb"] = int(about["storageSize"]) + int(about["indexSize"])
        sizes[Tier.ARCHIVE] = await _packed_bytes(archive)
    return sizes


async def _packed_bytes(archive: Archive) -> int:
    """As many documents as the tier archive has, each as large as some of them are on average."""
    there: dict[str, Any] = {"tier": Tier.ARCHIVE}
    count = await archive.memories.count_documents(there, hint=ARCHIVED)
    steps: list[dict[str, Any]] = [{"$match": there}, {"$limit": TIER_SAMPLE_MAX}, {"$project": {"size": {"$bsonSize": "$$ROOT"}}}]
    some = [one["size"] async for one in await archive.memories.aggregate(steps, hint=ARCHIVED)]
    return round(count * sum(some) / len(some)) if some else 0


def _run(document: Mapping[str, Any]) -> JobRun:
    known = {name: document[name] for name in JobRun.__struct_fields__ if name in document}
    times = {name: known[name].replace(tzinfo=UTC) for name in ("started_at", "finished_at")}
    return msgspec.convert({**known, **times, "id": document["_id"]}, JobRun)
