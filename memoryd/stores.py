"""The open tiers of one process, and what they must hold before it works."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.clock import Clock, SystemClock
from memoryd.config import Settings
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.models import Models
from memoryd.embed.protocol import Embedder
from memoryd.errors import SchemaMismatch
from memoryd.hot.client import hot_errors, open_blocking_redis, open_redis
from memoryd.hot.events import ORIGIN
from memoryd.hot.journal import create_groups
from memoryd.hot.records import Records
from memoryd.keys import Keys
from memoryd.rerank import Reranker, open_reranker
from memoryd.summarize.open import open_summarizer
from memoryd.summarize.protocol import Summarizer
from memoryd_schemas.errors import SchemaError
from memoryd_schemas.indexes import VectorSettings
from memoryd_schemas.redis_apply import apply_redis

MongoClient = Any
"""An `AsyncMongoClient`, or a Motor client: what the daemon asks of them is the same."""


@dataclass(frozen=True)
class Stores:
    """The open tiers and the model of one daemon."""

    redis: Redis
    blocking: Redis
    archive: Archive
    records: Records
    cache: EmbeddingCache | None
    """In front of the model that is read; None without one."""
    models: Models | None
    reranker: Reranker | None
    summarizer: Summarizer
    keys: Keys
    clock: Clock

    @property
    def embedder(self) -> Embedder | None:
        """The model that is read, as far as this daemon has noticed."""
        return self.cache.embedder if self.cache else None


@asynccontextmanager
async def open_both(settings: Settings) -> AsyncIterator[tuple[Records, Archive, str]]:
    """Both stores for a command that brings no model: the records, the archive, and the name of the model whose vectors Redis
    holds, empty without one. Raises HotUnavailable."""
    async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as mongo:
        records = Records(redis, Keys(settings.buckets), settings.vector_type)
        with hot_errors("open"):
            state: Any = redis
            model, slot = await state.hmget(names.SCHEMA, ["model", "slot"])
        records.slot = (slot or b"").decode()
        yield records, Archive(mongo[settings.mongo_database]), (model or b"").decode()


@asynccontextmanager
async def open_stores(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    summarizer: Summarizer | None = None,
    mongo: MongoClient | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Stores]:
    """Opens Redis, MongoDB and the model, and closes all of it in reverse order.

    Raises ModelUnavailable. MongoDB may be away: it is met when it comes.
    """
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        blocking = await stack.enter_async_context(open_blocking_redis(settings.redis_url))
        if mongo is None:
            own = mongo = open_mongo(settings.mongo_url)
            stack.push_async_callback(own.close)
        if embedder is None:
            embedder = await _open_model(settings, stack)
        if summarizer is None:
            summarizer = open_summarizer(settings)
            stack.push_async_callback(summarizer.close)
        keys = Keys(settings.buckets)
        archive = Archive(mongo[settings.mongo_database])
        records = Records(redis, keys, settings.vector_type)
        cache = EmbeddingCache(redis, embedder) if embedder else None
        models = Models(redis, settings, cache, records) if cache else None
        if models:
            stack.push_async_callback(models.close)
        if reranker := await open_reranker(settings):
            stack.push_async_callback(reranker.close)
        yield Stores(
            redis, blocking, archive, records, cache, models, reranker, summarizer, keys, clock or SystemClock()
        )


async def _open_model(settings: Settings, stack: contextlib.AsyncExitStack) -> Embedder | None:
    from memoryd.embed import MicroBatcher, open_embedder

    model = await open_embedder(settings)
    if model is None:
        return None
    batcher = MicroBatcher(model, wait_seconds=settings.embed_wait_seconds)
    stack.push_async_callback(batcher.close)
    return batcher


async def prepare_redis(redis: Redis, keys: Keys, settings: Settings, embedder: Embedder | None) -> None:
    """Applies the index definitions and creates the journals' groups. Raises SchemaMismatch, HotUnavailable."""
    try:
        with hot_errors("prepare Redis"):
            await apply_redis(
                redis,
                state_key=names.SCHEMA,
                model=embedder.model if embedder else None,
                vector=vector_settings(settings, embedder.dims) if embedder else None,
                buckets=settings.buckets,
            )
            await create_groups(redis, keys)
            if not await redis.hexists(names.SCHEMA, ORIGIN):  # asked first: a full Redis refuses HSETNX, too
                await redis.hsetnx(names.SCHEMA, ORIGIN, secrets.token_hex(8))
    except SchemaError as error:
        raise SchemaMismatch(str(error), hint=error.hint) from error


def vector_settings(settings: Settings, dims: int) -> VectorSettings:
    """How vectors are indexed."""
    return VectorSettings(
        dims=dims,
        algorithm=settings.vector_algorithm,
        datatype=settings.vector_type,
        m=settings.vector_m,
        ef_construction=settings.vector_ef_construction,
        ef_runtime=settings.vector_ef_runtime,
    )
