"""memoryd serve"""

from __future__ import annotations

import contextlib
import json
import sys

from memoryd.cli import options, output
from memoryd.interpreter import serve_for_weeks


def serve(workers: options.Workers = 1) -> None:
    """Run the daemon: serve agents and embed what they store. Settings come from MEMORYD_* (see `memoryd config`).

    With --workers, the first one answers probes on MEMORYD_HEALTH_PORT, each further one on the port after.
    """
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    output.run(_serve() if workers == 1 else _serve_side_by_side(workers))


async def _serve() -> None:
    import asyncio

    from memoryd import daemon
    from memoryd.config import Kept, LogsKept, load_settings
    from memoryd.retry import stop_on_signals
    from memoryd_telemetry.logs import setup_logs
    from memoryd_telemetry.metrics import setup_metrics
    from memoryd_telemetry.tracing import Sampling, setup_tracing

    settings = load_settings()
    setup_logs(settings.log_level, "memoryd", kept=settings.logs is not LogsKept.NONE)
    sampling = Sampling(settings.trace_sample, settings.trace_slow_milliseconds)
    endings = [
        setup_tracing("memoryd", kept=settings.traces is not Kept.NONE, sampling=sampling, stores=settings.trace_stores),
        setup_metrics("memoryd", fetched=bool(settings.health_port), kept=settings.metrics is not Kept.NONE),
    ]
    try:
        await daemon.serve(settings, stop_on_signals(), ready=_say_ready)
    finally:
        for end in endings:
            await asyncio.to_thread(end)


async def _serve_side_by_side(workers: int) -> None:
    from memoryd.config import load_settings
    from memoryd.local.workers import serve_with_workers
    from memoryd.retry import stop_on_signals
    from memoryd_telemetry.logs import setup_logs

    settings = load_settings()
    setup_logs(settings.log_level, "memoryd", kept=False)
    await serve_with_workers(workers, stop_on_signals(), health_port=settings.health_port, ready=_say_ready)


def _say_ready() -> None:
    serve_for_weeks()
    sys.stdout.write(json.dumps({"ready": True, "service": "daemon"}) + "\n")
    sys.stdout.flush()
