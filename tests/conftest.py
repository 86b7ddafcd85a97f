"""Fixtures that every test may use; the servers themselves are in `tests.servers`."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
from pymongo.asynchronous.database import AsyncDatabase
from redis.asyncio import Redis

from memoryd import MemoryClient
from memoryd.archive.client import open_mongo
from memoryd.config import Settings
from memoryd.hot.client import open_redis
from memoryd.local.servers import Servers
from tests.world import World, private_settings

# A runner in the background starts us with SIGINT ignored, and so every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")

pytest_plugins = ["tests.models", "tests.mongot", "tests.servers", "tests.spans"]


@pytest.fixture
async def settings(servers: Servers) -> Settings:
    """Settings of a memoryd of this test's own, over an emptied Redis."""
    settings = private_settings(servers.redis_url, servers.mongo_url)
    async with open_redis(settings.redis_url) as redis:
        await redis.flushall()
    return settings


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """An emptied Redis."""
    async with open_redis(settings.redis_url) as client:
        yield client


@pytest.fixture
async def mongo(settings: Settings) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """A MongoDB database of this test's own."""
    client = open_mongo(settings.mongo_url)
    yield client[settings.mongo_database]
    await client.drop_database(settings.mongo_database)
    await client.close()


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """A memoryd whose daemon and sync run."""
    async with World(settings) as world:
        await world.start("daemon", "sync")
        yield world


@pytest.fixture
async def memory(world: World) -> AsyncIterator[MemoryClient]:
    """A client of that memoryd, for acme / support / scout."""
    async with world.connect() as client:
        yield client
