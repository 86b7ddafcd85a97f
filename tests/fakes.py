"""The only fakes: an embedder that knows no meaning, and a clock that is told the time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from memoryd.embed.protocol import InContext, ModelFailed, Vectors


class HashEmbedder:
    """Equal texts get equal vectors, different ones unrelated ones; it refuses texts that contain `refused`.

    With `reads_context` it reads what stands around a text too: the same text is another one then.
    """

    def __init__(self, dims: int = 32, model: str = "hash-embedder", *, reads_context: bool = False) -> None:
        self.model = model
        self.reads_context = reads_context
        self.dims = dims
        self.calls = 0
        self.refused = ""
        self.away = False

    async def embed_in_context(self, texts: Sequence[InContext]) -> Vectors:
        """One unit vector a text and what stands around it."""
        return await self.embed(["\0".join([one.before, one.own, *filter(None, [one.after])]) for one in texts])

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text."""
        self.calls += 1
        if self.away:
            raise ModelFailed("the model is away", retryable=True)
        if self.refused and any(self.refused in text for text in texts):
            raise ModelFailed("the model refuses a text", retryable=False)
        rows = [_vector(text, self.dims) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.dims)

    async def close(self) -> None:
        """Nothing to free."""


def _vector(text: str, dims: int) -> Vectors:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    row = np.random.default_rng(seed).standard_normal(dims)
    return np.asarray(row / np.linalg.norm(row), dtype=np.float32)


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, moment: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """The moment it was told, one microsecond later each time, so that no two writes share a time."""
        self.moment += timedelta(microseconds=1)
        return self.moment
