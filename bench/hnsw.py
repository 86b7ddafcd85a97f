"""How good and how fast the vector index is, by its settings: recall@10 against exact search, p50, build rate.

    python -m bench.hnsw [--redis-url URL] [--documents 20000] [--datatype float16] [--spread 2] [--json FILE]

Without a URL it starts a Redis of its own. The vectors are seeded and clustered, as the vectors of real text are: on
evenly random ones every graph looks bad. Only keys under `bench:hnsw:` are written, and they are removed at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis

from bench import harness
from bench.harness import own_servers, quantiles

PREFIX, INDEX = "bench:hnsw:", "bench:hnsw"
DIMS, NEIGHBOURS, QUERIES = 384, 10, 200
CLUSTERS = 200
SPREAD = 0.9  # a point is nearly as much noise as centre, as related sentences are; from 2 on it is nearly all noise
LOAD_BATCH = 500
SETTINGS = tuple(product((16, 32), (100, 200)))  # m, ef_construction
WIDTHS = (10, 50, 100, 150, 200)  # ef_runtime; 10 is Redis's default

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """One row: the index's settings, and what they gave. The exact index has no settings."""

    m: int | None
    ef_construction: int | None
    ef_runtime: int | None
    recall: float
    p50_ms: float
    p99_ms: float
    documents_per_second: float
    megabytes: float


def clustered(count: int, seed: int, spread: float) -> Vectors:
    """Unit vectors around the same centres for every seed."""
    centres = np.random.default_rng(7).normal(size=(CLUSTERS, DIMS))
    random = np.random.default_rng(seed)
    points = centres[random.integers(CLUSTERS, size=count)] + spread * random.normal(size=(count, DIMS))
    unit: Vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return unit


async def load(client: Redis, vectors: Vectors, datatype: str) -> None:
    """One hash a vector, with the fields left out that have no part in this."""
    for start in range(0, len(vectors), LOAD_BATCH):
        batch = client.pipeline(transaction=False)
        for number in range(start, min(start + LOAD_BATCH, len(vectors))):
            batch.hset(f"{PREFIX}{number}", "embedding", vectors[number].astype(datatype).tobytes())
        await batch.execute()


async def build(client: Redis, algorithm: list[str], datatype: str) -> float:
    """Make the index over what is loaded; returns the seconds until all of it is in."""
    form = [*algorithm, "TYPE", datatype.upper(), "DIM", str(DIMS), "DISTANCE_METRIC", "COSINE"]
    began = time.perf_counter()
    vector = ["embedding", "VECTOR", form[0], str(len(form) - 1), *form[1:]]
    await command(client, "FT.CREATE", INDEX, "ON", "HASH", "PREFIX", "1", PREFIX, "SCHEMA", *vector)
    while float((await info(client))["percent_indexed"]) < 1:  # noqa: ASYNC110 - only Redis knows
        await asyncio.sleep(0.05)
    return time.perf_counter() - began


async def ask(client: Redis, queries: list[bytes], width: int | None) -> tuple[list[set[bytes]], list[float]]:
    """The neighbours of each query, and the milliseconds each took."""
    tuned = "" if width is None else f" EF_RUNTIME {width}"
    text = f"*=>[KNN {NEIGHBOURS} @embedding $v{tuned}]"
    answers, took = [], []
    for query in queries:
        began = time.perf_counter()
        reply = await command(client, "FT.SEARCH", INDEX, text, "NOCONTENT", "PARAMS", "2", "v", query, "DIALECT", "2")
        took.append(1000 * (time.perf_counter() - began))
        answers.append({one[b"id"] for one in reply[b"results"]} if isinstance(reply, dict) else set(reply[1:]))
    return answers, took


async def measure(client: Redis, documents: int, datatype: str, spread: float) -> AsyncIterator[Result]:
    """The exact index first: its answers are what the others are held against."""
    await load(client, clustered(documents, 1, spread), datatype)
    queries = [vector.astype(datatype).tobytes() for vector in clustered(QUERIES, 2, spread)]
    rate = documents / await build(client, ["FLAT"], datatype)
    exact, took = await ask(client, queries, None)
    yield result((None, None, None), 1.0, took, rate, await size(client))
    for m, ef_construction in SETTINGS:
        await command(client, "FT.DROPINDEX", INDEX)
        seconds = await build(client, ["HNSW", "M", str(m), "EF_CONSTRUCTION", str(ef_construction)], datatype)
        for width in WIDTHS:
            answers, took = await ask(client, queries, width)
            recall = sum(len(a & b) for a, b in zip(answers, exact, strict=True)) / (NEIGHBOURS * QUERIES)
            yield result((m, ef_construction, width), recall, took, documents / seconds, await size(client))


def result(
    settings: tuple[int | None, int | None, int | None], recall: float, took: list[float], rate: float, megabytes: float
) -> Result:
    """A row, rounded to what the noise of a laptop leaves meaningful."""
    tail = quantiles(took)
    return Result(*settings, round(recall, 4), tail["p50_ms"], tail["p99_ms"], round(rate), round(megabytes, 1))


async def size(client: Redis) -> float:
    """Megabytes of the vectors and their graph."""
    return float((await info(client))["vector_index_sz_mb"])


async def info(client: Redis) -> dict[str, Any]:
    """FT.INFO by name, whichever form the reply has."""
    reply = await command(client, "FT.INFO", INDEX)
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


async def command(client: Redis, *parts: str | bytes) -> Any:
    """One command as it is; these are short, so a lost server should show at once."""
    return await client.execute_command(*parts)  # type: ignore[no-untyped-call]


async def clean(client: Redis) -> None:
    """Take away the index and its documents, this run's or an interrupted one's."""
    if INDEX.encode() in await command(client, "FT._LIST"):
        await command(client, "FT.DROPINDEX", INDEX)
    keys = [key async for key in client.scan_iter(f"{PREFIX}*", count=1000)]
    for start in range(0, len(keys), LOAD_BATCH):
        await client.unlink(*keys[start : start + LOAD_BATCH])


@asynccontextmanager
async def opened(url: str | None) -> AsyncIterator[Redis]:
    """A client of the server at `url`, or of one that lives as long as the measurement."""
    if url is not None:
        async with Redis.from_url(url, socket_timeout=120) as client:
            yield client
        return
    async with own_servers() as servers, opened(servers.redis_url) as client:
        yield client


def row(cells: Iterable[object]) -> str:
    """One line of the table."""
    return "  ".join(f"{'-' if cell is None else cell!s:>10}" for cell in cells)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures, printing each row as it comes."""
    print(row(("m", "ef_constr", "ef_runtime", "recall@10", "p50 ms", "p99 ms", "docs/s", "MB")))
    async with opened(arguments.redis_url) as client:
        await clean(client)
        results = []
        async for one in measure(client, arguments.documents, arguments.datatype, arguments.spread):
            results.append(asdict(one))
            print(row(results[-1].values()), flush=True)
        await clean(client)
    return {"dims": DIMS, "results": results}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--redis-url", help="a Redis Stack to use; without it one is started")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--datatype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--spread", type=float, default=SPREAD, help="how far a cluster's points lie from its centre")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
