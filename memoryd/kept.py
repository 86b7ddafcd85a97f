"""What a process tells of its work and memoryd keeps itself: started here, for the daemon and for sync alike."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from memoryd.archive.store import Archive
from memoryd.config import Kept, LogsKept, Settings
from memoryd.logs import give_lines
from memoryd.metrics.keep import keep_metrics
from memoryd.traces.keep import Giving
from memoryd_telemetry.logs import kept_lines
from memoryd_telemetry.metrics import kept_metrics
from memoryd_telemetry.tracing import kept_spans


def giving_of(settings: Settings, redis: Redis) -> Giving | None:
    """What gives this process's spans to Redis; None where they are not kept."""
    spans = kept_spans() if settings.traces is not Kept.NONE else None
    return Giving(redis, spans) if spans else None


def keep_telemetry(
    tasks: asyncio.TaskGroup, settings: Settings, archive: Archive, giving: Giving | None, stop: asyncio.Event, *,
    service: str, name: str,
) -> None:  # fmt: skip
    """Starts what gives spans, metrics and log lines to the stores, as far as the settings say so and the set-up has begun them."""
    if giving:
        tasks.create_task(giving.run(stop), name="keep spans")
    if settings.metrics is not Kept.NONE and (metrics := kept_metrics()):
        keeping = keep_metrics(settings, metrics, archive, stop, service=service, process=name)
        tasks.create_task(keeping, name="keep metrics")
    if settings.logs is LogsKept.MONGO and (lines := kept_lines()):
        tasks.create_task(give_lines(archive, lines, stop, process=name), name="keep logs")
