"""Vectors that were computed before, by scope, model and content: an unchanged sentence is embedded once.

The cache holds no text. A forget purges the vector of its content (`embed.follower`). A vector that was made in context
is not kept here: hardly a turn comes again after the same others, and it holds a trace of them, which would outlive them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import cast

import numpy as np
from redis.asyncio import Redis

from memoryd import keys
from memoryd.embed.protocol import Embedder, InContext, ModelFailed, Text, Vectors, reads_context
from memoryd.hot.client import hot_errors
from memoryd.limits import EMBED_CACHE_TTL_SECONDS
from memoryd.model.ids import hash_content
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure

PLACES_MAX = 1_000  # keys of one command: Redis is away from others for less than a millisecond


class EmbeddingCache:
    """An embedder in front of which Redis remembers; vectors are little-endian float32 bytes."""

    def __init__(self, redis: Redis, embedder: Embedder) -> None:
        self._redis = redis
        self.embedder = embedder
        self._former: list[str] = []

    def change(self, embedder: Embedder) -> None:
        """Embeds by another model from now on. What the former ones have left here is still found by a forget."""
        self._former = list(dict.fromkeys([*self._former, self.embedder.model]))
        self.embedder = embedder

    async def embed(
        self, scopes: Sequence[Scope], texts: Sequence[str], *, by: Embedder | None = None
    ) -> list[bytes]:
        """One vector a text; only the unknown ones go to the model, each once. Raises ModelFailed.

        `by`: the model that the caller has in mind, should it be changed meanwhile.
        """
        model = by or self.embedder
        places = [
            keys.embedding(scope, model.model, hash_content(text)) for scope, text in zip(scopes, texts, strict=True)
        ]
        if not places:
            return []
        with hot_errors("embedding cache"):
            found = cast("list[bytes | None]", await self._redis.mget(places))
        known = dict(zip(places, found, strict=True))
        hits = sum(vector is not None for vector in found)
        for outcome, count in (("hit", hits), ("miss", len(found) - hits)):
            if count:
                measure(telemetry.EMBED_CACHE_LOOKS, count, {telemetry.OUTCOME: outcome})
        unknown = {place: text for place, text in zip(places, texts, strict=True) if known[place] is None}
        if unknown:
            known |= await self._compute(model, unknown)
        return [vector for place in places if (vector := known[place]) is not None]

    async def embed_all(self, scopes: Sequence[Scope], texts: Sequence[Text], *, by: Embedder) -> list[bytes]:
        """The same where some texts are in context; these always go to the model, which reads context. Raises ModelFailed."""
        alone = [(scope, text) for scope, text in zip(scopes, texts, strict=True) if isinstance(text, str)]
        plain = iter(await self.embed([scope for scope, _ in alone], [text for _, text in alone], by=by))
        woven = [text for text in texts if isinstance(text, InContext)]
        read = iter(await self._read(by, woven) if woven else [])
        return [next(plain) if isinstance(text, str) else next(read) for text in texts]

    async def _compute(self, model: Embedder, texts: dict[str, str]) -> dict[str, bytes]:
        vectors = await self._measured(model.embed(list(texts.values())), len(texts))
        computed = dict(zip(texts, vectors, strict=True))
        with hot_errors("embedding cache"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for place, vector in computed.items():
                    pipe.set(place, vector, ex=EMBED_CACHE_TTL_SECONDS)
                await pipe.execute()
        return computed

    async def _read(self, model: Embedder, texts: list[InContext]) -> list[bytes]:
        assert reads_context(model), "who makes texts in context has asked"
        return await self._measured(model.embed_in_context(texts), len(texts))

    async def _measured(self, vectors: Awaitable[Vectors], count: int) -> list[bytes]:
        measure(telemetry.EMBED_BATCH_SIZE, count)
        started = time.perf_counter()
        try:
            return [row.tobytes() for row in np.asarray(await vectors, dtype="<f4")]
        except ModelFailed:
            measure(telemetry.EMBED_FAILURES)
            raise
        finally:
            measure(telemetry.EMBED_DURATION, time.perf_counter() - started)

    async def purge(self, scope: Scope, *content_hashes: str) -> int:
        """Drops the vectors of forgotten contents; how many there were."""
        with hot_errors("embedding cache"):
            return sum([int(await self._redis.delete(*places)) for places in self._places(scope, content_hashes)])

    async def count(self, scope: Scope, content_hashes: Sequence[str]) -> int:
        """How many of these contents have a vector here."""
        with hot_errors("embedding cache"):
            return sum([int(await self._redis.exists(*places)) for places in self._places(scope, content_hashes)])

    def _places(self, scope: Scope, content_hashes: Sequence[str]) -> Iterator[list[str]]:
        models = dict.fromkeys((self.embedder.model, *self._former))
        places = [keys.embedding(scope, model, one) for one in content_hashes for model in models]
        return (places[start : start + PLACES_MAX] for start in range(0, len(places), PLACES_MAX))


def model_of(cache: EmbeddingCache | None) -> str:
    """The model whose vectors are read; empty without one."""
    return cache.embedder.model if cache else ""
