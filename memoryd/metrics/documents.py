"""Metrics in MongoDB's collection `metrics`: one document for each process and period."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pymongo
from pymongo.write_concern import WriteConcern

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.limits import METRIC_SERIES_MAX, METRICS_WRITE_SECONDS
from memoryd.metrics.periods import Measured

COLLECTION = "metrics"
UNCONCERNED = WriteConcern(w=1)  # what a failover takes of them is not missed


class DocumentSink:
    """Writes the documents of one process, which is called `process` among those of its service."""

    name = "mongo"

    def __init__(self, archive: Archive, service: str, process: str) -> None:
        self._metrics: Any = archive.database.get_collection(COLLECTION, write_concern=UNCONCERNED)
        self._about = {"service": service, "process": process}
        self._since = time.monotonic()

    async def write(self, measured: Sequence[Measured]) -> int:
        """Writes one document; answers how many series had no room in it. Raises ArchiveUnavailable, ArchiveRefused."""
        values = [{"metric": one.metric, **one.labels, **one.values} for one in measured[:METRIC_SERIES_MAX]]
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        if values:
            document = {**self._about, "at": SystemClock().now(), "seconds": round(seconds, 3), "values": values}
            with archive_errors("keep metrics"), pymongo.timeout(METRICS_WRITE_SECONDS):
                await self._metrics.insert_one(document)
        return len(measured) - len(values)
