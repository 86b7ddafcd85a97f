"""Faults that a whole installation cannot be given and taken back: a Redis that may not write, and a MongoDB that is alone."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import Settings
from memoryd.doctor.examine import examine
from memoryd.doctor.patient import Patient
from memoryd.health.probes import redis_answers, redis_has_room, redis_takes_writes
from memoryd.health.report import Report, look
from memoryd.hot.client import open_redis
from memoryd.local.find import find_mongo, find_redis
from memoryd.local.mongo_server import START_SECONDS, MongoServer
from memoryd.local.ports import is_listening
from memoryd.local.program import Given, Program
from memoryd.local.redis_server import RedisServer
from memoryd.local.servers import Servers
from tests.servers import scratch
from tests.waiting import eventually


class Alone(MongoServer):
    """A mongod as it comes: nobody has told it of a replica set."""

    def __init__(self, program: Program, data: Path, log: Path) -> None:
        super().__init__(program, data, log)
        place = self.command.index("--replSet")
        self.command = (*self.command[:place], *self.command[place + 2 :])

    async def wait_until_ready(self) -> None:
        """Return when it answers."""
        await self._wait_for(lambda: is_listening(self.port), START_SECONDS)
        async with AsyncMongoClient[dict[str, Any]]("127.0.0.1", self.port, directConnection=True) as client:
            await self._wait_for(lambda: self._answers(client), START_SECONDS)


@pytest.fixture
async def own_redis(local_settings: Settings) -> AsyncIterator[RedisServer]:
    """A Redis for this test alone, which survives that it may not write."""
    program = await find_redis(local_settings)
    assert not isinstance(program, Given)
    ignoring = Program(("sh", "-c", 'trap "" XFSZ; exec "$@"', "sh", *program.command), program.origin)
    with scratch() as data:
        async with RedisServer(ignoring, data / "redis", data / "redis.log") as server:
            yield server


@contextmanager
def no_room(server: RedisServer) -> Iterator[None]:
    """None of its files may grow, as on a disk that is full."""
    import resource  # not on every system

    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)


async def findings(settings: Settings) -> dict[str, str]:
    """What the doctor finds, by the check, with how to mend it."""
    async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as client:
        patient = Patient(settings, redis, Archive(client[settings.mongo_database]), {})
        return {one.check: one.mend for one in (await examine(patient)).findings}


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits another process's files")
async def test_a_redis_that_takes_no_writes_is_there_and_named_so(own_redis: RedisServer) -> None:
    """Because its disk fails, or because it is a replica; the other parts are still looked at through it."""
    redis: Any
    async with Redis.from_url(own_redis.url) as redis:

        async def becomes(*modes: str) -> Report:
            async def told() -> Report | None:
                found = await look([redis_answers(redis), redis_takes_writes(redis), redis_has_room(redis)])
                return found if found.modes == list(modes) else None

            report: Report = await eventually(told, what=f"the probes say {modes}")
            return report

        with no_room(own_redis):
            await redis.set("written", "not", ex=60)
            refusing = await becomes("redis takes no writes")
        assert not refusing.ready
        assert [(one.part, one.ok) for one in refusing.parts] == [
            ("redis", True), ("redis's writes", False), ("redis's memory", True),
        ]  # fmt: skip
        assert "MISCONF" in refusing.parts[1].why
        await becomes()
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert "replica" in (await becomes("redis takes no writes")).parts[1].why


@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits another process's files")
async def test_a_redis_whose_disk_fails_is_found(own_redis: RedisServer, servers: Servers, settings: Settings) -> None:
    """And no more once it can write again."""
    there = settings.model_copy(update={"redis_url": own_redis.url})
    before = await findings(there)
    assert "append-only-errors" not in before
    async with Redis.from_url(own_redis.url) as redis:
        with no_room(own_redis):
            await redis.set("written", "not", ex=60)

            async def alone() -> dict[str, str] | None:
                now = await findings(there)
                return now if now.keys() - before.keys() == {"append-only-errors"} else None

            found = await eventually(alone, what="the failed write is found, and nothing else")
            assert "BGREWRITEAOF" in found["append-only-errors"]

        async def mended() -> bool:
            return "append-only-errors" not in await findings(there)

        await eventually(mended, what="it has written again")


async def test_a_mongodb_outside_of_a_replica_set_is_found(local_settings: Settings, servers: Servers, settings: Settings) -> None:
    """It answers, stores and finds; only that nothing can be followed, and nothing is safe."""
    program = await find_mongo(local_settings)
    assert not isinstance(program, Given)
    assert "replica-set" not in await findings(settings)
    with scratch() as data:
        async with Alone(program, data / "mongo", data / "mongodb.log") as server:
            alone = settings.model_copy(update={"mongo_url": f"mongodb://{server.address}/"})
            found = await eventually(partial(_with, alone, "replica-set"), what="that it is alone is found")
    assert "mongo-answers" not in found
    assert "--replSet" in found["replica-set"]


async def _with(settings: Settings, name: str) -> dict[str, str] | None:
    found = await findings(settings)
    return found if name in found else None
