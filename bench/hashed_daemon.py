"""The daemon with an embedder that takes no time to speak of, as a runtime would bring its own: `python -m bench.hashed_daemon`."""

from __future__ import annotations

import asyncio
import contextlib
import json

from memoryd.config import load_settings
from memoryd.daemon import serve
from memoryd.interpreter import serve_for_weeks
from memoryd.retry import stop_on_signals
from memoryd_telemetry.logs import setup_logs
from tests.fakes import HashEmbedder

DIMS = 384  # as many as the default model's


async def main() -> None:
    """What `memoryd serve` does, with this embedder in the place of the configured one."""
    settings = load_settings()
    setup_logs(settings.log_level, "memoryd", kept=False)
    await serve(settings, stop_on_signals(), ready=_say_ready, embedder=HashEmbedder(DIMS))


def _say_ready() -> None:
    serve_for_weeks()
    print(json.dumps({"ready": True, "service": "daemon"}), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(main())
