"""What tracing costs: throughput and tail of store and recall without it, sampled, whole, and with a collector that fails.

    python -m bench.tracing [--rounds 9] [--operations 200] [--way all]... [--json FILE]

It starts a MongoDB, and for each way a Redis and a daemon of its own, which are there from the beginning to the end. All ways take
short turns, round by round and each round in another order: what counts is a way's number as a share of that without tracing in
the same round, where noise has hit both: the median of the rounds, and between what it lies with 95 % (a percentile bootstrap over
the rounds: B. Efron, 1979). The daemon's processor time for an operation is told as well, which other work on the machine disturbs
less; the 99th percentile is that of all rounds together. Collectors take spans
over OTLP in this process and look at none of them; the load comes from another process. There is no embedding model: with one,
everything takes longer and tracing the same. Callers are not traced, and sync does not run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness, load
from bench.harness import own_servers, quantiles, service, turns
from memoryd import connect
from memoryd.config import load_settings
from memoryd.local.servers import open_servers

OFF = "without"
ALL = {"MEMORYD_TRACE_SAMPLE": "1"}
WAYS: dict[str, dict[str, str]] = {
    OFF: {"OTEL_TRACES_EXPORTER": "none"},
    "a tenth": {"MEMORYD_TRACE_SAMPLE": "0.1"},
    "all": ALL,
    "all, with commands": {**ALL, "MEMORYD_TRACE_STORES": "true"},
    "all, kept in Redis": {**ALL, "MEMORYD_TRACES": "redis", "OTEL_TRACES_EXPORTER": "none"},
    "all, no collector": ALL,
    "all, collector slow": ALL,
    "all, collector refuses": ALL,
}
SLOW_SECONDS = 5.0  # half of what the exporter waits for an answer
ANSWERS = {"all, collector slow": ("200 OK", SLOW_SECONDS), "all, collector refuses": ("503 Service Unavailable", 0.0)}
QUIET = {"MEMORYD_LOG_LEVEL": "WARNING", "OTEL_METRICS_EXPORTER": "none"}
NOWHERE = "http://127.0.0.1:9"
CALLERS = 8
RECALLS = 4  # stores for each recall: a recall takes some times as long
WARM = 200  # operations before any is counted
RESAMPLED = 4_000
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    """So many stores, and a quarter as many recalls, into a project of its own."""

    url: str
    project: str
    operations: int


async def stores(turn: Turn) -> load.Load:
    """Something new each time. In the generator."""
    async with connect(turn.url, tenant="bench", project=turn.project, agent="bench") as memory:

        async def store(_: int, number: int) -> None:
            await memory.store(f"Agent {number % 7} saw bird {number} on its way to place {number % 31}.", type="episodic")

        return await load.closed(store, turn.operations, CALLERS)


async def recalls(turn: Turn) -> load.Load:
    """Questions that were not asked before. In the generator."""
    async with connect(turn.url, tenant="bench", project=turn.project, agent="bench") as memory:

        async def recall(_: int, number: int) -> None:
            assert (await memory.recall(f"Who saw bird {number} at place {number % 31}?", limit=5)).hits

        return await load.closed(recall, max(1, turn.operations // RECALLS), CALLERS)


VERBS = {"store": stores, "recall": recalls}


@dataclass
class Way:
    """A daemon that runs in one of the ways, and what its turns have given."""

    url: str
    daemon: Any
    rounds: list[dict[str, float]]
    milliseconds: dict[str, list[float]]

    async def turn(self, generate: load.Generator, turn: Turn) -> None:
        """One turn, with what it took."""
        found = {}
        for verb, work in VERBS.items():
            before = processor_seconds(self.daemon)
            done = await generate(work, turn)
            count = len(done.milliseconds)
            found[f"{verb}s_per_second"] = done.rate
            found[f"{verb}_daemon_ms"] = (processor_seconds(self.daemon) - before) * 1000 / count
            self.milliseconds[verb] += done.milliseconds
        self.rounds.append(found)


def processor_seconds(process: Any) -> float:
    """What a process has used of the processors."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


@asynccontextmanager
async def collector(way: str) -> AsyncIterator[str]:
    """Where the spans of a way go: it takes them, or does what `ANSWERS` says instead; nobody listens where that is the way."""
    if way == "all, no collector":
        yield NOWHERE
        return
    status, seconds = ANSWERS.get(way, ("200 OK", 0.0))

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = re.search(rb"content-length: *(\d+)", await reader.readuntil(b"\r\n\r\n"), re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                await asyncio.sleep(seconds)
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@asynccontextmanager
async def begun(way: str, mongo_url: str) -> AsyncIterator[Way]:
    """A Redis and a daemon that runs in this way."""
    with tempfile.TemporaryDirectory() as data:
        async with (
            open_servers(load_settings(mongo_url=mongo_url), Path(data)) as servers,
            collector(way) as endpoint,
            service(
                "daemon", servers, embedder="none", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, NO_PROXY="127.0.0.1", **QUIET, **WAYS[way]
            ) as daemon,
        ):
            yield Way(servers.redis_url, daemon, [], {verb: [] for verb in VERBS})


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    wanted = [way for way in WAYS if way == OFF or way in (arguments.way or WAYS)]
    async with own_servers() as servers, load.generator() as generate, AsyncExitStack() as stack:
        ways = {way: await stack.enter_async_context(begun(way, servers.mongo_url)) for way in wanted}
        for one in ways.values():
            for work in VERBS.values():
                await generate(work, Turn(one.url, "warm", min(WARM, arguments.operations)))
        for number in range(arguments.rounds):
            for way in turns(wanted, number):
                await ways[way].turn(generate, Turn(ways[way].url, f"round{number}", arguments.operations))
            rates = {way: round(one.rounds[-1]["stores_per_second"]) for way, one in ways.items()}
            print(f"round {number}, load {os.getloadavg()[0]:.1f}, stores a second: {json.dumps(rates)}", file=sys.stderr)
        return {"callers": CALLERS, **told(ways)}


def told(ways: dict[str, Way]) -> dict[str, Any]:
    """Medians and tails, and each way's share of what there is without tracing: median of the rounds, and its interval."""
    rows: dict[str, Any] = {}
    for way, one in ways.items():
        row: dict[str, Any] = {name: round(statistics.median(each[name] for each in one.rounds), 2) for name in one.rounds[0]}
        for name in one.rounds[0]:
            # A short turn may take less of the processor than the system counts.
            pairs = zip(one.rounds, ways[OFF].rounds, strict=True)
            row[f"{name}_share"] = _median([on[name] / off[name] for on, off in pairs if off[name]] or [1.0])
        for verb, milliseconds in one.milliseconds.items():
            row |= {f"{verb}_{name}": value for name, value in quantiles(milliseconds).items()}
        rows[way] = row
    return rows


def _median(shares: Sequence[float]) -> list[float]:
    """The median, and the 95 % interval in which that of another run may lie."""
    again = np.median(np.random.default_rng(0).choice(shares, (RESAMPLED, len(shares))), axis=1)
    return [round(float(one), 3) for one in (np.median(shares), *np.percentile(again, (2.5, 97.5)))]


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--operations", type=int, default=200, help="stores of a turn; recalls are a quarter of them")
    parser.add_argument("--way", action="append", choices=[*WAYS][1:], help="only this one besides none; may be repeated")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
