"""How well, and how fast, the daemon recalls the evidence of LoCoMo's questions: through the protocol, with real servers.

    python -m bench.recall PATH/locomo_dev.json [--words-only] [--distractors 50000] [--json FILE]

The conversations are imported as `memoryd import` does it, and asked when every turn has its vector. Then the memories of
strangers are added, and every question is asked again: no score may change. `bare` is the retrieval alone, in this
process, with the question's vector at hand; `protocol` is what a client waits with the vector in the daemon's cache.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
from bench.strangers import GRAPH, fill, random_vector, strangers, words_of
from memoryd import connect
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.embed.cache import EmbeddingCache
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.keys import Keys
from memoryd.limits import RECALL_LIMIT_MAX
from memoryd.model.question import Question
from memoryd.model.results import Recalled
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling

WARM_UP = 20  # questions asked before the clock runs
AT_ONCE, TIMED = 4, 200  # questions that are under way together, and about how many are asked alone, with a clock


@dataclass(frozen=True)
class Run:
    """Every question asked once."""

    lines: list[dict[str, Any]]
    scores: list[list[tuple[str, float]]]
    protocol_ms: list[float]


async def ask_all(url: str, asked: Sequence[Asked]) -> Run:
    """Each question with all the hits that one answer can have, some at a time; then some of them, one by one, as a client
    usually asks."""
    run, alone = Run([], [], []), {id(one) for one in asked[:: max(1, len(asked) // TIMED)]}
    for project in sorted({one.project for one in asked}):
        here = [one for one in asked if one.project == project]
        async with connect(url, tenant=TENANT, project=project) as memory:
            for start in range(0, len(here), AT_ONCE):
                some = here[start : start + AT_ONCE]
                found = await asyncio.gather(*(memory.recall(one.text, limit=RECALL_LIMIT_MAX) for one in some))
                run.lines.extend(score(one, _answer(hits)) for one, hits in zip(some, found, strict=True))
                run.scores.extend([(hit.memory.id, hit.score) for hit in hits] for hits in found)
            for one in (one for one in here if id(one) in alone):
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
        return [self.vectors.setdefault(text, random_vector(random.Random(text), self.embedder.dims)) for text in texts]


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


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    asked = load(arguments.data)
    # The graph of `strangers.GRAPH` in both halves, so that only the strangers differ.
    settings = load_settings(**GRAPH) if arguments.distractors else load_settings()
    graph = {"MEMORYD_VECTOR_EF_CONSTRUCTION": str(settings.vector_ef_construction)}
    async with served(arguments.data, embedder=embedder_of(arguments), **graph) as servers:
        settings = settings.model_copy(update={"redis_url": servers.redis_url})
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
                others = strangers(words_of(arguments.data), arguments.distractors, embedder.model if embedder else "")
                await fill(redis, settings, others, embedder.dims if embedder else None)
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
