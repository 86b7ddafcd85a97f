"""How well, and how fast, the daemon recalls the evidence of LoCoMo's questions: through the protocol, with real servers.

    python -m bench.recall PATH/locomo_dev.json [--words-only] [--distractors 50000] [--json FILE]

The conversations are imported as `memoryd import` does it, and asked when every turn has its vector. Then the memories of
strangers are added, and every question is asked again: no score may change. `bare` is the retrieval alone, in this
process, with the question's vector at hand; `protocol` is what a client waits with the vector in the daemon's cache.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis

from bench import harness
from bench.evidence import (
    CATEGORIES,
    LOCOMO_DEV_SHA256,
    TENANT,
    Answer,
    Asked,
    data_options,
    embedder_of,
    load,
    means,
    present,
    score,
    served,
    table,
)
from bench.harness import quantiles
from memoryd import connect
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.embed.cache import EmbeddingCache
from memoryd.exchange import BadItem, read
from memoryd.hot.changes import Projection
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.keys import Keys
from memoryd.limits import RECALL_LIMIT_MAX
from memoryd.model.ids import event_id, hash_content
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.question import Question
from memoryd.model.record import Record
from memoryd.model.results import Recalled
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling

BATCH = 250
WARM_UP = 20  # questions asked before the clock runs


@dataclass(frozen=True)
class Run:
    """Every question asked once."""

    lines: list[dict[str, Any]]
    scores: list[list[tuple[str, float]]]
    protocol_ms: list[float]


async def ask_all(url: str, asked: Sequence[Asked]) -> Run:
    """Each question with all the hits that one answer can have, and then once more as a client usually asks it."""
    run = Run([], [], [])
    for project in sorted({one.project for one in asked}):
        async with connect(url, tenant=TENANT, project=project) as memory:
            for one in (one for one in asked if one.project == project):
                found = await memory.recall(one.text, limit=RECALL_LIMIT_MAX)
                run.lines.append(score(one, _answer(found)))
                run.scores.append([(hit.memory.id, hit.score) for hit in found])
                started = time.perf_counter()
                await memory.recall(one.text)
                run.protocol_ms.append((time.perf_counter() - started) * 1000)
    return run


def _answer(found: Recalled) -> Answer:
    memories = [hit.memory for hit in found]
    return Answer([one.metadata["dia_id"] for one in memories], [one.session_id for one in memories])


class Known(EmbeddingCache):
    """Vectors that are at hand: what embedding costs is another question."""

    vectors: dict[str, bytes]

    async def embed(self, scopes: Sequence[Scope], texts: Sequence[str], *, by: Any = None) -> list[bytes]:
        return [self.vectors.setdefault(text, _random_vector(random.Random(text), self.embedder.dims)) for text in texts]


async def bare(settings: Settings, asked: Sequence[Asked], embedder: Any) -> list[float]:
    """Milliseconds of each retrieval without protocol and without embedding."""
    async with open_redis(settings.redis_url) as redis:
        cache = Known(redis, embedder) if embedder else None
        if cache:
            cache.vectors = {}
        search = Search(redis, ef_runtime=settings.vector_ef_runtime)
        recalling = Recalling(Records(redis, Keys(settings.buckets)), search, cache, clock=SystemClock())
        times, warm = [], asked[:WARM_UP]
        for one in [*warm, *asked]:
            started = time.perf_counter()
            await recalling.recall(Scope(TENANT, one.project), Question(query=one.text))
            times.append((time.perf_counter() - started) * 1000)
    return times[len(warm) :]


def _random_vector(chance: random.Random, dims: int) -> bytes:
    row = np.random.default_rng(chance.getrandbits(64)).standard_normal(dims).astype("<f4")
    return bytes((row / np.linalg.norm(row)).astype("<f4").tobytes())


async def add_strangers(redis: Redis, settings: Settings, path: Path, count: int, embedder: Any) -> None:
    """Memories of other tenants, made of the same words, straight into Redis."""
    chance, now = random.Random(7), datetime(2026, 1, 1, tzinfo=UTC)
    words = [word for one in read(path) if not isinstance(one, BadItem) for word in one["content"].split()]
    records, batch = Records(redis, Keys(settings.buckets)), []
    for number in range(count):
        content = " ".join(chance.choices(words, k=chance.randint(5, 60)))
        scope = Scope(f"stranger-{number % 40}", f"project-{number % 80}", "agent", f"session-{number // 50}")
        content_hash, moment = hash_content(content), now + timedelta(seconds=number)
        memory = Memory(
            id=event_id(scope, str(number), content_hash), tenant=scope.tenant, project=scope.project,
            agent_id=scope.agent, session_id=scope.session, memory_type=MemoryType.EPISODIC, content=content,
            content_hash=content_hash, importance=0.5, created_at=moment, last_accessed=moment, version=1,
            valid_from=moment, recorded_at=moment, embedding_model=embedder.model if embedder else "",
            metadata={"speaker": chance.choice(words)},
        )  # fmt: skip
        batch.append(Projection(Record(memory, _random_vector(chance, embedder.dims) if embedder else None)))
        if len(batch) == BATCH or number == count - 1:
            await records.project_many(batch)
            batch = []


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    asked = load(arguments.data)
    async with served(arguments.data, embedder=embedder_of(arguments)) as servers:
        settings = load_settings(redis_url=servers.redis_url)
        async with connect(servers.redis_url, tenant=TENANT) as memory:
            embedder = (await memory.stats()).embedder
        first = await ask_all(servers.redis_url, asked)
        results: dict[str, Any] = {
            "questions": len(asked), "recall": _by_category(first.lines),
            "protocol": quantiles(first.protocol_ms), "bare": quantiles(await bare(settings, asked, embedder)),
        }  # fmt: skip
        print(table(results["recall"]), flush=True)
        if arguments.distractors:
            async with open_redis(servers.redis_url) as redis:
                await add_strangers(redis, settings, arguments.data, arguments.distractors, embedder)
            second = await ask_all(servers.redis_url, asked)
            changed = sum(one != other for one, other in zip(first.scores, second.scores, strict=True))
            results[f"with {arguments.distractors} memories of strangers"] = {
                "questions whose answer or scores changed": changed, "protocol": quantiles(second.protocol_ms),
                "bare": quantiles(await bare(settings, asked, embedder)),
            }  # fmt: skip
    return {**results, "lines": first.lines}


def _by_category(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    rows = {name: means(line for line in lines if line["category"] == number) for number, name in CATEGORIES.items()}
    return {"all": means(lines), **rows}


def options() -> argparse.ArgumentParser:
    parser = data_options(__doc__)
    parser.add_argument("--distractors", type=int, default=0)
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
