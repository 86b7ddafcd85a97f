"""How fast a Redis that lost everything is whole again, with vectors: by sync itself, and by `memoryd sync rebuild`.

    python -m bench.rebuild [--memories 20000] [--writers 4] [--json FILE]

It starts its own Redis, MongoDB and daemon, and writes the memories into MongoDB as the archiver would, with random
vectors of the model's size. Then Redis is emptied again and again: the command fills it, sync fills it, sync fills it
while agents store. Whole means that the search index has every memory. Peak memory is that of the process that fills.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from bench import harness
from bench.harness import own_servers, quantiles, service
from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.archive.codec import to_document
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import load_settings
from memoryd.errors import MemorydError
from memoryd.hot.client import open_redis
from memoryd.keys import SCHEMA
from memoryd.local.service import Service
from memoryd.model.ids import content_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.record import Record
from memoryd.model.scope import Scope

SCOPE = Scope("bench", "rebuild", "archived")
BATCH = 1000
LOOK_SECONDS = 0.1


@dataclass
class Bench:
    """Both stores, a client that counts, one that writes, and the model whose vectors the index takes."""

    environment: dict[str, str]
    redis: Redis
    archive: Archive
    archived: MemoryClient
    writer: MemoryClient
    count: int
    dims: int = 0
    model: str = ""

    async def prepared(self) -> None:
        """Waits until the daemon has made the indexes."""
        state: Any = {}
        while b"version" not in state:
            state = await self.redis.hgetall(SCHEMA)
            await asyncio.sleep(LOOK_SECONDS)
        self.model, self.dims = state[b"model"].decode(), int(state[b"dims"])

    async def fill(self) -> None:
        """Memories and their only versions, as the archiver writes them."""
        chance = np.random.default_rng(1)
        for start in range(0, self.count, BATCH):
            vectors = chance.standard_normal((min(BATCH, self.count - start), self.dims)).astype("<f4")
            documents = [self._document(start + row, vector.tobytes()) for row, vector in enumerate(vectors)]
            await self.archive.memories.insert_many(documents)
            await self.archive.versions.insert_many([
                {**one, "_id": f"{one['_id']}:1", "memory_id": one["_id"], "op": "stored"} for one in documents
            ])  # fmt: skip

    def _document(self, number: int, vector: bytes) -> dict[str, Any]:
        content, now = f"Observation {number} of the harbour: a ship of the line, sails set, heading north.", SystemClock().now()
        content_hash = hash_content(content)
        memory = Memory(
            id=content_id(SCOPE, MemoryType.FACT, content_hash), tenant=SCOPE.tenant, project=SCOPE.project,
            agent_id=SCOPE.agent, memory_type=MemoryType.FACT, content=content, content_hash=content_hash, importance=0.5,
            created_at=now, last_accessed=now, version=1, valid_from=now, recorded_at=now, embedding_model=self.model,
        )  # fmt: skip
        return to_document(Record(memory, vector))

    async def empty(self) -> None:
        """Redis loses everything; the daemon prepares it again."""
        await self.redis.flushall()
        await self.prepared()

    async def followed(self) -> None:
        """Waits until sync has compared everything and follows."""
        await harness.compared(self.redis)

    async def whole(self) -> None:
        """Waits until everything is found again."""
        while True:
            try:
                stats = await self.archived.stats()
                if stats.memories >= self.count and not stats.pending:
                    return
            except MemorydError:  # Redis is being prepared
                pass
            await asyncio.sleep(LOOK_SECONDS)

    def rate(self, seconds: float) -> dict[str, Any]:
        return {"seconds": round(seconds, 1), "memories_per_second": round(self.count / seconds)}


async def by_command(bench: Bench, *words: str) -> dict[str, Any]:
    """A command of `memoryd sync`, and what it took."""
    started = time.perf_counter()
    exit_code, megabytes = await asyncio.to_thread(carried_out, words, bench.environment)
    if words[0] == "rebuild":
        await bench.whole()
    seconds = time.perf_counter() - started
    return {**bench.rate(seconds), "exit_code": exit_code, "peak_megabytes": megabytes}


def carried_out(words: tuple[str, ...], environment: dict[str, str]) -> tuple[int, int]:
    """Runs a command of `memoryd sync` to its end; its exit code, and the megabytes it has had at most."""
    command = [sys.executable, "-m", "memoryd", "sync", *words]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_maxrss // 1024


def peak_megabytes(service: Service) -> int | None:
    """What the process has had at most; Linux tells."""
    status = Path(f"/proc/{service.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
    return found[0] if found else None


async def by_sync(bench: Bench, sync: Service, writers: int) -> dict[str, Any]:
    """From the moment in which Redis is emptied, while agents store."""
    enough, times, refused = asyncio.Event(), list[float](), 0

    async def write(number: int) -> None:
        nonlocal refused
        count = 0
        while not enough.is_set():
            count += 1
            began = time.perf_counter()
            try:
                await bench.writer.store(f"Writer {number} stored {count} meanwhile at {began}.", type="episodic")
            except MemorydError:
                refused += 1
                await asyncio.sleep(LOOK_SECONDS)
            else:
                times.append((time.perf_counter() - began) * 1000)

    async with asyncio.TaskGroup() as tasks:
        started = time.perf_counter()
        await bench.empty()
        for number in range(writers):
            tasks.create_task(write(number))
        await bench.whole()
        seconds = time.perf_counter() - started
        enough.set()
    answer = {**bench.rate(seconds), "peak_megabytes": peak_megabytes(sync)}
    if writers:
        answer |= {"stores": len(times), "stores_refused": refused}
        answer |= {f"store_{name}": one for name, one in quantiles(times).items()} if times else {}
    return answer


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.embedder
    async with own_servers() as servers:
        urls = {"MEMORYD_REDIS_URL": servers.redis_url, "MEMORYD_MONGO_URL": servers.mongo_url, "MEMORYD_EMBEDDER": "none"}
        async with (
            service("daemon", servers, embedder=model),
            open_redis(servers.redis_url) as redis, open_mongo(servers.mongo_url) as mongo,
            connect(servers.redis_url, tenant=SCOPE.tenant, project=SCOPE.project, agent=SCOPE.agent) as archived,
            connect(servers.redis_url, tenant=SCOPE.tenant, project=SCOPE.project, agent="writer") as writer,
        ):  # fmt: skip
            archive = Archive(mongo[load_settings().mongo_database])
            bench = Bench({**os.environ, **urls}, redis, archive, archived, writer, arguments.memories)
            await bench.prepared()
            await bench.fill()
            results = {"rebuild": await by_command(bench, "rebuild", "--yes")}
            if not arguments.without_verify:
                results["verify"] = await by_command(bench, "verify")
            async with service("sync", servers) as sync:
                await bench.followed()
                results["emptied"] = await by_sync(bench, sync, 0)
                await bench.followed()
                results["emptied_while_agents_store"] = await by_sync(bench, sync, arguments.writers)
    return {"load_average": round(os.getloadavg()[0], 1), "dims": bench.dims, **results}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--memories", type=int, default=20_000)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--without-verify", action="store_true", help="`memoryd sync verify` is not measured")
    parser.add_argument("--embedder", choices=("auto", "hashed"), default="auto", help="of the daemon; the vectors are random")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
