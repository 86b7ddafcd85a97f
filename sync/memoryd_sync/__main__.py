"""`memoryd-sync`: the sync service as a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys

from memoryd.config import load_settings
from memoryd.daemon import stop_on_signals
from memoryd.errors import MemorydError
from memoryd_sync.service import sync
from memoryd_telemetry.logs import setup_logs
from memoryd_telemetry.metrics import setup_metrics
from memoryd_telemetry.tracing import setup_tracing


def main() -> None:
    """Runs until SIGINT or SIGTERM; exit code 1 when it cannot go on."""
    try:
        settings = load_settings()
        setup_logs(settings.log_level, "memoryd-sync")
        endings = [setup_tracing("memoryd-sync"), setup_metrics("memoryd-sync")]
        try:
            asyncio.run(_run(settings))
        finally:
            for end in endings:
                end()
    except MemorydError as error:
        sys.exit(f"memoryd-sync: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))


async def _run(settings: object) -> None:
    from memoryd.config import Settings

    assert isinstance(settings, Settings)
    await sync(settings, stop_on_signals(), ready=_say_ready)


def _say_ready() -> None:
    sys.stdout.write(json.dumps({"ready": True, "service": "sync"}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
