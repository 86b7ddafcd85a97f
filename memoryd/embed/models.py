"""The embedding model of a Redis, as one daemon uses it: when the model is changed, the daemon changes with it.

`memoryd reindex --model` fills another model's vectors beside those that are read, and then has everybody read them. A
daemon sees that in the schema's state, opens the new model, and asks and embeds with it from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.config import EmbedderKind, Settings
from memoryd.embed.batching import MicroBatcher
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.open import open_embedder
from memoryd.embed.protocol import Embedder, ModelFailed, Vectors
from memoryd.embed.vectors import empty
from memoryd.hot.client import hot_errors
from memoryd.hot.records import Records
from memoryd.keys import SCHEMA
from memoryd_schemas.redis_state import Vectors as Kept
from memoryd_schemas.redis_state import load_state
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.embed")

OPEN_AGAIN_SECONDS = 5.0  # after a model could not be opened: somebody may be installing it


class Unopened:
    """Stands for a model that cannot be opened here: recall goes on by words, what is stored waits."""

    def __init__(self, model: str, dims: int) -> None:
        self.model = model
        self.dims = dims

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Fails, and says what to do."""
        if not texts:
            return empty(self.dims)
        raise ModelFailed(
            f"this Redis's vectors are of {self.model} now, which cannot be opened here", retryable=True,
            hint="see this daemon's log; start it again with MEMORYD_MODEL set to that model",
        )  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""


class Models:
    """Keeps a daemon's cache, records and search at the model that is read."""

    def __init__(self, redis: Redis, settings: Settings, cache: EmbeddingCache, records: Records) -> None:
        self._redis = redis
        self._settings = settings
        self._cache = cache
        self._records = records
        self._opened: list[Embedder] = []
        self._failed_at = 0.0
        self._one = asyncio.Lock()

    async def follow(self) -> None:
        """Looks which model is read now, and changes to it. Raises HotUnavailable."""
        async with self._one:
            with hot_errors("look for the model"):
                state = await load_state(self._redis, SCHEMA)
            if state is None or state.vectors is None:
                return
            if self._due(state.vectors):
                self._cache.change(await self._open(state.vectors))
                log.info("embed.model_changed", model=state.vectors.model)
            self._records.slot = state.vectors.slot

    def _due(self, kept: Kept) -> bool:
        used = self._cache.embedder
        if (used.model, used.dims) != (kept.model, kept.settings.dims):
            return True
        return isinstance(used, Unopened) and asyncio.get_running_loop().time() - self._failed_at > OPEN_AGAIN_SECONDS

    async def _open(self, kept: Kept) -> Embedder:
        try:
            model = await open_embedder(with_source(self._settings, kept.source))
        except Exception as error:  # whatever a model's loading can raise: this daemon goes on by words
            log.warning("embed.unopened", model=kept.model, reason=type(error).__name__)
            self._failed_at = asyncio.get_running_loop().time()
            return Unopened(kept.model, kept.settings.dims)
        if model is None or (model.model, model.dims) != (kept.model, kept.settings.dims):
            log.warning("embed.unopened", model=kept.model, reason=f"the source gives {model.model if model else 'none'}")
            if model:
                await model.close()
            self._failed_at = asyncio.get_running_loop().time()
            return Unopened(kept.model, kept.settings.dims)
        self._opened.append(MicroBatcher(model, wait_seconds=self._settings.embed_wait_seconds))
        return self._opened[-1]

    async def close(self) -> None:
        """Frees what was opened here."""
        for model in self._opened:
            with contextlib.suppress(ModelFailed):
                await model.close()


def source_of(settings: Settings) -> str:
    """How to open the model of these settings again, elsewhere: no secret is in it."""
    about = {
        "embedder": settings.embedder, "model": settings.model, "embed_url": settings.embed_url,
        "embed_turns_after": settings.embed_turns_after,
    }  # fmt: skip
    return msgspec.json.encode(about).decode()


def with_source(settings: Settings, source: str) -> Settings:
    """The settings with another model; without a source as they are."""
    about: dict[str, Any] = msgspec.json.decode(source) if source else {}
    if about:
        about.setdefault("embed_turns_after", 0)  # an earlier memoryd has not written it
        about["embedder"] = EmbedderKind(about["embedder"])
    return settings.model_copy(update=about)
