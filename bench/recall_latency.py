"""How long a recall takes without its embedding: 55,000 memories are loaded, one conversation is in scope.

    python bench/recall_latency.py [PATH/locomo.json] [--memories 55000] [--rounds 5] [--json FILE]

It starts its own Redis. `floor` is the least that the same questions can take: the very commands that a recall has sent,
sent again, their answers read by the Redis client and thrown away. It is measured beside each recall, so that a noisy
machine slows both: what counts is their ratio. Vectors are random: which memories are near makes no difference to time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.demo.conversation import default_file, first_conversation
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.protocol import Embedder
from memoryd.exchange import BadItem, questions, read
from memoryd.hot.changes import Projection
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.keys import Keys
from memoryd.local.servers import open_servers
from memoryd.model.ids import event_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.question import Question
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling
from memoryd.stores import prepare_redis

PROMISED_MS = {"p50": 12.0, "p95": 25.0}
DIMS, BATCH = 384, 250
HERE = Scope("bench", "conversation", "bench")
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Model:
    """What the index has to know of a model."""

    model: str = "random"
    dims: int = DIMS


class Known(EmbeddingCache):
    """Vectors that are at hand."""

    async def embed(self, scopes: Sequence[Scope], texts: Sequence[str], *, by: Embedder | None = None) -> list[bytes]:
        return [vector(random.Random(text)) for text in texts]


@dataclass
class Sent:
    """The commands of each round trip since it was emptied."""

    trips: list[list[tuple[Any, ...]]] = field(default_factory=list)

    def watch(self) -> None:
        """Notes what every pipeline of this process sends from now on."""
        execute = Pipeline.execute

        async def noted(pipe: Any, *args: Any, **options: Any) -> Any:
            self.trips.append([command for command, _ in pipe.command_stack])
            return await execute(pipe, *args, **options)

        Pipeline.execute = noted  # type: ignore[method-assign,assignment]


def vector(chance: random.Random) -> bytes:
    row = np.random.default_rng(chance.getrandbits(64)).standard_normal(DIMS).astype("<f4")
    return bytes((row / np.linalg.norm(row)).astype("<f4").tobytes())


def memory(scope: Scope, number: int, content: str, speaker: str, follows: list[str]) -> Memory:
    content_hash, moment = hash_content(content), START + timedelta(seconds=number)
    return Memory(
        id=event_id(scope, str(number), content_hash), tenant=scope.tenant, project=scope.project, agent_id=scope.agent,
        session_id=scope.session, memory_type=MemoryType.EPISODIC, content=content, content_hash=content_hash,
        importance=0.5, created_at=moment, last_accessed=moment, version=1, valid_from=moment, recorded_at=moment,
        embedding_model="random", metadata={"speaker": speaker}, follows=follows,
    )  # fmt: skip


def conversation(path: Path) -> list[Memory]:
    made: list[Memory] = []
    for number, turn in enumerate(first_conversation(path).turns):
        scope = HERE.narrowed(turn.get("session") or "session")
        follows = [one.id for one in reversed(made[-2:]) if one.session_id == scope.session]
        made.append(memory(scope, number, turn["content"], turn["metadata"].get("speaker", ""), follows))
    return made


def strangers(words: Sequence[str], count: int) -> list[Memory]:
    """Memories of others, made of the same words."""
    chance = random.Random(7)
    scopes = [Scope(f"tenant-{n % 40}", f"project-{n % 80}", "agent", f"session-{n // 50}") for n in range(count)]
    return [
        memory(scope, number, " ".join(chance.choices(words, k=chance.randint(5, 60))), chance.choice(words), [])
        for number, scope in enumerate(scopes)
    ]


async def fill(redis: Redis, settings: Settings, memories: Sequence[Memory]) -> None:
    records, chance = Records(redis, Keys(settings.buckets)), random.Random(3)
    for start in range(0, len(memories), BATCH):
        some = memories[start : start + BATCH]
        await records.project_many([Projection(Record(one, vector(chance))) for one in some])


@asynccontextmanager
async def filled(path: Path, count: int) -> AsyncIterator[tuple[Redis, Settings]]:
    """A Redis with so many memories, the conversation's included."""
    with tempfile.TemporaryDirectory() as data:
        async with open_servers(load_settings(), Path(data)) as servers:
            settings = load_settings(redis_url=servers.redis_url)
            async with open_redis(servers.redis_url) as redis:
                await prepare_redis(redis, Keys(settings.buckets), settings, Model())  # type: ignore[arg-type]
                turns = conversation(path)
                words = [word for one in read(path) if not isinstance(one, BadItem) for word in one["content"].split()]
                await fill(redis, settings, strangers(words, count - len(turns)))
                await fill(redis, settings, turns)
                yield redis, settings


async def milliseconds(redis: Redis, recalling: Recalling, sent: Sent, query: str) -> tuple[float, float, int]:
    """Of a recall, of its floor, and how many round trips it took."""
    sent.trips.clear()
    started = time.perf_counter()
    await recalling.recall(HERE, Question(query=query))
    took, trips = time.perf_counter() - started, list(sent.trips)
    started = time.perf_counter()
    for commands in trips:
        async with redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            await pipe.execute()
    return 1000 * took, 1000 * (time.perf_counter() - started), len(trips)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    path = arguments.data or default_file()
    asked = [one.question for one in questions(path, first_conversation(path).name)]
    sent = Sent()
    async with filled(path, arguments.memories) as (redis, settings):
        search = Search(redis, ef_runtime=settings.vector_ef_runtime)
        cache = Known(redis, Model())  # type: ignore[arg-type]
        recalling = Recalling(Records(redis, Keys(settings.buckets)), search, cache, clock=SystemClock())
        sent.watch()
        for query in asked[:20]:
            await milliseconds(redis, recalling, sent, query)
        found = [
            await milliseconds(redis, recalling, sent, query) for _ in range(arguments.rounds) for query in asked
        ]
    bare, floor = [one for one, _, _ in found], [one for _, one, _ in found]
    quantiles = {"bare": _quantiles(bare), "floor": _quantiles(floor)}
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "memories": arguments.memories, "questions": len(asked), "round trips": sorted({one for _, _, one in found}),
        **quantiles, "median of bare / floor": round(statistics.median(b / f for b, f, _ in found), 2),
        "within the promise": all(quantiles["bare"][name] <= most for name, most in PROMISED_MS.items()),
    }  # fmt: skip


def _quantiles(times: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49], 2), "p95": round(cuts[94], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a file in LoCoMo's form; its first conversation is in scope")
    parser.add_argument("--memories", type=int, default=55_000)
    parser.add_argument("--rounds", type=int, default=5, help="how often every question is asked")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments))
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
