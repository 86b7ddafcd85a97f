"""What grows with the number of memories: times, bytes, and how long an emptied Redis takes to be whole.

    python -m bench.scale [--sizes 10000,100000] [--gets 2000] [--recalls 200] [--stores 200] [--json FILE]

For each size it starts Redis, MongoDB and a daemon of its own, writes so many memories into MongoDB as the archiver would, and
starts sync, which fills Redis: that is the time of a rebuild, its indexes included. Then clients of some projects ask, one request
at a time. A project has 1,000 memories, so that a larger store means more projects, not larger scopes. Vectors are seeded and lie
in clusters, as those of texts do: around centres of their own, a project's around few of them. The daemon's embedder takes no time
to speak of, and gives a question a vector that has nothing to do with its words: what is near makes no difference to time.

Found: how many of the ten nearest of all memories a graph search finds (against the exact ones), with the index's own settings.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from redis.asyncio import Redis
from redis.commands.search.query import Query

from bench import harness, load
from bench.harness import HASHED, own_servers, promise, quantiles, service
from bench.tiers import index_bytes, record_sizes
from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.archive.codec import to_document
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import load_settings
from memoryd.hot.client import open_redis
from memoryd.keys import index, memories
from memoryd.model.ids import event_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.record import Record
from memoryd.model.scope import Scope

GET_TIMES, RECALL_TIMES = 1.3, 3.0  # promised: the largest size's median over the smallest's
BYTES_TIMES = 1.8  # promised: of the vector in the record, the vector in the index, and the content
RECORDS = 1_000  # that are looked at for what a record's parts take
VECTOR, CONTENT, INDEXED = "Redis: record: vector", "Redis: record: content", "Redis: index: vectors"
PROJECT = 1_000
BATCH = 1_000
DIMS = 384
CENTRES, CENTRES_OF_PROJECT, SPREAD = 500, 12, 0.6
WORDS = 5_000
CLIENTS = 8  # each of a project of its own
NEAREST, SEARCHED = 10, 50


@dataclass
class Made:
    """So many memories, the same for the same size: seeded texts and vectors."""

    size: int
    each: int = PROJECT  # of a project

    def __post_init__(self) -> None:
        chance = np.random.default_rng(self.size)
        centres = _unit(chance.standard_normal((CENTRES, DIMS)))
        projects = (self.size + self.each - 1) // self.each
        own = chance.integers(CENTRES, size=(projects, CENTRES_OF_PROJECT))
        which = own[np.arange(self.size) // self.each, chance.integers(CENTRES_OF_PROJECT, size=self.size)]
        noise = chance.standard_normal((self.size, DIMS)).astype(np.float32) * (SPREAD / np.sqrt(DIMS))
        self.vectors = _unit(centres[which] + noise)

    def contents(self) -> Iterator[str]:
        """As long as what people say, of words that are as unequally common as words are (Zipf)."""
        chance = random.Random(self.size)
        words = [f"word{number}" for number in range(WORDS)]
        weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(WORDS)))
        for _ in range(self.size):
            yield " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(6, 24)))

    def memories(self, model: str) -> Iterator[Memory]:
        """Events of one agent in each project, one after the other; each says which two of its session it follows."""
        began, before = SystemClock().now(), list[tuple[Scope, str]]()
        for number, content in enumerate(self.contents()):
            now = began + timedelta(microseconds=number)
            scope = Scope("bench", f"p{number // self.each}", "a", f"s{number % self.each // 50}")
            content_hash = hash_content(content)
            memory_id = event_id(scope, str(number), content_hash)
            follows = [one for of, one in before if of == scope]
            before = [(scope, memory_id), *before[:1]]
            yield Memory(
                id=memory_id, follows=follows, tenant=scope.tenant, project=scope.project, agent_id=scope.agent,
                session_id=scope.session, memory_type=MemoryType.EPISODIC, content=content, content_hash=content_hash,
                importance=0.5, created_at=now, last_accessed=now, version=1, valid_from=now, recorded_at=now,
                embedding_model=model,
            )  # fmt: skip


def _unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


async def archived(made: Made, archive: Archive, model: str) -> list[tuple[str, str]]:
    """Writes them as the archiver would; the project and id of each."""
    ids = []
    memories = enumerate(made.memories(model))
    while some := list(itertools.islice(memories, BATCH)):
        documents = [to_document(Record(one, made.vectors[number].tobytes())) for number, one in some]
        await archive.memories.insert_many(documents, ordered=False)
        versions = [{**one, "_id": f"{one['_id']}:1", "memory_id": one["_id"], "op": "stored"} for one in documents]
        await archive.versions.insert_many(versions, ordered=False)
        ids += [(one.project, one.id) for _, one in some]
    return ids


async def at_size(size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured at one size."""
    made = await asyncio.to_thread(Made, size)
    async with (
        own_servers() as servers, service("daemon", servers, embedder=HASHED),
        open_redis(servers.redis_url) as redis, open_mongo(servers.mongo_url) as mongo,
    ):  # fmt: skip
        archive = Archive(mongo[load_settings().mongo_database])
        model = await harness.prepared(redis)
        empty = await used(redis)
        ids = await archived(made, archive, model)
        began = time.perf_counter()
        async with service("sync", servers, embedder=HASHED):
            await harness.compared(redis)
            seconds = time.perf_counter() - began
            bytes_ = await bytes_of(redis, archive, size, empty)
            found = await recall_of_graph(redis, made)
            times = await asked(servers.redis_url, ids, made, arguments)
    return {
        "size": size, "filled": {"seconds": round(seconds, 1), "memories_per_second": round(size / seconds)},
        "bytes_per_memory": bytes_, "graph_recall_at_10": found, "times": times,
    }  # fmt: skip


async def used(redis: Redis) -> int:
    """The bytes that Redis has for its data."""
    return int((await redis.info("memory"))["used_memory"])


async def bytes_of(redis: Redis, archive: Archive, size: int, empty: int) -> dict[str, float]:
    """Bytes of a memory: all of Redis's, the index's parts, and MongoDB's, as its files have them."""
    parts = await index_bytes(redis)
    sizes = {name: await archive.database.command("collStats", name) for name in ("memories", "versions")}
    found = {"Redis": await used(redis) - empty, **{f"Redis: index: {name}": one for name, one in parts.items()}}
    found |= {f"MongoDB: {name}": one["storageSize"] + one["totalIndexSize"] for name, one in sizes.items()}
    whole, *others = ((name, round(one / size)) for name, one in found.items())
    return dict([whole, *(await record_bytes(redis)).items(), *others])


async def record_bytes(redis: Redis) -> dict[str, int]:
    """Bytes of a record's parts, of a sample of them."""
    keys: list[bytes] = []
    async for key in redis.scan_iter(match=f"{memories('episodic')}*", count=1000):
        if len(keys) == RECORDS:
            break
        keys.append(key)
    parts = await record_sizes(redis, keys, "embedding", "content")
    whole, vector, content = (round(sum(some) / len(keys)) for some in parts)
    return {VECTOR: vector, CONTENT: content, "Redis: record: all else": whole - content - vector}


async def recall_of_graph(redis: Redis, made: Made) -> float:
    """The share of the ten nearest that a search of the whole index finds."""
    client: Any = redis
    questions = _unit(made.vectors[:: max(1, made.size // SEARCHED)][:SEARCHED] + np.float32(0.02))
    nearest = np.sort(made.vectors @ questions.T, axis=0)[-NEAREST:][0]  # the tenth's likeness, for each question
    kept = 0
    for question, least in zip(questions, nearest, strict=True):
        query = Query(f"*=>[KNN {NEAREST} @embedding $vector AS distance]").return_fields("distance").paging(0, NEAREST).dialect(2)
        answer = await client.ft(index("episodic")).search(query, {"vector": question.tobytes()})
        kept += sum(1 - float(one.distance) >= least - 1e-5 for one in answer.docs)
    return round(float(kept) / (NEAREST * len(questions)), 3)


async def asked(url: str, ids: list[tuple[str, str]], made: Made, arguments: argparse.Namespace) -> dict[str, Any]:
    """What each verb takes, asked by clients of some projects in turn, one request at a time."""
    chance = random.Random(1)
    count = max(1, made.size // PROJECT)
    projects = [f"p{number}" for number in chance.sample(range(count), min(CLIENTS, count))]
    inside = {one: [memory_id for project, memory_id in ids if project == one] for one in projects}
    questions = [" ".join(one.split()[:5]) for one in itertools.islice(made.contents(), arguments.recalls)]
    async with AsyncExitStack() as stack:
        clients: dict[str, MemoryClient] = {
            one: await stack.enter_async_context(connect(url, tenant="bench", project=one, agent="a")) for one in projects
        }

        def of(number: int) -> str:
            return projects[number % len(projects)]

        verbs: dict[str, tuple[int, load.Call]] = {
            "get": (arguments.gets, lambda _, n: clients[of(n)].get(chance.choice(inside[of(n)]))),
            "recall": (arguments.recalls, lambda _, n: clients[of(n)].recall(questions[n], limit=10)),
            "store": (arguments.stores, lambda _, n: clients[of(n)].store(f"Something new, {n}.", type="episodic")),
        }
        return {verb: quantiles((await load.closed(call, count, 1)).milliseconds) for verb, (count, call) in verbs.items()}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    curves = []
    for size in arguments.sizes:
        curves.append(await at_size(size, arguments))
        print(f"{size:,}: {curves[-1]}", file=sys.stderr, flush=True)
    small, large = curves[0], curves[-1]
    kept = [
        promise(
            f"`{verb}` at {large['size']:,} memories: of that at {small['size']:,}, p50",
            harness.spread([large["times"][verb]["p50_ms"] / small["times"][verb]["p50_ms"]]), most=most,
        )
        for verb, most in (("get", GET_TIMES), ("recall", RECALL_TIMES))
        if large is not small
    ]  # fmt: skip
    bytes_ = large["bytes_per_memory"]
    least = sum(bytes_[name] for name in (VECTOR, CONTENT, INDEXED))
    what = f"Redis bytes of a memory at {large['size']:,}: of its content's and its vector's, in the record and in the index"
    kept.append(promise(what, harness.spread([bytes_["Redis"] / least]), most=BYTES_TIMES))
    return {"curves": curves, "promises": kept}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--sizes", type=harness.sizes, default=[10_000, 100_000])
    parser.add_argument("--gets", type=int, default=2_000)
    parser.add_argument("--recalls", type=int, default=200)
    parser.add_argument("--stores", type=int, default=200)
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
