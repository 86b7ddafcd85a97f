"""How long a recall takes without its embedding: so many memories are loaded, one conversation is in scope.

    python -m bench.recall_latency [PATH/locomo.json] [--sizes 55000] [--rounds 5] [--embedder none|auto] [--json FILE]

It starts its own Redis, and fills it past the daemon (`bench.strangers`). `floor` is the least that the same questions can
take: the very commands that a recall has sent, sent again, their answers read by the Redis client and thrown away. It is
measured beside each recall, so that a noisy machine slows both: what counts is their ratio. Vectors are random: which
memories are near makes no difference to time. Each question is asked once before the clock runs, so that its vector is at
hand; all of it on the event loop that the daemon has. Then all are asked once more with the embedding model (`--embedder auto`),
for which share of a recall's time is the model's.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from bench import harness
from bench.harness import own_servers, promise, quantiles, ratio, spread
from bench.strangers import GRAPH, event, fill, random_vector, strangers, words_of
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.demo.conversation import default_file, first_conversation
from memoryd.embed import open_embedder
from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.protocol import Embedder
from memoryd.exchange import questions
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.keys import Keys
from memoryd.model.memory import Memory
from memoryd.model.question import Question
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling
from memoryd.stores import prepare_redis

PROMISED_MS = {"p50_ms": 12.0, "p95_ms": 25.0}
PROMISED_RATIOS = {"p50_ms": 2.5, "p99_ms": 4.0}  # of the floor's
MODELS, MODELS_SHARE = "`recall` with its embedding at {:,} memories: the model's share of the time", 0.7  # promised
DIMS = 384
HERE = Scope("bench", "conversation", "bench")
Took = tuple[float, float, int]
"""Milliseconds of a recall, those of its floor, and its round trips."""


@dataclass
class Model:
    """What the index has to know of a model."""

    model: str = "random"
    dims: int = DIMS


class Known(EmbeddingCache):
    """Vectors that are at hand: what making one costs is no part of a recall here, but where a model is given, which makes one,
    too."""

    reader: Embedder | None = None
    seconds = 0.0
    """That the model has taken."""

    async def embed(self, scopes: Sequence[Scope], texts: Sequence[str], *, by: Embedder | None = None) -> list[bytes]:
        if self.reader:
            started = time.perf_counter()
            await self.reader.embed(texts)
            self.seconds += time.perf_counter() - started
        return [_vector_of(text) for text in texts]


@dataclass
class Sent:
    """The commands of each round trip since it was emptied."""

    trips: list[list[tuple[Any, ...]]] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notes what every pipeline of this process sends in the block."""
        execute = Pipeline.execute

        async def noted(pipe: Any, *args: Any, **options: Any) -> Any:
            self.trips.append([command for command, _ in pipe.command_stack])
            return await execute(pipe, *args, **options)

        Pipeline.execute = noted  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            Pipeline.execute = execute  # type: ignore[method-assign]


@cache
def _vector_of(text: str) -> bytes:
    return random_vector(random.Random(text), DIMS)


def conversation(path: Path) -> list[Memory]:
    made: list[Memory] = []
    for number, turn in enumerate(first_conversation(path).turns):
        scope = HERE.narrowed(turn.get("session") or "session")
        follows = [one.id for one in reversed(made[-2:]) if one.session_id == scope.session]
        made.append(event(scope, number, turn["content"], turn["metadata"].get("speaker", ""), Model.model, follows))
    return made


@asynccontextmanager
async def filled(path: Path, count: int) -> AsyncIterator[tuple[Redis, Settings]]:
    """A Redis with so many memories, the conversation's included."""
    async with own_servers() as servers, open_redis(servers.redis_url) as redis:
        settings = load_settings(redis_url=servers.redis_url, **GRAPH)
        await prepare_redis(redis, Keys(settings.buckets), settings, Model())  # type: ignore[arg-type]
        turns = conversation(path)
        await fill(redis, settings, strangers(words_of(path), count - len(turns), Model.model), DIMS)
        await fill(redis, settings, turns, DIMS)
        yield redis, settings


async def milliseconds(redis: Redis, recalling: Recalling, sent: Sent, query: str) -> Took:
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
    sizes, promises = [], []
    for size in arguments.sizes:
        found, shares = await at_size(size, arguments)
        sizes.append(told(size, found))
        promises += _promises(found, size, arguments.rounds)
        promises += [promise(MODELS.format(size), spread(shares), least=MODELS_SHARE)] if shares else []
    return {"sizes": sizes, "promises": promises}


async def at_size(size: int, arguments: argparse.Namespace) -> tuple[list[Took], list[float]]:
    """What each question took among so many memories, and which share of the time was the model's, where one is asked."""
    path = arguments.data or default_file()
    asked = [one.question for one in questions(path, first_conversation(path).name)]
    sent = Sent()
    async with filled(path, size) as (redis, settings):
        search = Search(redis, ef_runtime=settings.vector_ef_runtime)
        cache = Known(redis, Model())  # type: ignore[arg-type]
        recalling = Recalling(Records(redis, Keys(settings.buckets)), search, cache, clock=SystemClock())
        with sent.watched():
            for query in asked:
                await milliseconds(redis, recalling, sent, query)
            found = [await milliseconds(redis, recalling, sent, query) for _ in range(arguments.rounds) for query in asked]
        shares = await with_model(recalling, cache, asked, arguments.rounds) if arguments.embedder == "auto" else []
    return found, shares


def told(size: int, found: Sequence[Took]) -> dict[str, Any]:
    """The times of all questions among so many memories."""
    bare, floor = quantiles([one for one, _, _ in found]), quantiles([one for _, one, _ in found])
    return {
        "memories": size, "asked": len(found), "round trips": sorted({one for _, _, one in found}), "bare": bare, "floor": floor,
        "median of bare / floor": round(statistics.median(b / f for b, f, _ in found), 2),
        "within the promise": all(bare[name] <= most for name, most in PROMISED_MS.items()),
    }  # fmt: skip


async def with_model(recalling: Recalling, cache: Known, asked: Sequence[str], rounds: int) -> list[float]:
    """Which share of the time of all questions is the model's, round by round."""
    shares = []
    cache.reader = await open_embedder(load_settings())
    assert cache.reader is not None
    for number in range(-1, rounds):  # the first is not counted
        cache.seconds, started = 0.0, time.perf_counter()
        for query in asked:
            await recalling.recall(HERE, Question(query=query))
        shares += [cache.seconds / (time.perf_counter() - started)] if number >= 0 else []
    await cache.reader.close()
    return shares


def _promises(found: Sequence[Took], size: int, rounds: int) -> list[dict[str, Any]]:
    """The quantiles' ratios, of each round of all questions."""
    each = len(found) // rounds
    by_round = [found[start : start + each] for start in range(0, each * rounds, each)]
    ours, theirs = ([quantiles([one[at] for one in some]) for some in by_round] for at in (0, 1))
    what = f"`recall` without the embedding at {size:,} memories: of its own commands sent bare"
    return [
        promise(f"{what}, {name[:3]}", ratio([one[name] for one in ours], [one[name] for one in theirs]), most=most)
        for name, most in PROMISED_RATIOS.items()
    ]


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="a file in LoCoMo's form; its first conversation is in scope")
    parser.add_argument("--sizes", type=harness.sizes, default=[55_000], help="memories")
    parser.add_argument("--rounds", type=int, default=5, help="how often every question is asked")
    parser.add_argument("--embedder", choices=("none", "auto"), default="auto", help="none: nothing is asked with the model")
    return parser


if __name__ == "__main__":
    with suppress(ImportError):  # the loop that the daemon takes, too
        import uvloop

        uvloop.install()
    harness.main(options(), run)
