"""How fast the whole journey is, beside what the servers allow: store, embed, archive, recall, follow an edit back.

    python -m bench.journey [--memories 2000] [--clients 16] [--recalls 300] [--embedder auto] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync, and is the load generator itself. The floor is the same atomic step,
called by as many coroutines without the protocol, in the same run: on a noisy machine only their ratio means something.
The contents are sentences of the demo's conversation with a number, so that each is new to the embedding cache.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from itertools import islice
from typing import Any

from bench import harness
from bench.harness import CONVERSATION, new_records, quantiles, running, sentences
from bench.load import closed
from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.config import Settings
from memoryd.exchange import questions
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.keys import Keys


async def stores(memory: MemoryClient, contents: list[str], clients: int) -> dict[str, Any]:
    """Store through the protocol, then how long embedding and archiving take to catch up."""
    started = time.perf_counter()
    load = await closed(lambda _, number: memory.store(contents[number], type="episodic"), len(contents), clients)
    archived = embedded = None
    while archived is None or embedded is None:
        stats = await memory.stats()
        passed = time.perf_counter() - started
        archived = archived or (passed if not stats.archive_backlog or stats.archive.memories == len(contents) else None)
        embedded = embedded or (passed if not stats.pending else None)
        await asyncio.sleep(0.02)
    return {
        "stores_per_second": round(load.rate), **quantiles(load.milliseconds), "all_archived_seconds": round(archived, 2),
        "all_embedded_seconds": round(embedded, 2), "embedded_per_second": round(len(contents) / embedded),
    }  # fmt: skip


async def floor(settings: Settings, count: int, clients: int) -> float:
    """The same atomic step without protocol and daemon: stores a second."""
    async with open_redis(settings.redis_url) as redis:
        records = Records(redis, Keys(settings.buckets))
        new, storing = new_records(records, "floor", count), HotStoring(records)
        return (await closed(lambda _, __: storing.store([next(new)]), count, clients)).rate


async def recalls(memory: MemoryClient, asked: list[str], clients: int) -> dict[str, Any]:
    """Recall alone and with many clients. Each question is embedded once; then its vector is cached."""
    for question in dict.fromkeys(asked):
        await memory.recall(question)
    alone, busy = [await closed(lambda _, number: memory.recall(asked[number]), len(asked), some) for some in (1, clients)]
    return {
        "alone": quantiles(alone.milliseconds), "clients": quantiles(busy.milliseconds), "recalls_per_second": round(busy.rate),
    }  # fmt: skip


async def edits(memory: MemoryClient, settings: Settings, count: int) -> dict[str, float]:
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
        for number in range(count):
            started = time.perf_counter()
            await memories.update_one({"_id": kept.id}, {"$set": {"content": f"An edit is timed: {number}."}})
            await heard.get()
            times.append((time.perf_counter() - started) * 1000)
    listening.cancel()
    return quantiles(times)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    memories, clients = arguments.memories, arguments.clients
    asked = [one.question for one in questions(CONVERSATION)]
    async with (
        running(embedder=arguments.embedder) as parts,
        connect(parts.url, tenant="bench", project="journey", agent="bench") as memory,
    ):
        results: dict[str, Any] = {"store": await stores(memory, list(islice(sentences(), memories)), clients)}
        results["recall"] = await recalls(memory, [asked[i % len(asked)] for i in range(arguments.recalls)], clients)
        results["edit_in_mongodb_to_event"] = await edits(memory, parts.settings, arguments.edits)
        results["floor_stores_per_second"] = round(await floor(parts.settings, memories, clients))
    results["store_of_floor"] = round(results["store"]["stores_per_second"] / results["floor_stores_per_second"], 2)
    return results


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--memories", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--recalls", type=int, default=300)
    parser.add_argument("--edits", type=int, default=50, help="of a document in MongoDB")
    parser.add_argument("--embedder", choices=("auto", "hashed", "none"), default="auto")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
