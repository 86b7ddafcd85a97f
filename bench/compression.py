"""What compression gains and what it costs: LoCoMo's sessions older than each conversation's last five are compressed.

    python -m bench.compression PATH/locomo_dev.json [--words-only] [--json FILE]

Before and after: the bytes that these sessions take in Redis (their records with `MEMORY USAGE`, and their share of the
indexes), the tokens of what stands for them, and recall@10 of every question, where an evidence turn counts as found when it,
or a summary that was made of it, is among the first ten. Then every summary is expanded and compared with what was imported.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bench import harness
from bench.evidence import LOCOMO_DEV_SHA256, TENANT, Asked, data_options, embedder_of, load, present, served
from memoryd import MemoryClient, connect
from memoryd.config import load_settings
from memoryd.embed.tokens import open_tokens
from memoryd.exchange import BadItem, read
from memoryd.hot.client import open_redis
from memoryd.keys import KINDS, index, memories
from memoryd.model.memory import Memory
from memoryd.model.results import Recalled
from memoryd.model.scope import from_tag

LAST = 5  # sessions of each conversation that stay as they are


def sessions_of(path: Path) -> dict[str, list[str]]:
    """The sessions of each conversation, oldest first."""
    turns = [one for one in read(path) if not isinstance(one, BadItem)]
    return {
        project: list(dict.fromkeys(str(one["session"]) for one in some))
        for project, some in itertools.groupby(turns, key=lambda one: str(one["project"]))
    }


async def hot_bytes(redis: Redis, sessions: Set[tuple[str, str]]) -> int:
    """What these sessions (by project and name) take: their records, their timelines, and of the indexes their share."""
    client: Any = redis
    own, count, total, indexes = 0, 0, 0, 0.0
    for kind in KINDS:
        keys = [key async for key in redis.scan_iter(match=f"{memories(kind)}*", count=1000)]
        async with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, ["project", "session_id"])
                pipe.memory_usage(key, samples=0)
            answers = await pipe.execute()
        for place, size in zip(answers[::2], answers[1::2], strict=True):
            total += 1
            if tuple(from_tag((name or b"").decode()) for name in place) in sessions:
                own, count = own + int(size), count + 1
        about = await client.ft(index(kind)).info()
        indexes += float(about.get("total_index_memory_sz_mb", 0)) * 1024 * 1024
    async for key in redis.scan_iter(match="aether:timeline:*", count=1000):
        _, project, _, session = (from_tag(part) for part in key.decode().rsplit(":", 4)[1:])
        own += int(await client.memory_usage(key, samples=0)) if (project, session) in sessions else 0
    return own + int(indexes * count / max(1, total))


async def recall_at_ten(url: str, asked: Sequence[Asked], sources: Mapping[str, Sequence[str]]) -> float:
    """In percent; a summary stands for the turns that it was made of."""
    values = []
    for project in sorted({one.project for one in asked}):
        async with connect(url, tenant=TENANT, project=project) as memory:
            for one in (one for one in asked if one.project == project and one.evidence):
                found = _turns(await memory.recall(one.text, limit=10), sources)
                values.append(len(one.evidence & found) / len(one.evidence))
    return 100 * statistics.fmean(values)


def _turns(found: Recalled, sources: Mapping[str, Sequence[str]]) -> set[str]:
    """The turns that an answer of ten brings, directly or behind a summary."""
    return {
        turn
        for hit in found
        for turn in (sources[hit.memory.id] if hit.memory.id in sources else [str(hit.memory.metadata.get("dia_id"))])
    }


async def compress_old(memory: MemoryClient, sessions: Sequence[str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Compresses all sessions but the last ones; what was done, and the turns behind each summary, compared one by one."""
    names = ("memories", "compressed", "moved", "groups", "refused", "chars", "summary_chars", "expanded", "same")
    counts = dict.fromkeys(names, 0)
    sources: dict[str, list[str]] = {}
    for session in sessions[:-LAST]:
        were = {one.id: one for one in (await memory_of(memory, session))}
        done = await memory.compress(session=session)
        for name in ("memories", "moved", "refused", "chars", "summary_chars"):
            counts[name] += getattr(done, name)
        counts["groups"] += len(done.groups)
        for group in done.groups:
            if group.outcome != "compressed":
                continue
            expanded = await memory.expand(group.summary)
            counts["compressed"] += group.memories
            counts["expanded"] += len(expanded.memories)
            counts["same"] += sum(_said(one) == _said(were[one.id]) for one in expanded.memories)
            sources[group.summary] = [str(one.metadata["dia_id"]) for one in expanded.memories]
    return counts, sources


def _said(one: Memory) -> tuple[Any, ...]:
    return one.content, one.content_hash, one.metadata, one.tags, one.valid_from, one.created_at, one.recorded_at


async def memory_of(memory: MemoryClient, session: str) -> list[Memory]:
    """A session's memories as they are, by a plan of a forget that is not carried out."""
    plan = await memory.plan_forget(session=session)
    return [await memory.get(one.id) for one in plan.memories]


async def tokens_of(texts: Sequence[str]) -> int:
    return sum(await open_tokens(load_settings()).count(texts))


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not present(arguments.data, LOCOMO_DEV_SHA256):
        return None
    asked = load(arguments.data)
    async with (
        served(arguments.data, embedder=embedder_of(arguments)) as servers,
        open_redis(servers.redis_url) as redis,
    ):
        old = {(project, one) for project, some in sessions_of(arguments.data).items() for one in some[:-LAST]}
        before = {"recall@10": await recall_at_ten(servers.redis_url, asked, {}), "hot bytes": await hot_bytes(redis, old)}
        counts: dict[str, int] = {}
        sources: dict[str, list[str]] = {}
        texts: dict[str, list[str]] = {"turns": [], "summaries": []}
        started = time.perf_counter()
        for project, sessions in sessions_of(arguments.data).items():
            async with connect(servers.redis_url, tenant=TENANT, project=project) as memory:
                done, behind = await compress_old(memory, sessions)
                counts = {name: counts.get(name, 0) + value for name, value in done.items()}
                sources |= behind
                for summary in behind:
                    texts["summaries"].append((await memory.get(summary)).content)
                    texts["turns"] += [one.content for one in (await memory.expand(summary)).memories]
        seconds = time.perf_counter() - started
        await redis.execute_command("FT.CONFIG", "SET", "FORK_GC_RUN_INTERVAL", "1")  # type: ignore[no-untyped-call]
        await asyncio.sleep(arguments.settle_seconds)  # the index gives back what its removed records took
        after = {"recall@10": await recall_at_ten(servers.redis_url, asked, sources), "hot bytes": await hot_bytes(redis, old)}
        tokens = {name: await tokens_of(some) for name, some in texts.items()}
    return {
        "before": before, "after": after, **counts, "tokens": tokens, "compressing_seconds": round(seconds, 1),
        "promises": promises(before, after, counts, tokens),
    }  # fmt: skip


def promises(
    before: Mapping[str, float], after: Mapping[str, float], counts: Mapping[str, int], tokens: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What is promised of compression, beside what was measured."""
    fall = before["recall@10"] - after["recall@10"]
    fewer = {
        "bytes": before["hot bytes"] / max(1, after["hot bytes"]), "tokens": tokens["turns"] / max(1, tokens["summaries"]),
    }  # fmt: skip
    same = 100 * counts["same"] / max(1, counts["compressed"])
    return [
        harness.promise("fewer hot bytes of what is compressed", harness.spread([fewer["bytes"]]), least=5, unit="×"),
        harness.promise("fewer tokens of what is compressed", harness.spread([fewer["tokens"]]), least=8, unit="×"),
        harness.promise("fall of recall@10", harness.spread([fall]), most=1, unit="points"),
        harness.promise("expanded as it was", harness.spread([same]), least=100, unit="%"),
    ]


def options() -> argparse.ArgumentParser:
    parser = data_options(__doc__)
    parser.add_argument("--settle-seconds", type=float, default=5, help="in which the index gives back what it no longer needs")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
