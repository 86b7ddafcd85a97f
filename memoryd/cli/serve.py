"""memoryd serve"""

from __future__ import annotations

import contextlib
import json
import sys

from memoryd.cli import output


def serve() -> None:
    """Run the daemon: serve agents and embed what they store. Settings come from MEMORYD_* (see `memoryd config`)."""
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    output.run(_serve())


async def _serve() -> None:
    import asyncio

    from memoryd import daemon
    from memoryd.config import Kept, LogsKept, load_settings
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
        await daemon.serve(settings, daemon.stop_on_signals(), ready=_say_ready)
    finally:
        for end in endings:
            await asyncio.to_thread(end)


def _say_ready() -> None:
    sys.stdout.write(json.dumps({"ready": True, "service": "daemon"}) + "\n")
    sys.stdout.flush()
