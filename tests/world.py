"""One memoryd for one test: a daemon and sync in this process over the run's real servers, in a place of their own."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Any

from bson import Timestamp
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import EmbedderKind, Settings
from memoryd.daemon import serve
from memoryd.hot.client import open_redis
from memoryd.keys import FOLLOWER_PLACE, SCHEMA, Keys
from memoryd.model.job import OFF, TIMES
from memoryd.model.results import Stats
from memoryd.summarize.protocol import Summarizer
from memoryd_sync.place import look
from memoryd_sync.service import sync
from tests.fakes import FakeClock, HashEmbedder
from tests.waiting import PATIENCE_SECONDS, eventually

START_SECONDS = 120.0  # of a part, where others are started at the same time
ANSWER_SECONDS = 120.0  # a client waits longer here than a machine may stand still


class World:
    """The running parts, each of which a test may stop and start again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.buckets)
        self.embedder = HashEmbedder()
        self.clock: FakeClock | None = None
        self.summarizer: Summarizer | None = None
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> World:
        self.redis: Redis = await self._stack.enter_async_context(open_redis(self.settings.redis_url))
        self.mongo: AsyncMongoClient[dict[str, Any]] = open_mongo(self.settings.mongo_url)
        self.archive = Archive(self.mongo[self.settings.mongo_database])
        self.memories, self.versions = self.archive.memories, self.archive.versions
        return self

    async def __aexit__(self, *_: object) -> None:
        for _task, stop in self._running.values():
            stop.set()  # all at once: each notices within a second
        for name in list(self._running):
            await self.stop(name)
        await self.mongo.drop_database(self.settings.mongo_database)
        await self.mongo.close()
        await self._stack.aclose()

    async def start(self, *names: str) -> None:
        """Starts `daemon` or `sync` (or another one under a name like `daemon2`) and waits until it is ready."""
        for name in names:
            ready, stop = asyncio.Event(), asyncio.Event()
            if name.startswith("daemon"):
                work = serve(
                    self.settings, stop, ready=ready.set, embedder=self.embedder, summarizer=self.summarizer,
                    clock=self.clock,
                )  # fmt: skip
            else:
                work = sync(self.settings, stop, ready=ready.set)
            task = asyncio.create_task(work, name=name)
            self._running[name] = (task, stop)
            await eventually(
                lambda ready=ready, task=task: ready.is_set() or task.done(), within_seconds=START_SECONDS, what=f"{name} is ready"  # type: ignore[misc]
            )
            if task.done():
                del self._running[name]
                task.result()
            if name.startswith("sync") and await self.redis.exists(SCHEMA):
                # Until a follower has a place, it compares both stores whole: another story than that of one change.
                await eventually(lambda: self.redis.hexists(FOLLOWER_PLACE, "token"), what="a follower follows")

    async def stop(self, name: str) -> None:
        """Stops it as a signal would, and raises what it died of."""
        task, stop = self._running.pop(name)
        stop.set()
        await asyncio.wait_for(task, START_SECONDS)

    async def kill(self, name: str) -> None:
        """Ends it where it stands: nothing is finished, handed over or given back."""
        task, _ = self._running.pop(name)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        left = [] if task.done() else [repr(one) for one in asyncio.all_tasks()]
        assert task.done(), "\n".join([f"{name} lives on although it was cancelled. All tasks:", *left])

    def connect(self, **scope: Any) -> MemoryClient:
        """A client, by default for acme / support / scout."""
        usual = {"tenant": "acme", "project": "support", "agent": "scout", "timeout_seconds": ANSWER_SECONDS}
        return connect(self.settings.redis_url, **{**usual, **scope})

    async def drained(self, client: MemoryClient, *, within_seconds: float = PATIENCE_SECONDS) -> Stats:
        """Waits until every follower has seen everything and no memory is pending, in two looks one after the other: in one alone
        something may have gone from what was not counted yet to what was counted already."""

        async def done() -> Stats | None:
            for _ in range(2):
                stats = await client.stats()
                if stats.embed_backlog or stats.archive_backlog or stats.pending:
                    return None
            return stats

        stats: Stats = await eventually(done, within_seconds=within_seconds, what="the journal is drained")
        return stats

    async def lose(self, *keys: str | bytes) -> int:
        """Takes records out of Redis by hand, when the follower has heard all that happened: what it hears late comes back."""
        happened: Timestamp = (await self.mongo.admin.command("ping"))["operationTime"]

        async def heard() -> bool:
            token = (await look(self.redis)).token  # after its first byte the time of the change, four bytes and four
            return bool(token) and int(token[2:18], 16) >= happened.time << 32 | happened.inc

        await eventually(heard, what="the follower has heard all that happened")
        return int(await self.redis.delete(*keys))

    async def everything_in_redis(self) -> bytes:
        """Every byte that Redis holds, keys and values of all types, to look for what must not be there."""
        redis: Any = self.redis
        found = []
        async for key in self.redis.scan_iter(count=1000):
            found.append(key)
            found.append(await self.redis.dump(key) or b"")
            match await self.redis.type(key):
                case b"string":
                    found.append(await self.redis.get(key) or b"")
                case b"hash":
                    found += [part for pair in (await redis.hgetall(key)).items() for part in pair]
                case b"stream":
                    for _, fields in await redis.xrange(key):
                        found += [part for pair in fields.items() for part in pair]
        return b"\0".join(found)

    async def everything_in_mongo(self) -> str:
        """Every document of the database, as text."""
        database = self.mongo[self.settings.mongo_database]
        names = await database.list_collection_names()
        return "\n".join([repr(document) for name in names async for document in database[name].find({})])


def private_settings(redis_url: str, mongo_url: str, **changes: Any) -> Settings:
    """Settings for one test: the run's servers, and a database of its own. No job has a time of day: nothing depends on when a
    test runs."""
    database = f"test_{secrets.token_hex(6)}"
    return Settings(
        redis_url=redis_url, mongo_url=mongo_url, mongo_database=database, embedder=EmbedderKind.NONE,
        jobs=dict.fromkeys(TIMES, OFF), **changes,
    )  # fmt: skip
