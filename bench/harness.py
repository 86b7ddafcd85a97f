"""What every bench needs: servers and services of its own, statistics that admit their spread, and a report as JSON.

A bench is a module with `options()`, its command line, and `run(arguments)`, which measures and answers with what goes into the
report; None says that it could not measure, because data is absent, and has said so. `python -m bench` runs them all.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import count as numbers
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from memoryd.archive.client import open_mongo
from memoryd.clock import SystemClock
from memoryd.config import Settings, load_settings
from memoryd.exchange import BadItem, read
from memoryd.hot.changes import NewRecord, Request
from memoryd.hot.client import open_redis
from memoryd.hot.journal import GROUPS, backlogs
from memoryd.hot.records import Records
from memoryd.keys import FOLLOWER_PLACE, SCHEMA, Keys
from memoryd.local.servers import Servers, log_path, open_servers
from memoryd.local.service import Service
from memoryd.local.up import SERVICES
from memoryd.model.memory import MemoryType, NewMemory
from memoryd.model.scope import Scope
from memoryd.storing import Arrival, Storing

ROOT = Path(__file__).parents[1]
CONVERSATION = Path(str(files("memoryd") / "demo_data" / "conversation.json"))
HASHED = "hashed"  # an embedder that costs next to nothing, so that what is measured is the daemon (hashed_daemon.py)
OF_WORDS = "words"  # another one, of which texts that share words get vectors that are near each other
LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 120  # what takes longer than this will not happen, and a bench says so instead of waiting for ever

Way = TypeVar("Way")
Run = Callable[[argparse.Namespace], Awaitable[dict[str, Any] | None]]


# --- the command line and the report ----------------------------------------------------------------------------------
def options(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a bench that describes itself with `doc`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the report goes, besides stdout")
    return parser


def with_daemons(parser: argparse.ArgumentParser) -> None:
    """Adds the option that says how many daemons serve."""
    parser.add_argument("--daemons", type=int, default=1, help="that share the requests; as many as cores are idle")


def sizes(text: str) -> list[int]:
    """Of an option: numbers of memories, after commas."""
    return [int(one) for one in text.split(",")]


def main(parser: argparse.ArgumentParser, run: Run) -> None:
    """A bench as a program."""
    arguments = parser.parse_args()
    if report := asyncio.run(measured(arguments, run)):
        print(json.dumps({name: one for name, one in report.items() if name != "lines"}, indent=2))


async def measured(arguments: argparse.Namespace, run: Run) -> dict[str, Any] | None:
    """The report of a run: what it measured, on what, when and with which options. It is kept where `--json` says."""
    began, load = datetime.now(UTC), os.getloadavg()[0]
    asked = {name: str(one) if isinstance(one, Path) else one for name, one in vars(arguments).items() if name != "json"}
    results = await run(arguments)
    if results is None:
        return None
    took = (datetime.now(UTC) - began).total_seconds()
    report = {
        "machine": machine(), "load_before": round(load, 1), "measured": f"{began:%Y-%m-%d %H:%M} UTC", "seconds": round(took),
        "options": asked, **results,
    }  # fmt: skip
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return report


def machine() -> str:
    """What it is measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    parts = (
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores", _processor(),
        f"{memory:.0f} GiB", f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}",
    )  # fmt: skip
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    """Its name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


# --- statistics -------------------------------------------------------------------------------------------------------
def quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median and tail. Of few values the tail is the highest of them, never more than was seen."""
    cuts = statistics.quantiles([*milliseconds, *milliseconds[:1]], n=100, method="inclusive")
    return {"p50_ms": round(cuts[49], 2), "p95_ms": round(cuts[94], 2), "p99_ms": round(cuts[98], 2)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """What the rounds gave: the median, and how far they lie apart."""
    return {"median": _short(statistics.median(values)), "low": _short(min(values)), "high": _short(max(values))}


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """The ratio within each round, where noise has hit both, and its spread."""
    return spread([one / other for one, other in zip(of, to, strict=True)])


def by_name(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of each number over rounds that have the same ones."""
    return {name: spread([one[name] for one in rounds]) for name in rounds[0]}


def promise(
    what: str, measured: dict[str, float], *, least: float | None = None, most: float | None = None, unit: str = ""
) -> dict[str, Any]:
    """What was promised beside what was measured; the median decides whether it is kept."""
    kept = (least is None or measured["median"] >= least) and (most is None or measured["median"] <= most)
    return {"what": what, "least": least, "most": most, "unit": unit, "measured": measured, "kept": kept}


def _short(value: float) -> float:
    """As many digits as noise leaves meaningful."""
    return float(f"{value:.4g}")


def turns(ways: Sequence[Way], number: int) -> list[Way]:
    """What is compared, in this round's order: each round begins with another one."""
    first = number % len(ways)
    return [*ways[first:], *ways[:first]]


# --- what it runs on --------------------------------------------------------------------------------------------------
@asynccontextmanager
async def own_servers() -> AsyncIterator[Servers]:
    """Redis and MongoDB for one bench; those of MEMORYD_REDIS_URL and MEMORYD_MONGO_URL where they are set."""
    with tempfile.TemporaryDirectory() as data:
        async with open_servers(load_settings(), Path(data)) as servers:
            yield servers


def service(name: str, servers: Servers, *, embedder: str = "auto", **environment: str) -> Service:
    """The daemon or sync as a process over these servers, to be started with `async with`."""
    costless = embedder in (HASHED, OF_WORDS)
    command = (sys.executable, "-m", "bench.hashed_daemon", embedder) if costless and name == "daemon" else SERVICES[name]
    given = {
        **os.environ, "MEMORYD_REDIS_URL": servers.redis_url, "MEMORYD_MONGO_URL": servers.mongo_url,
        "MEMORYD_EMBEDDER": "none" if costless else embedder, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment,
    }  # fmt: skip
    return Service(name, command, log_path(servers.data, name), given)


@dataclass(frozen=True)
class Running:
    """A memoryd of a bench's own: processes, and how to reach their servers."""

    servers: Servers
    daemon: Service
    sync: Service
    settings: Settings
    redis: Redis

    @property
    def url(self) -> str:
        """Redis, where clients meet the daemon."""
        return self.servers.redis_url

    async def drained(self, *groups: str) -> None:
        """Waits until these followers of the journal, by default all that run, have done everything."""
        groups = groups or (GROUPS if self.sync.alive else ("embed",))
        keys = Keys(self.settings.buckets)
        journals = [keys.journal(bucket) for bucket in keys.all_buckets()]

        async def done() -> bool:
            return not any(one.get(group, 0) for one in await backlogs(self.redis, journals) for group in groups)

        await until(done, f"{' and '.join(groups)} have nothing to do")

    async def followed(self) -> None:
        """Waits until sync has compared both stores and follows."""
        await until(lambda: self.redis.hexists(FOLLOWER_PLACE, "token"), "sync follows")

    async def versions(self) -> str:
        """What the servers are."""
        redis: Any = await self.redis.info("server")
        async with open_mongo(self.settings.mongo_url) as mongo:
            about = await mongo.admin.command("buildInfo")
        return f"Redis {redis['redis_version']}, MongoDB {about['version']}"


@asynccontextmanager
async def running(
    *, embedder: str = "auto", sync: bool = True, daemons: int = 1, **environment: str
) -> AsyncIterator[Running]:
    """Servers, daemon and sync of a bench's own, all started and stopped together. Without `sync` that one is not started.
    `daemons`: so many share the requests, as `memoryd serve --workers` has it."""
    async with own_servers() as servers, open_redis(servers.redis_url) as redis:
        parts = {name: service(name, servers, embedder=embedder, **environment) for name in SERVICES}
        more = [service("daemon", servers, embedder=embedder, **environment) for _ in range(1, daemons)]
        wanted = [*(one for name, one in parts.items() if sync or name != "sync"), *more]
        settings = load_settings(redis_url=servers.redis_url, mongo_url=servers.mongo_url)
        try:
            await asyncio.gather(*(one.start() for one in wanted))
            yield Running(servers, parts["daemon"], parts["sync"], settings, redis)
        finally:
            await asyncio.gather(*(one.stop() for one in wanted))


async def prepared(redis: Redis) -> str:
    """The daemon's model, once it has prepared Redis."""
    await until(lambda: redis.hexists(SCHEMA, "version"), "the daemon has prepared Redis")
    return (cast("bytes | None", await redis.hget(SCHEMA, "model")) or b"").decode()


async def compared(redis: Redis) -> None:
    """Waits until sync has compared both stores, and so filled Redis, however long that takes."""
    while not await redis.exists(FOLLOWER_PLACE):  # noqa: ASYNC110  # Redis tells nobody
        await asyncio.sleep(LOOK_SECONDS)


async def until(holds: Callable[[], Awaitable[Any]], what: str) -> None:
    """Looks until it holds. Raises TimeoutError that says what never was."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await holds():  # noqa: ASYNC110 - others are at work
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"never within {PATIENCE_SECONDS} s: {what}") from None


def new_records(records: Records, project: str, count: int) -> Iterator[NewRecord]:
    """So many memories with these contents, ready for the atomic step."""
    storing, scope = Storing(records, None, SystemClock()), Scope("bench", project, "bench")
    for number, content in enumerate(islice(sentences(), count)):
        new, request = NewMemory(content=content, type=MemoryType.EPISODIC), Request(f"{project} {number}", "f")
        yield storing.new_record(Arrival(scope, new, request))


def sentences() -> Iterator[str]:
    """Contents without end: those of the demo's conversation with a number, so that each is new to the embedding cache."""
    lines = [one["content"] for one in read(CONVERSATION) if not isinstance(one, BadItem)]
    return (f"{lines[number % len(lines)]} ({number})" for number in numbers())
