"""The pair of servers on one data folder, for `memoryd up` and for the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from memoryd.config import Settings
from memoryd.errors import ServersUnavailable
from memoryd.local.find import find_mongo, find_redis
from memoryd.local.lock import Held, held
from memoryd.local.mongo_server import MongoServer
from memoryd.local.program import Given
from memoryd.local.redis_server import RedisServer


@dataclass(frozen=True)
class Servers:
    """Where the two servers are. A server that someone else runs has a URL only."""

    redis_url: str
    mongo_url: str
    redis: RedisServer | None
    mongo: MongoServer | None
    data: Path
    origin: str


@asynccontextmanager
async def open_servers(
    settings: Settings, data: Path, redis_port: int = 0, mongo_port: int = 0
) -> AsyncIterator[Servers]:
    """Run the servers that `settings` does not name by URL, on what `data` holds from earlier runs, for the block.

    Port 0 takes a free port. Raises ServersUnavailable, also when another process has `data` open.
    """
    data = data.absolute()  # noqa: ASYNC240 - no file is touched
    async with (
        _sole_user(data),
        _open_redis(settings, data, redis_port) as (redis_url, redis, redis_origin),
        _open_mongo(settings, data, mongo_port) as (mongo_url, mongo, mongo_origin),
    ):
        origin = f"Redis: {redis_origin}; MongoDB: {mongo_origin}"
        yield Servers(redis_url, mongo_url, redis, mongo, data, origin)


def log_path(data: Path, name: str) -> Path:
    """Where a process of this data folder writes what it has to say."""
    return data / "logs" / f"{name.lower()}.log"


@asynccontextmanager
async def _sole_user(data: Path) -> AsyncIterator[None]:
    try:
        async with held(data / "lock", wait_seconds=0):
            yield
    except Held as error:
        raise ServersUnavailable(
            f"the data in {data} is in use by process {error.details['pid']}",
            hint="use what runs there, stop it, or choose another folder with --data",
        ) from error


@asynccontextmanager
async def _open_redis(settings: Settings, data: Path, port: int) -> AsyncIterator[tuple[str, RedisServer | None, str]]:
    found = await find_redis(settings)
    if isinstance(found, Given):
        yield found.url, None, found.origin
        return
    async with RedisServer(found, data / "redis", log_path(data, "redis"), port) as server:
        yield server.url, server, found.origin


@asynccontextmanager
async def _open_mongo(settings: Settings, data: Path, port: int) -> AsyncIterator[tuple[str, MongoServer | None, str]]:
    found = await find_mongo(settings)
    if isinstance(found, Given):
        yield found.url, None, found.origin
        return
    async with MongoServer(found, data / "mongo", log_path(data, "mongodb"), port) as server:
        yield server.url, server, found.origin
