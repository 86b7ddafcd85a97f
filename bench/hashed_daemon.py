"""The daemon with an embedder that takes no time to speak of, as a runtime would bring its own: `python -m bench.hashed_daemon
hashed|words`. Different texts get unrelated vectors, or those that share words get vectors that are near each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence

import numpy as np

from bench.harness import OF_WORDS
from bench.peers.vectors import DIMS, of_words
from memoryd.config import load_settings
from memoryd.daemon import serve
from memoryd.embed.protocol import Vectors
from memoryd.interpreter import serve_for_weeks
from memoryd.retry import stop_on_signals
from memoryd_telemetry.logs import setup_logs
from tests.fakes import HashEmbedder


class WordsEmbedder(HashEmbedder):
    """Texts that share words get vectors that are near each other."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text."""
        return np.array([of_words(text) for text in texts], dtype=np.float32).reshape(len(texts), self.dims)


async def main() -> None:
    """What `memoryd serve` does, with this embedder in the place of the configured one."""
    settings = load_settings()
    setup_logs(settings.log_level, "memoryd", kept=False)
    embedder = (WordsEmbedder if sys.argv[1] == OF_WORDS else HashEmbedder)(DIMS)
    await serve(settings, stop_on_signals(), ready=_say_ready, embedder=embedder)


def _say_ready() -> None:
    serve_for_weeks()
    print(json.dumps({"ready": True, "service": "daemon"}), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(main())
