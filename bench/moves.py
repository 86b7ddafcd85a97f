"""Moving between tiers: how many memories a second, and what a sweep of all of them costs the others.

    python -m bench.moves [--memories 10000] [--moved 3000] [--rounds 3] [--due 0.02] [--json FILE]

So many memories are written into MongoDB as the archiver would, and sync fills Redis with them, graph and all. One in fifty
(`--due`) was not used for ten days. Then:

- The daemon sweeps, once while those are due and once when nothing is, and a client gets one memory after the other meanwhile, at
  a rate, as it did before while nothing else went on. Its times say whether Redis and the daemon stay responsive.
- Memories are moved to `long` and back, and sync archives each move, in turns with the raw writes that moves cannot do without:
  the same records written to Redis twice (the index takes them in anew each time), the same documents and versions upserted into
  MongoDB and acknowledged by a majority. Nothing is decided, journaled, read or verified there.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from pymongo import InsertOne, ReplaceOne
from redis.asyncio import Redis

from bench import harness, load
from bench.harness import HASHED, own_servers, promise, quantiles, ratio, service, spread, turns, until
from bench.scale import Made, archived
from memoryd import MemoryClient, connect
from memoryd.archive.client import MAJORITY, open_mongo
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.jobs.asking import Jobs
from memoryd.jobs.reports import JobRuns
from memoryd.jobs.state import JobStates
from memoryd.keys import ID_CHARS, Keys
from memoryd.lifecycle.moving import Mover
from memoryd.limits import TIER_BATCH_MAX, TIERS_TOGETHER_MAX
from memoryd.local.servers import Servers
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

SWEEP_SECONDS, TIMES_IDLE, MOVES = 60, 3, 1_000  # promised: of 200,000 memories on two cores; p99 of get; a second
GETS_PER_SECOND = 100


@dataclass
class MadeAndAged(Made):
    """Memories of which a share was not used lately."""

    due: float = 0.0

    def is_due(self, number: int) -> bool:
        """Each so manieth, at most every second one."""
        return bool(self.due) and number % max(2, round(1 / self.due)) == 0

    def memories(self, model: str) -> Iterator[Memory]:
        """What is due is ten days old, the others are of now."""
        for number, one in enumerate(super().memories(model)):
            if self.is_due(number):
                then = one.created_at - timedelta(days=10)
                yield msgspec.structs.replace(one, created_at=then, last_accessed=then, valid_from=then, recorded_at=then)
            else:
                yield one


class Asker:
    """A client that gets one memory after the other, at a rate."""

    def __init__(self, client: MemoryClient, ids: Sequence[str]) -> None:
        self._client = client
        self._ids = itertools.cycle(ids)

    async def for_seconds(self, seconds: float) -> list[float]:
        """The milliseconds of each get."""
        return (await load.paced(self._get, round(seconds * GETS_PER_SECOND), GETS_PER_SECOND, 1)).milliseconds

    @asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[list[float]]:
        """The same as long as something else goes on."""
        times: list[float] = []
        ended = asyncio.Event()

        async def ask() -> None:
            while not ended.is_set():
                times.extend(await self.for_seconds(0.5))

        asking = asyncio.create_task(ask())
        try:
            yield times
        finally:
            ended.set()
            await asking

    async def _get(self, client: int, number: int) -> None:
        await self._client.get(next(self._ids))


async def swept(jobs: Jobs, asker: Asker) -> dict[str, Any]:
    """One sweep by the daemon."""
    async with asker.meanwhile() as times:
        report = await jobs.run("tiers")
    assert report.outcome == "ok", report.outcome
    return {
        "seconds": round((report.finished_at - report.started_at).total_seconds(), 2), **report.done, "get": quantiles(times),
    }  # fmt: skip


async def sweeps(
    servers: Servers, redis: Redis, archive: Archive, ids: Sequence[tuple[str, str]], *, idle_seconds: float
) -> dict[str, Any]:
    """What sweeps take, and what gets take meanwhile."""
    jobs = Jobs(JobStates(redis), JobRuns(archive), SystemClock())
    await until(lambda: _has_job(jobs), "a daemon has the job")
    await jobs.pause("tiers")  # by itself it would begin at any time
    project = ids[-1][0]
    async with connect(servers.redis_url, tenant="bench", project=project, agent="a") as client:
        asker = Asker(client, [one for of, one in ids if of == project])
        await asker.for_seconds(min(1, idle_seconds))
        idle = quantiles(await asker.for_seconds(idle_seconds))
        moving, resting = await swept(jobs, asker), await swept(jobs, asker)
    return {"get, idle": idle, "some are due": moving, "nothing is due": resting}


async def quiet(url: str, project: str) -> None:
    """Returns when every event that has found its place in its session has its vector, and nothing waits for the archive."""
    async with connect(url, tenant="bench", project=project) as memory:
        for _ in range(2):  # one look may miss what goes from what it counts last to what it has counted
            while (stats := await memory.stats()).embed_backlog or stats.archive_backlog or stats.pending:  # noqa: ASYNC110
                await asyncio.sleep(harness.LOOK_SECONDS * 10)


async def _has_job(jobs: Jobs) -> bool:
    return any(one.job == "tiers" for one in await jobs.all())


class Moves:
    """Moves some memories to and fro, and writes the same raw."""

    def __init__(self, redis: Redis, archive: Archive, settings: Settings, model: str, keys: Sequence[str]) -> None:
        self._redis: Any = redis
        self._archive = archive
        self._records = Records(redis, Keys(settings.buckets), settings.vector_type)
        self._mover = Mover(self._records, archive, model=model)
        self._keys = keys

    async def to_long(self) -> float:
        """Moves a second, some batches at a time as a sweep has them; all of them have left by then."""
        began, light, batches = time.perf_counter(), 0, self._some()

        async def some_of_them() -> None:
            nonlocal light
            for keys in batches:
                _, gone = await self._mover.to_long(await self._records.read(keys))
                light += gone

        await asyncio.gather(*(some_of_them() for _ in range(TIERS_TOGETHER_MAX)))
        seconds = time.perf_counter() - began
        assert light == len(self._keys), f"{light} of {len(self._keys)} have become light"
        return light / seconds

    async def to_short(self) -> float:
        """Moves a second; the archive may still have to hear of the last ones."""
        began, moved = time.perf_counter(), 0
        for keys in self._some():
            moved += len(await self._mover.to_short(await self._records.read(keys)))
        seconds = time.perf_counter() - began
        assert moved == len(self._keys), f"{moved} of {len(self._keys)} have come back"
        return moved / seconds

    async def raw(self) -> float:
        """The writes of as many moves a second, with nothing around them."""
        database = self._archive.database
        memories, versions = (
            database.get_collection(name, write_concern=MAJORITY) for name in ("raw_memories", "raw_versions")
        )
        began = time.perf_counter()
        for keys in self._some():
            ids = [one[-ID_CHARS:] for one in keys]
            documents = [one async for one in self._archive.memories.find({"_id": {"$in": ids}})]
            for _ in range(2):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for key in keys:
                        pipe.hset(key, mapping={"said_at": time.time_ns() // 1000})
                    await pipe.execute()
            number = time.time_ns()
            await memories.bulk_write(
                [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents], ordered=False
            )
            history = [InsertOne({**one, "_id": f"{one['_id']}:{number}"}) for one in documents]
            await versions.bulk_write(history, ordered=False)
        return len(self._keys) / (time.perf_counter() - began)

    def _some(self) -> Iterator[Sequence[str]]:
        return (self._keys[start : start + TIER_BATCH_MAX] for start in range(0, len(self._keys), TIER_BATCH_MAX))


async def moves(mover: Moves, rounds: int) -> dict[str, list[float]]:
    """The rates of each way, by round."""
    rates: dict[str, list[float]] = {"to long": [], "to short": [], "raw": []}
    for number in range(rounds):
        for way in turns(("moves", "raw"), number):
            if way == "raw":
                rates["raw"].append(await mover.raw())
            else:
                rates["to long"].append(await mover.to_long())
                rates["to short"].append(await mover.to_short())
    return rates


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    made = await asyncio.to_thread(MadeAndAged, arguments.memories, due=arguments.due)
    settings = load_settings()
    async with (
        own_servers() as servers, service("daemon", servers, embedder=HASHED),
        open_redis(servers.redis_url) as redis, open_mongo(servers.mongo_url) as mongo,
    ):  # fmt: skip
        archive = Archive(mongo[settings.mongo_database])
        model = await harness.prepared(redis)
        ids = await archived(made, archive, model)
        async with service("sync", servers, embedder=HASHED):
            await harness.compared(redis)
            await quiet(servers.redis_url, ids[-1][0])
            about_sweeps = await sweeps(servers, redis, archive, ids, idle_seconds=arguments.idle_seconds)
            fresh = [one for number, one in enumerate(ids) if not made.is_due(number)][: arguments.moved]
            keys = [Keys(settings.buckets).memory("episodic", Scope("bench", project), one) for project, one in fresh]
            rates = await moves(Moves(redis, archive, settings, model, keys), arguments.rounds)
    times = [about_sweeps[name]["get"]["p99_ms"] for name in ("some are due", "nothing is due")]
    return {
        "sweeps": about_sweeps,
        "moves a second": {name: spread(some) for name, some in rates.items()},
        "moves: of the raw writes of as many": {name: ratio(rates[name], rates["raw"]) for name in ("to long", "to short")},
        "promises": [
            promise("moves to long a second", spread(rates["to long"]), least=MOVES),
            promise("a sweep", spread([about_sweeps["some are due"]["seconds"]]), most=SWEEP_SECONDS, unit="s"),
            promise(
                "`get` during a sweep: p99, of that at rest",
                spread([one / about_sweeps["get, idle"]["p99_ms"] for one in times]), most=TIMES_IDLE,
            ),
        ],
    }  # fmt: skip


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--moved", type=int, default=3_000, help="of them, to and fro in each round")
    parser.add_argument("--due", type=float, default=0.02, help="the share of them that the first sweep moves")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-seconds", type=float, default=10, help="to look how long gets take at rest")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
