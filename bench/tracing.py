"""What tracing costs: throughput of store and recall without it, at a tenth, at all of it, with commands, and kept in Redis, too.

    python bench/tracing.py [--rounds 5] [--operations 800] [--json FILE]

It starts its own Redis and MongoDB, a daemon for each turn, and a receiver that takes spans over OTLP and throws them away. All
ways take turns, round by round and each time in another order, over a project of their own: what counts is a way's throughput
as a share of that without tracing in the same round, and how far these shares lie apart. The daemon's processor time for an
operation is told as well, which other work on the machine disturbs less. There is no embedding model: with one, everything
takes longer and tracing the same. Callers are not traced, and sync does not run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from memoryd import MemoryClient, connect
from memoryd.config import load_settings
from memoryd.demo.spans import Receiver
from memoryd.local.processes import Process
from memoryd.local.servers import Servers, log_path, open_servers
from memoryd.local.service import Service
from memoryd.local.up import SERVICES

OFF = "without"
WAYS: dict[str, dict[str, str]] = {
    OFF: {"OTEL_TRACES_EXPORTER": "none"},
    "a tenth": {"MEMORYD_TRACE_SAMPLE": "0.1"},
    "all": {"MEMORYD_TRACE_SAMPLE": "1"},
    "all, with commands": {"MEMORYD_TRACE_SAMPLE": "1", "MEMORYD_TRACE_STORES": "true"},
    "all, kept in Redis": {"MEMORYD_TRACE_SAMPLE": "1", "MEMORYD_TRACES": "redis", "OTEL_TRACES_EXPORTER": "none"},
}
CALLERS = 8
RECALLS = 4  # stores for each recall: a recall takes some times as long
WARM = 200  # operations before any is counted
TICK = os.sysconf("SC_CLK_TCK")


class Sink(Receiver):
    """Takes whatever is sent."""

    def take(self, path: str, body: bytes, encoding: str) -> None:
        """Nothing is done with it."""


async def many(count: int, call: Callable[[int], Awaitable[Any]]) -> float:
    """Operations a second by CALLERS at once."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return count / (time.perf_counter() - started)


async def one_slice(servers: Servers, way: str, number: int, operations: int) -> dict[str, float]:
    """Throughput and the daemon's processor time of one way, over a new project."""
    urls = {"MEMORYD_REDIS_URL": servers.redis_url, "MEMORYD_MONGO_URL": servers.mongo_url, "PYTHONUNBUFFERED": "1"}
    command, log = SERVICES["daemon"], log_path(servers.data, "daemon")
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(Service("daemon", command, log, {**os.environ, **urls, **WAYS[way]}))
        memory = await stack.enter_async_context(
            connect(servers.redis_url, tenant="bench", project=f"round{number}-{list(WAYS).index(way)}", agent="bench")
        )
        await many(WARM, lambda one: store(memory, -one - 1))
        found = {}
        for verb, call, count in (("store", store, operations), ("recall", recall, operations // RECALLS)):
            before = processor_seconds(daemon)
            found[f"{verb}s_per_second"] = await many(count, lambda one, call=call: call(memory, one))  # type: ignore[misc]
            found[f"{verb}_daemon_ms"] = (processor_seconds(daemon) - before) * 1000 / count
        print(f"round {number}, {way}: {json.dumps({name: round(one, 2) for name, one in found.items()})}", file=sys.stderr)
        return found


async def store(memory: MemoryClient, number: int) -> None:
    """Something new."""
    await memory.store(f"Agent {number % 7} saw bird {number} on its way to place {number % 31}.", type="episodic")


async def recall(memory: MemoryClient, number: int) -> None:
    """A question that was not asked before."""
    assert (await memory.recall(f"Who saw bird {number} at place {number % 31}?", limit=5)).hits


def processor_seconds(process: Process) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def measured(rounds: int, operations: int) -> dict[str, list[dict[str, float]]]:
    """All slices of each way."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    os.environ.update({"MEMORYD_EMBEDDER": "none", "MEMORYD_LOG_LEVEL": "WARNING", "OTEL_METRICS_EXPORTER": "none"})
    with tempfile.TemporaryDirectory() as data, Sink() as sink:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink.endpoint
        async with open_servers(load_settings(), Path(data)) as servers:
            for number in range(rounds):
                order = list(WAYS)[number % len(WAYS) :] + list(WAYS)[: number % len(WAYS)]
                for way in order:
                    found[way].append(await one_slice(servers, way, number, operations))
    return found


def told(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians, and each way's share of what there is without tracing in the same round: median, lowest, highest."""
    rows: dict[str, Any] = {}
    for way, slices in found.items():
        row: dict[str, Any] = {name: round(statistics.median(one[name] for one in slices), 2) for name in slices[0]}
        for name in slices[0]:
            shares = sorted(one[name] / off[name] for one, off in zip(slices, found[OFF], strict=True))
            row[f"{name}_share"] = [round(share, 3) for share in (statistics.median(shares), shares[0], shares[-1])]
        rows[way] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operations", type=int, default=800, help="stores of a turn; recalls are a quarter of them")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = told(asyncio.run(measured(arguments.rounds, arguments.operations)))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    results = {"machine": machine, "rounds": arguments.rounds, "operations": arguments.operations, **results}
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
