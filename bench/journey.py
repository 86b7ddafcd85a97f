"""How fast the whole journey is, beside what the servers allow: store, embed, archive, recall, follow an edit back.

    python bench/journey.py [--memories 2000] [--clients 16] [--recalls 300] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync, and is the load generator itself. The floor is the same atomic step,
called by as many coroutines without the protocol, in the same run: on a noisy machine only their ratio means something.
The contents are sentences of the demo's conversation with a number, so that each is new to the embedding cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from memoryd import MemoryClient, connect
from memoryd.archive.store import open_mongo
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.exchange import BadItem, questions, read
from memoryd.hot.changes import Request
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.keys import Keys
from memoryd.local.servers import Servers, open_servers
from memoryd.local.up import open_services
from memoryd.model.memory import NewMemory
from memoryd.model.scope import Scope
from memoryd.storing import Arrival, Storing

CONVERSATION = Path(__file__).parent.parent / "memoryd" / "demo_data" / "conversation.json"
EDITS = 50


async def measured(works: Sequence[Callable[[], Awaitable[Any]]], at_once: int) -> tuple[float, list[float]]:
    """Runs all, `at_once` at a time (a closed loop); the rate per second, and each one's milliseconds."""
    waiting, times = iter(works), []

    async def worker() -> None:
        for work in waiting:
            started = time.perf_counter()
            await work()
            times.append((time.perf_counter() - started) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return len(works) / (time.perf_counter() - started), times


def quantiles(times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(cuts[49], 2), "p95_ms": round(cuts[94], 2), "p99_ms": round(cuts[98], 2)}


async def stores(memory: MemoryClient, contents: list[str], clients: int) -> dict[str, Any]:
    """Store through the protocol, then how long embedding and archiving take to catch up."""
    started = time.perf_counter()
    rate, times = await measured([lambda c=c: memory.store(c, type="episodic") for c in contents], clients)  # type: ignore[misc]
    archived = embedded = None
    while archived is None or embedded is None:
        stats = await memory.stats()
        passed = time.perf_counter() - started
        archived = archived or (passed if not stats.archive_backlog or stats.archive.memories == len(contents) else None)
        embedded = embedded or (passed if not stats.pending else None)
        await asyncio.sleep(0.02)
    return {
        "stores_per_second": round(rate), **quantiles(times), "all_archived_seconds": round(archived, 2),
        "all_embedded_seconds": round(embedded, 2), "embedded_per_second": round(len(contents) / embedded),
    }  # fmt: skip


async def floor(settings: Settings, contents: list[str], clients: int) -> float:
    """The same atomic step without protocol and daemon: stores a second."""
    async with open_redis(settings.redis_url) as redis:
        records = Records(redis, Keys(settings.buckets))
        storing = Storing(records, None, SystemClock())
        numbers = count()

        async def store(content: str) -> None:
            number = next(numbers)
            new = NewMemory(content=content, dedup=False)
            arrival = Arrival(Scope("bench", "floor"), new, Request(f"floor {number}", "f"))
            await records.store([storing.new_record(arrival)])

        rate, _ = await measured([lambda c=c: store(c) for c in contents], clients)  # type: ignore[misc]
    return rate


async def recalls(memory: MemoryClient, asked: list[str], clients: int) -> dict[str, Any]:
    """Recall alone and with many clients. Each question is embedded once; then its vector is cached."""
    for question in dict.fromkeys(asked):
        await memory.recall(question)
    _, alone = await measured([lambda q=q: memory.recall(q) for q in asked], 1)  # type: ignore[misc]
    rate, busy = await measured([lambda q=q: memory.recall(q) for q in asked], clients)  # type: ignore[misc]
    return {"alone": quantiles(alone), "clients": quantiles(busy), "recalls_per_second": round(rate)}


async def edits(memory: MemoryClient, settings: Settings) -> dict[str, float]:
    """From a foreign edit in MongoDB to the event that Redis has it."""
    kept = await memory.store("An edit is timed.", type="fact", durability="archived")
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def listen() -> None:
        async for event in memory.events():
            if event.id == kept.id and event.op == "updated":
                heard.put_nowait(event.version)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    times = []
    async with open_mongo(settings.mongo_url) as mongo:
        memories = mongo[settings.mongo_database]["memories"]
        for number in range(EDITS):
            started = time.perf_counter()
            await memories.update_one({"_id": kept.id}, {"$set": {"content": f"An edit is timed: {number}."}})
            await heard.get()
            times.append((time.perf_counter() - started) * 1000)
    listening.cancel()
    return quantiles(times)


async def journey(servers: Servers, memories: int, clients: int, recall_count: int) -> dict[str, Any]:
    settings = load_settings(redis_url=servers.redis_url, mongo_url=servers.mongo_url)
    lines = [one["content"] for one in read(CONVERSATION) if not isinstance(one, BadItem)]
    numbered = (f"{lines[number % len(lines)]} ({number})" for number in count())
    asked = [one.question for one in questions(CONVERSATION)]
    async with connect(servers.redis_url, tenant="bench", project="journey", agent="bench") as memory:
        results: dict[str, Any] = {"store": await stores(memory, list(islice(numbered, memories)), clients)}
        results["recall"] = await recalls(memory, [asked[i % len(asked)] for i in range(recall_count)], clients)
        results["edit_in_mongodb_to_event"] = await edits(memory, settings)
        results["floor_stores_per_second"] = round(await floor(settings, list(islice(numbered, memories)), clients))
    results["store_of_floor"] = round(results["store"]["stores_per_second"] / results["floor_stores_per_second"], 2)
    return results


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as data:
        async with open_servers(load_settings(), Path(data)) as servers, open_services(servers):
            results = await journey(servers, arguments.memories, arguments.clients, arguments.recalls)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return {"machine": machine, "memories": arguments.memories, "clients": arguments.clients, **results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--recalls", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments))
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
