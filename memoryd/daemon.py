"""The daemon: opens the tiers, serves agents, embeds what they store, until told to stop; then it drains."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.archive.store import Archive, open_mongo
from memoryd.clock import Clock, SystemClock
from memoryd.config import Settings
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.follower import EmbedFollower, EmbedState
from memoryd.embed.protocol import Embedder
from memoryd.engine import Engine
from memoryd.errors import SchemaMismatch
from memoryd.hot.client import hot_errors, open_blocking_redis, open_redis
from memoryd.hot.journal import Follower, create_groups
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.keys import Keys
from memoryd.protocol.server import Server
from memoryd.retry import work
from memoryd_schemas.errors import SchemaError
from memoryd_schemas.indexes import VectorSettings
from memoryd_schemas.redis_apply import apply_redis
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.daemon")

MongoClient = Any
"""An `AsyncMongoClient`, or a Motor client: what the daemon asks of them is the same."""


@dataclass(frozen=True)
class Stores:
    """The open tiers and the model of one daemon."""

    redis: Redis
    blocking: Redis
    archive: Archive
    embedder: Embedder | None
    keys: Keys
    clock: Clock


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[], None] = lambda: None,
    embedder: Embedder | None = None,
    mongo: MongoClient | None = None,
    clock: Clock | None = None,
) -> None:
    """Serves agents until `stop` is set, then finishes what is in flight.

    A runtime that has the daemon inside may bring its own embedder and its own MongoDB client (PyMongo's asyncio
    client or Motor's); both stay open.
    """
    name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
    async with open_stores(settings, embedder=embedder, mongo=mongo, clock=clock) as stores:
        engine, embedding = build(stores, settings, name=name)

        async def prepare() -> None:
            await prepare_redis(stores.redis, stores.keys, settings, stores.embedder)

        server = Server(stores.redis, stores.blocking, engine, name=name, prepare_redis=prepare)
        await server.prepare()
        embed = work(lambda: embedding.step(stop), embedding.leave, stop, doing="embed", prepare=prepare)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run(stop), name="serve agents")
            tasks.create_task(embed, name="embed")
            log.info("daemon.ready", daemon=name, model=stores.embedder.model if stores.embedder else None)
            ready()
    log.info("daemon.stopped", daemon=name)


@asynccontextmanager
async def open_stores(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
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
        keys = Keys(settings.buckets)
        archive = Archive(mongo[settings.mongo_database])
        yield Stores(redis, blocking, archive, embedder, keys, clock or SystemClock())


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


def build(stores: Stores, settings: Settings, *, name: str) -> tuple[Engine, EmbedFollower]:
    """The verbs and the embedding follower over open stores."""
    state = EmbedState()
    records = Records(stores.redis, stores.keys, settings.vector_type)
    cache = EmbeddingCache(stores.redis, stores.embedder) if stores.embedder else None
    width = settings.vector_ef_runtime if settings.vector_algorithm == "hnsw" else None
    search = Search(stores.redis, ef_runtime=width, datatype=settings.vector_type)
    engine = Engine(records, search, stores.archive, cache, clock=stores.clock, embed_state=state)
    follower = Follower(stores.redis, stores.blocking, stores.keys, group="embed", consumer=name)
    return engine, EmbedFollower(follower, records, cache, state)


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second one leaves at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return stop
