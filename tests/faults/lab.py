"""The parts of the laboratory: real servers behind proxies, daemons and syncs as processes that live from run to run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from redis.asyncio import Redis

from memoryd.archive.client import ArchiveRefused, open_mongo
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.embed.late import name_in_context
from memoryd.hot.client import open_redis
from memoryd.hot.journal import GROUPS
from memoryd.hot.records import Records
from memoryd.keys import REQUESTS, Keys
from memoryd.local.find import find_mongo, find_redis
from memoryd.local.processes import Process
from memoryd.local.program import Program
from memoryd.local.redis_server import RedisServer
from memoryd.local.service import Service
from memoryd.protocol.server import GROUP as SERVERS
from memoryd.retry import end
from memoryd_sync.dead import DeadLetters
from memoryd_sync.place import compared_with
from memoryd_sync.projector import Projector
from memoryd_sync.reconcile import Reconciler
from tests.faults.embeddings import MODEL, Embeddings
from tests.faults.mongo_set import Member, MongoSet
from tests.faults.plan import Shape
from tests.faults.proxy import Proxy
from tests.servers import scratch
from tests.waiting import eventually

WATCH_SECONDS = 0.1
READY_SECONDS = 120
SKEWED = Path(__file__).with_name("skewed.py")
FLUSH_SECONDS = 1.1  # a Redis whose disk was full tries again once a second
KILLED = -signal.SIGKILL
PAGE = 4096  # MongoDB writes behind it whatever it writes


class Lab:
    """One deployment of one shape. `trouble` gathers what no run should see, e.g. a daemon that ended by itself."""

    def __init__(self, shape: Shape, environment: Mapping[str, str] | None = None) -> None:
        self.shape = shape
        self._environment = environment or {}
        self.trouble: list[str] = []
        self.runs = 0
        self._on_disk = 0
        self.keys = Keys(16)
        self.services: dict[str, Service] = {}
        self.redis_lock, self.mongo_lock = asyncio.Lock(), asyncio.Lock()  # one fault at a time for each server
        self._wanted: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Lab:
        async with AsyncExitStack() as stack:
            self.data = stack.enter_context(scratch("memoryd-lab-"))
            await self._start_servers(stack)
            await self._start_services(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --- the servers ----------------------------------------------------------------------------------------------

    async def _start_servers(self, stack: AsyncExitStack) -> None:
        construct: Any = Settings.model_construct  # the environment's servers may hold what somebody needs
        settings: Settings = construct(cache_dir=load_settings().cache_dir)
        found_redis, found_mongo = await find_redis(settings), await find_mongo(settings)
        assert isinstance(found_redis, Program)
        assert isinstance(found_mongo, Program)
        self.redis_server = RedisServer(found_redis, self.data / "redis", self.data / "logs" / "redis.log")
        self.redis_server.command = (*self.redis_server.command, "--appendfsync", self.shape.aof)
        await self.redis_server.start()
        stack.callback(self.redis_server.kill)
        self.mongo_set = MongoSet(found_mongo, self.data, self.shape.members)
        stack.push_async_callback(self.mongo_set.stop)
        await self.mongo_set.start()
        self.redis_proxy = await _started(Proxy(self.redis_server.port), stack)
        self.mongo_proxy = await _started(Proxy(self.mongo_set.members[0].port), stack)
        self.embeddings = Embeddings()
        await self.embeddings.start()
        stack.push_async_callback(self.embeddings.stop)
        self.redis: Redis = await stack.enter_async_context(open_redis(self.redis_server.url))
        self.mongo: AsyncMongoClient[dict[str, Any]] = open_mongo(self.mongo_set.url)
        stack.push_async_callback(self.mongo.close)
        self.database = f"lab_{secrets.token_hex(4)}"
        self.archive = Archive(self.mongo[self.database])

    @property
    def model(self) -> str:
        """What its vectors are called: those of events in context by another name."""
        turns_after = self.shape.turns_after
        return MODEL if turns_after is None else name_in_context(MODEL, turns_after)

    @property
    def redis_url(self) -> str:
        """Redis as everyone but the judge sees it."""
        return f"redis://127.0.0.1:{self.redis_proxy.port}"

    @property
    def _mongo_url(self) -> str:
        """A driver goes to where the set says that its members are, past any proxy, unless it is told not to."""
        if self.shape.members > 1:
            return self.mongo_set.url
        return f"mongodb://127.0.0.1:{self.mongo_proxy.port}/?directConnection=true"

    def reconciler(self) -> Reconciler:
        """A comparison of both stores, past the proxies."""
        return Reconciler(Records(self.redis, self.keys), self.archive, self._projector())

    async def try_refused_again(self) -> None:
        """What an operator does when MongoDB takes again what it has refused: a person's edits are dead letters until then."""
        letters = self.dead_letters()
        for one in await letters.list():
            if (one.group, one.reason) == ("follow", ArchiveRefused.__name__):
                await letters.retry(one.letter)

    def dead_letters(self) -> DeadLetters:
        """What was given up, past the proxies."""
        return DeadLetters(Records(self.redis, self.keys), self.archive, self._projector().apply_document)

    def _projector(self) -> Projector:
        projector = Projector(Records(self.redis, self.keys), self.archive, SystemClock())
        projector.model = self.model
        return projector

    # --- the daemons and syncs ------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What its daemons and syncs find in theirs, and commands that are to speak to them."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MEMORYD_")}
        return {
            **ours,
            "MEMORYD_REDIS_URL": self.redis_url,
            "MEMORYD_MONGO_URL": self._mongo_url,
            "MEMORYD_MONGO_DATABASE": self.database,
            "MEMORYD_EMBEDDER": "http",
            "MEMORYD_MODEL": self.model,
            "MEMORYD_EMBED_URL": self.embeddings.url,
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }

    async def _start_services(self, stack: AsyncExitStack) -> None:
        daemon = ["memoryd", "serve"] if self.shape.turns_after is None else ["tests.faults.reading_daemon"]
        kinds = [(daemon, "daemon", self.shape.daemons), (["memoryd_sync"], "sync", self.shape.syncs)]
        for program, kind, count in kinds:
            for number in range(count):
                name = f"{kind}{number}"
                log = self.data / "logs" / f"{name}.log"
                self.set_clock(name, 0)
                command = (sys.executable, str(SKEWED), str(self._clock_of(name)), *program)
                self.services[name] = Service(name, command, log, self.environment)
                stack.callback(self.services[name].kill)
                self._wanted.add(name)
                self.services[name].launch()
        watch = asyncio.create_task(self._watch(), name="watch the services")
        stack.push_async_callback(end, watch)
        await self.all_ready()

    async def all_ready(self) -> None:
        """Returns when every service has said that it is ready."""
        for service in self.services.values():
            what = f"{service.name} is ready"
            await eventually(partial(self._is_ready, service), within_seconds=READY_SECONDS, what=what)

    async def place_on_disk(self) -> None:
        """Returns when no loss of power can take the follower's first place: with it goes what tells a deletion from a loss."""
        await eventually(partial(compared_with, self.redis), within_seconds=READY_SECONDS, what="the stores are compared")
        redis: Any = self.redis
        await redis.execute_command("WAITAOF", 1, 0, 0)
        self.fsync_was_confirmed()

    async def _watch(self) -> None:
        """Starts again what has ended by itself, as a supervisor would, and remembers it."""
        while True:
            for name in tuple(self._wanted):
                service = self.services[name]
                if not service.alive:
                    code = service.exit_code
                    if code not in (None, KILLED) and await self._was_ready(service):
                        self.trouble.append(f"died: {name} ended by itself (exit code {code})")
                    if name in self._wanted and not service.alive:  # not killed again while its log was read
                        service.launch()
            await asyncio.sleep(WATCH_SECONDS)

    async def _is_ready(self, service: Service) -> bool:
        return service.alive and await self._was_ready(service)

    async def _was_ready(self, service: Service) -> bool:
        # One that ends before it was ready has found no Redis: its supervisor tries again.
        return await service._said_ready()

    def kill(self, name: str) -> None:
        """SIGKILL; it is not started again before `bring_back`."""
        self._wanted.discard(name)
        self.services[name].kill()

    def bring_back(self, name: str) -> None:
        """Has it started again."""
        self._wanted.add(name)

    def named(self, kind: str, number: int) -> str:
        """One of the daemons or syncs."""
        names = [name for name in self.services if name.startswith(kind)]
        return names[number % len(names)]

    def ask_for_tasks(self) -> None:
        """Has every daemon and sync write into its log where its tasks stand."""
        for service in self.services.values():
            if service.alive:
                os.kill(service.pid, signal.SIGUSR1)

    def set_clock(self, name: str, seconds_ahead: float) -> None:
        """Moves the clock of a service."""
        new = self._clock_of(name).with_suffix(".new")
        new.write_text(str(seconds_ahead))
        new.replace(self._clock_of(name))  # who reads it meanwhile reads one of both

    def _clock_of(self, name: str) -> Path:
        return self.data / f"{name}.clock"

    async def heal(self) -> None:
        """Everything runs, and nothing stands between."""
        self.redis_proxy.heal()
        self.mongo_proxy.heal()
        for service in self.services.values():
            service.resume()
        self._wanted = set(self.services)
        await self.all_ready()
        await eventually(self.mongo_set.primary, what="MongoDB has a primary")

    # --- disks ----------------------------------------------------------------------------------------------------

    async def fill_redis_disk(self, seconds: float, room: int) -> bool:
        """Redis's file may grow by `room` bytes only; returns whether it has died of it, and lives again afterwards."""
        redis = self.redis_server
        _limit_files(redis, self._file().stat().st_size + room)
        await asyncio.sleep(seconds)
        if redis.alive:
            _limit_files(redis, resource.RLIM_INFINITY)
            await asyncio.sleep(FLUSH_SECONDS)
        if redis.alive:
            return False
        await redis.start()
        return True

    async def fill_mongo_disk(self, member: Member, seconds: float) -> None:
        """A mongod that cannot write ends itself, sooner or later; it is started again."""
        _limit_files(member, PAGE)
        await asyncio.sleep(seconds)
        member.kill()
        await member.start()

    @asynccontextmanager
    async def refusing(self, name: str) -> AsyncIterator[None]:
        """A collection that takes nothing for the block."""
        database = self.archive.database
        found = await (await database.list_collections(filter={"name": name})).to_list()
        await database.command("collMod", name, validator={"$expr": False})
        try:
            yield
        finally:
            await eventually(partial(self._accept, name, found[0]["options"]["validator"]))

    async def _accept(self, name: str, validator: dict[str, Any]) -> bool:
        with contextlib.suppress(PyMongoError):
            await self.archive.database.command("collMod", name, validator=validator)
            return True
        return False

    # --- Redis's file ---------------------------------------------------------------------------------------------

    def fsync_was_confirmed(self) -> None:
        """Everything that Redis has written so far may be what was confirmed: no loss of power may take it."""
        self._on_disk = self._file().stat().st_size

    def lose_what_no_fsync_confirmed(self, share: float) -> None:
        """Cuts a share off what was written since the last fsync that a client knows of."""
        file = self._file()
        size = file.stat().st_size
        os.truncate(file, size - round((size - min(size, self._on_disk)) * share))

    def _file(self) -> Path:
        return max((self.data / "redis" / "appendonlydir").glob("*.incr.aof"), key=lambda one: one.stat().st_mtime)

    # --- deliveries -----------------------------------------------------------------------------------------------

    async def age_pending(self) -> None:
        """Has everything that is pending look as if it had waited for a minute: whoever looks takes it over at once.

        Not what has left the stream: XCLAIM would take that from the pending ones, and no follower would hear of it.
        """
        redis: Any = self.redis
        for stream, group in [
            (REQUESTS, SERVERS),
            *((self.keys.journal(b), g) for b in self.keys.all_buckets() for g in GROUPS),
        ]:
            pending = await redis.xpending_range(stream, group, "-", "+", 200)
            by_consumer: dict[bytes, list[bytes]] = {}
            for one in pending:
                if await redis.xrange(stream, one["message_id"], one["message_id"]):
                    by_consumer.setdefault(one["consumer"], []).append(one["message_id"])
            for consumer, ids in by_consumer.items():
                await redis.xclaim(stream, group, consumer, 0, ids, idle=60_000, justid=True)


def _limit_files(process: Process, size: int) -> None:
    """What the process writes behind this offset of any file fails, as on a full disk."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _started(proxy: Proxy, stack: AsyncExitStack) -> Proxy:
    await proxy.start()
    stack.push_async_callback(proxy.stop)
    return proxy
