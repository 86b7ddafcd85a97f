"""What the tier `long` gains and what it costs: LoCoMo with nine of ten memories demoted, before and after in one run.

    python -m bench.tiers PATH/locomo_dev.json [--conversation 0] [--share 0.9] [--json FILE]

Redis's bytes of a memory are those of its record (`MEMORY USAGE`) and its share of the indexes (`FT.INFO`), with where they go,
both times after the indexes have given back what they no longer need. Of FT.INFO all parts are added but `offset_vectors_sz_mb`:
these bytes are in `inverted_sz_mb` already, and RediSearch adds to that number with each write and takes nothing off, so that it
grows with every change of a memory. The table has it by itself (`index: offsets, ever written`). Redis has its graph in blocks
(VSS_MAX_RESIZE, as memoryd's own Redis has it), the last one partly empty.
recall@10 is scored as `bench.recall` does it. Which memories go is chosen by chance, always the same ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bench import harness
from bench.evidence import (
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
from memoryd import connect
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import Settings, load_settings
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.keys import KINDS, SCHEMA, Keys, index, memories
from memoryd.lifecycle.moving import Mover

BATCH = 500
VECTORS, TEXTS = ("embedding", "half"), ("content", "metadata", "terms", "brief")
ONCE_MORE = "index: offsets, ever written"  # told, and not added: see above
PARTS = {  # of FT.INFO, in megabytes
    "words, tags, numbers": ("inverted_sz_mb", "text_overhead_sz_mb", "tag_overhead_sz_mb"),
    "vectors": ("vector_index_sz_mb",),
    "offsets, ever written": ("offset_vectors_sz_mb",),
    "documents": ("doc_table_size_mb", "sortable_values_size_mb", "key_table_size_mb"),
}  # fmt: skip


async def keys_of(redis: Redis) -> list[str]:
    """The records, in order."""
    return sorted([key.decode() for kind in KINDS async for key in redis.scan_iter(match=f"{memories(kind)}*", count=1000)])


async def record_sizes(redis: Redis, keys: Sequence[Any], *fields: str) -> list[list[int]]:
    """The bytes of each of these records, then those of each field, in the order of the keys."""
    client: Any = redis
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.memory_usage(key, samples=0)
            for name in fields:
                pipe.hstrlen(key, name)
        answers = await pipe.execute()
    return [answers[at :: 1 + len(fields)] for at in range(1 + len(fields))]


async def index_bytes(redis: Redis) -> dict[str, float]:
    """What the indexes of all memories take, by part."""
    client: Any = redis
    told = [await client.ft(index(kind)).info() for kind in KINDS]
    return {
        name: sum(float(about.get(one, 0)) for about in told for one in fields) * 1024 * 1024 for name, fields in PARTS.items()
    }


async def bytes_of(redis: Redis) -> dict[str, float]:
    """Bytes a memory, and where they go."""
    keys = await keys_of(redis)
    record, *rest = await record_sizes(redis, keys, *VECTORS, *TEXTS)
    vectors, texts = (sum(map(sum, some)) for some in (rest[: len(VECTORS)], rest[len(VECTORS) :]))
    found: dict[str, float] = {"record": sum(record), "record: its vector": vectors, "record: its text": texts}
    found |= {f"index: {name}": size for name, size in (await index_bytes(redis)).items()}
    per_memory = {name: round(size / max(1, len(keys)), 1) for name, size in found.items()}
    whole = per_memory["record"] + sum(size for name, size in per_memory.items() if name.startswith("index") and name != ONCE_MORE)
    return {"all": round(whole, 1), **per_memory}


async def tidy(redis: Redis, settle_seconds: float) -> None:
    """Has the indexes give back what they no longer need, as they do in time by themselves."""
    client: Any = redis
    await client.execute_command("FT.CONFIG", "SET", "FORK_GC_CLEAN_THRESHOLD", "0")
    for kind in KINDS:
        name = (await client.ft(index(kind)).info())["index_name"]
        await client.execute_command("FT.DEBUG", "GC_FORCEINVOKE", name)
    await asyncio.sleep(settle_seconds)


def bytes_table(before: dict[str, float], after: dict[str, float]) -> str:
    """Where the bytes of a memory go, as Markdown."""
    lines = ["| bytes a memory | before | after | fewer |", "| --- | --: | --: | --: |"]
    for name, was in before.items():
        fewer = f"{100 * (1 - after[name] / was):.1f} %" if was else "–"
        lines.append(f"| {name} | {was:,.0f} | {after[name]:,.0f} | {fewer} |")
    return "\n".join(lines)


async def ask(url: str, asked: Sequence[Asked]) -> tuple[list[dict[str, Any]], list[float]]:
    """Each question's line, and the milliseconds of each."""
    lines, times = [], []
    for project in sorted({one.project for one in asked}):
        async with connect(url, tenant=TENANT, project=project) as memory:
            for one in (one for one in asked if one.project == project):
                started = time.perf_counter()
                found = await memory.recall(one.text, limit=50)
                times.append((time.perf_counter() - started) * 1000)
                assert not found.degraded, found.degraded
                turns = [str(hit.memory.metadata["dia_id"]) for hit in found]
                lines.append(score(one, Answer(turns, [hit.memory.session_id for hit in found])))
    return lines, times


async def demote(redis: Redis, settings: Settings, mongo_url: str, share: float) -> dict[str, float]:
    """Sends a share of all memories to the tier long, as the sweep does; how many, and how fast."""
    client: Any = redis
    async with open_mongo(mongo_url) as mongo:
        records = Records(redis, Keys(settings.buckets), settings.vector_type)
        model = (await client.hget(SCHEMA, "model") or b"").decode()
        mover = Mover(records, Archive(mongo[settings.mongo_database]), model=model)
        keys = await keys_of(redis)
        chosen = random.Random(7).sample(keys, round(share * len(keys)))
        started, moved, light = time.perf_counter(), 0, 0
        for start in range(0, len(chosen), BATCH):
            done, gone = await mover.to_long(await records.read(chosen[start : start + BATCH]))
            moved, light = moved + len(done), light + gone
        return {"memories": len(keys), "moved": moved, "light": light, "moves/s": round(moved / (time.perf_counter() - started))}


@contextmanager
def one_conversation(path: Path, number: int | None) -> Iterator[Path]:
    """The data, or one conversation of it in a file of its own."""
    if number is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / path.name
        chosen.write_text(json.dumps([json.loads(path.read_text())[number]]))
        yield chosen


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    with one_conversation(arguments.data, arguments.conversation) as data:
        return await before_and_after(data, arguments)


async def before_and_after(data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    async with served(data, embedder=embedder_of(arguments)) as servers:
        asked = load(data)
        settings = load_settings(redis_url=servers.redis_url, mongo_url=servers.mongo_url)
        async with open_redis(servers.redis_url) as redis:
            await ask(servers.redis_url, asked[:20])
            before, before_ms = await ask(servers.redis_url, asked)
            await tidy(redis, arguments.settle_seconds)
            bytes_before = await bytes_of(redis)
            moved = await demote(redis, settings, servers.mongo_url, arguments.share)
            await tidy(redis, arguments.settle_seconds)
            after, after_ms = await ask(servers.redis_url, asked)
            bytes_after = await bytes_of(redis)
    print(table({"before": means(before), "after": means(after)}), flush=True)
    print(bytes_table(bytes_before, bytes_after), flush=True)
    return {
        "questions": len(asked), **moved,
        "recall@10": {"before": means(before)["R@10"], "after": means(after)["R@10"]},
        "p50_ms": {"before": round(statistics.median(before_ms), 1), "after": round(statistics.median(after_ms), 1)},
        "bytes a memory": {"before": bytes_before, "after": bytes_after},
        "fewer bytes, percent": round(100 * (1 - bytes_after["all"] / bytes_before["all"]), 1),
    }  # fmt: skip


def options() -> argparse.ArgumentParser:
    parser = data_options(__doc__)
    parser.add_argument("--conversation", type=int, help="only this one of the file, the first is 0")
    parser.add_argument("--share", type=float, default=0.9, help="of the memories that are demoted")
    parser.add_argument("--settle-seconds", type=float, default=1, help="to wait when the indexes have been told to tidy up")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
