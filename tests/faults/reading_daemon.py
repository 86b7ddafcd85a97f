"""The daemon with an embedder that reads context, which no endpoint over HTTP does: the laboratory starts it as a process."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

from memoryd.config import load_settings
from memoryd.daemon import serve
from memoryd.embed.protocol import Vectors
from memoryd.retry import stop_on_signals
from memoryd_telemetry.logs import setup_logs
from tests.fakes import HashEmbedder
from tests.faults.embeddings import DIMS
from tests.faults.measure import say

SECONDS_MAX = 0.1  # long enough for something to happen while a vector is made


class Reader(HashEmbedder):
    """Takes its time, as a model does."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text."""
        await asyncio.sleep(random.uniform(0, SECONDS_MAX))
        return await super().embed(texts)


async def main() -> None:
    """Serves until it is told to stop."""
    settings = load_settings()
    setup_logs(settings.log_level, "memoryd", kept=False)
    embedder = Reader(DIMS, settings.model, reads_context=True)
    await serve(settings, stop_on_signals(), ready=_say_ready, embedder=embedder)


def _say_ready() -> None:
    say(json.dumps({"ready": True, "service": "daemon"}))


if __name__ == "__main__":
    asyncio.run(main())
