"""What tracing costs: throughput of store and recall without it, at a tenth, at all of it, with commands, and kept in Redis, too.

    python -m bench.tracing [--rounds 5] [--operations 800] [--json FILE]

It starts its own Redis and MongoDB, a daemon for each turn, and a receiver that takes spans over OTLP and throws them away. All
ways take turns, round by round and each time in another order, over a project of their own: what counts is a way's throughput
as a share of that without tracing in the same round, and how far these shares lie apart. The daemon's processor time for an
operation is told as well, which other work on the machine disturbs less. There is no embedding model: with one, everything
takes longer and tracing the same. Callers are not traced, and sync does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import own_servers, service, turns
from bench.load import closed
from memoryd import MemoryClient, connect
from memoryd.demo.spans import Receiver
from memoryd.local.processes import Process
from memoryd.local.servers import Servers

OFF = "without"
WAYS: dict[str, dict[str, str]] = {
    OFF: {"OTEL_TRACES_EXPORTER": "none"},
    "a tenth": {"MEMORYD_TRACE_SAMPLE": "0.1"},
    "all": {"MEMORYD_TRACE_SAMPLE": "1"},
    "all, with commands": {"MEMORYD_TRACE_SAMPLE": "1", "MEMORYD_TRACE_STORES": "true"},
    "all, kept in Redis": {"MEMORYD_TRACE_SAMPLE": "1", "MEMORYD_TRACES": "redis", "OTEL_TRACES_EXPORTER": "none"},
}
QUIET = {"MEMORYD_LOG_LEVEL": "WARNING", "OTEL_METRICS_EXPORTER": "none"}
CALLERS = 8
RECALLS = 4  # stores for each recall: a recall takes some times as long
WARM = 200  # operations before any is counted
TICK = os.sysconf("SC_CLK_TCK")


class Sink(Receiver):
    """Takes whatever is sent."""

    def take(self, path: str, body: bytes, encoding: str) -> None:
        """Nothing is done with it."""


async def one_slice(servers: Servers, exporting: dict[str, str], way: str, number: int, operations: int) -> dict[str, float]:
    """Throughput and the daemon's processor time of one way, over a new project."""
    project = f"round{number}-{list(WAYS).index(way)}"
    async with (
        service("daemon", servers, embedder="none", **{**QUIET, **exporting, **WAYS[way]}) as daemon,
        connect(servers.redis_url, tenant="bench", project=project, agent="bench") as memory,
    ):
        await closed(lambda _, one: store(memory, -one - 1), min(WARM, operations), CALLERS)
        found = {}
        for verb, call, count in (("store", store, operations), ("recall", recall, operations // RECALLS)):
            before = processor_seconds(daemon)
            load = await closed(lambda _, one, call=call: call(memory, one), max(1, count), CALLERS)  # type: ignore[misc]
            found[f"{verb}s_per_second"] = load.rate
            found[f"{verb}_daemon_ms"] = (processor_seconds(daemon) - before) * 1000 / max(1, count)
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


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    ways = [way for way in WAYS if way == OFF or way in (arguments.way or WAYS)]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with Sink() as sink:
        async with own_servers() as servers:
            for number in range(arguments.rounds):
                for way in turns(ways, number):
                    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
                    found[way].append(await one_slice(servers, exporting, way, number, arguments.operations))
    return told(found)


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


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--operations", type=int, default=800, help="stores of a turn; recalls are a quarter of them")
    parser.add_argument("--way", action="append", choices=[*WAYS][1:], help="only this one besides none; may be repeated")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
