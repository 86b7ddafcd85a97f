"""Chapter 1: real servers, the daemon and sync; everything ends in reverse order when the story is over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter

from redis.asyncio import Redis

from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import Settings, load_settings
from memoryd.demo.conversation import Conversation
from memoryd.demo.environment import environment
from memoryd.demo.ledger import Ledger
from memoryd.demo.spans import Receiver
from memoryd.demo.stage import AGENT, TENANT, Stage
from memoryd.demo.voice import Voice
from memoryd.embed import ModelFailed, open_embedder
from memoryd.errors import ServersUnavailable
from memoryd.hot.client import hot_errors, open_blocking_redis, open_redis
from memoryd.keys import Keys
from memoryd.local.servers import Servers, open_servers
from memoryd.local.up import open_services
from memoryd.protocol.client import connect
from memoryd_telemetry.tracing import setup_tracing


@asynccontextmanager
async def open_stage(voice: Voice, data: Path, conversation: Conversation) -> AsyncIterator[Stage]:
    """Run all of it on the data in `data` for the block. Raises ServersUnavailable."""
    voice.chapter(
        "Servers",
        "Redis holds what agents need now, MongoDB everything they ever knew. Between them work two processes: the "
        "daemon, which serves agents, and sync, which keeps both stores telling the same story.",
    )
    async with AsyncExitStack() as stack:
        spans = stack.enter_context(Receiver())
        stack.enter_context(environment(spans.endpoint))
        stack.push_async_callback(asyncio.to_thread, setup_tracing("memoryd-demo"))
        settings = load_settings()
        servers = await stack.enter_async_context(open_servers(settings, data))
        voice.say(servers.origin)
        redis = await stack.enter_async_context(open_redis(servers.redis_url))
        blocking = await stack.enter_async_context(open_blocking_redis(servers.redis_url))
        mongo = open_mongo(servers.mongo_url)
        stack.push_async_callback(mongo.close)
        if servers.redis is None:
            await _refuse_used(redis)
            stack.push_async_callback(redis.flushdb)
        if servers.mongo is None:
            stack.push_async_callback(mongo.drop_database, settings.mongo_database)
        has_model = await _try_model(voice, settings)
        await _start_services(voice, stack, servers)
        memory = connect(servers.redis_url, tenant=TENANT, project=conversation.name, agent=AGENT)
        yield Stage(
            voice, load_settings(redis_url=servers.redis_url, mongo_url=servers.mongo_url), data,
            await stack.enter_async_context(memory), redis, blocking, Archive(mongo[settings.mongo_database]),
            Keys(settings.buckets), spans, has_model, conversation, Ledger(),
        )  # fmt: skip


async def _refuse_used(redis: Redis) -> None:
    """The demo counts everything that is there, and leaves nothing behind: it takes a server that was set only empty."""
    with hot_errors("look into the Redis at MEMORYD_REDIS_URL"):
        count = await redis.dbsize()
    if count:
        raise ServersUnavailable(
            f"the Redis at MEMORYD_REDIS_URL holds {count} keys; the demo takes an empty one only",
            hint="unset MEMORYD_REDIS_URL, and the demo starts a Redis of its own",
        )


async def _try_model(voice: Voice, settings: Settings) -> bool:
    """Whether the daemon will have an embedding model; says which one, or what happens without it."""
    try:
        embedder = await open_embedder(settings, say=voice.say)
    except ModelFailed as error:
        os.environ["MEMORYD_EMBEDDER"] = "none"
        voice.say(f"No embedding model: {error.message}.")
        embedder = None
    if embedder is None:
        voice.say("So memories are found by their words only, not by their meaning.")
        return False
    await embedder.close()
    return True


async def _start_services(voice: Voice, stack: AsyncExitStack, servers: Servers) -> None:
    started = perf_counter()
    daemon, sync = await stack.enter_async_context(open_services(servers))
    voice.say(
        f"The daemon (process {daemon.pid}) and sync (process {sync.pid}) were ready in {perf_counter() - started:.1f} s."
    )
