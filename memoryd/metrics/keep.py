"""Gives a process's metrics to the places that keep them, each in its own rhythm.

What cannot be written at once is lost and counted: nothing waits for it, and it is not written later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from memoryd.archive.store import Archive
from memoryd.config import Kept, Settings
from memoryd.errors import MemorydError
from memoryd.hot.client import open_redis
from memoryd.keys import Keys
from memoryd.limits import METRICS_ARCHIVED_SECONDS, METRICS_PERIOD_SECONDS
from memoryd.metrics.documents import DocumentSink
from memoryd.metrics.periods import Measured, Periods
from memoryd.metrics.series import SeriesSink
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.readings import KeptMetrics

log = get_logger("memoryd.metrics")


class Sink(Protocol):
    """A place that keeps metrics."""

    name: str

    async def write(self, measured: Sequence[Measured]) -> int:
        """Keeps what a period has brought, in some seconds at most; answers how much of it there was no room for. Raises
        MemorydError."""


async def keep_metrics(
    settings: Settings, kept: KeptMetrics, archive: Archive, stop: asyncio.Event, *, service: str, process: str
) -> None:
    """Writes to Redis, and to MongoDB if the settings say so, until told to stop and then once more."""
    # A connection of its own: no verb ever waits for it, and nothing is sent twice.
    async with open_redis(settings.redis_url, connections=1, tries=0) as redis, asyncio.TaskGroup() as tasks:
        series = SeriesSink(redis, Keys(settings.buckets), service)
        tasks.create_task(give(series, Periods(kept), stop, seconds=METRICS_PERIOD_SECONDS))
        if settings.metrics is Kept.MONGO:
            documents = DocumentSink(archive, service, process)
            tasks.create_task(give(documents, Periods(kept), stop, seconds=METRICS_ARCHIVED_SECONDS))


async def give(sink: Sink, periods: Periods, stop: asyncio.Event, *, seconds: float) -> None:
    """Gives one sink what each period has brought."""
    stopped, losing = False, False
    while not stopped:
        stopped = await wait_for_stop(stop, seconds)
        measured = periods.next()
        try:
            lost = await sink.write(measured)
        except MemorydError as error:
            lost = len(measured)
            if not losing:
                log.warning("metrics.lost", sink=sink.name, code=error.code)
            losing = True
        else:
            losing = False
        if lost:
            measure(telemetry.METRICS_DROPPED, lost, {telemetry.OUTCOME: sink.name})
