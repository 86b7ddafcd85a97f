"""`python -m tests.faults.traces --operations 5000 --seed 1`: is every operation traced to its end, whoever is killed?

Agents store, change, read, recall, forget, converse and compress; people edit documents in MongoDB; memories move between the
tiers. Meanwhile daemons and syncs are killed with SIGKILL, and so is Redis. Afterwards the kept spans are judged (see
`trace_evidence`, which says what complete means): every acknowledged operation has a complete trace, every effect that nobody
waits for links to what caused it, and no span is without its parent. The same spans go to a collector; how many of them
it has got is told, and that they are fewer when a process was killed that still had some. Where commands are spans, each store has
a round trip of its own; `--together` has them no spans, and stores that come at once share one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_trace_id
from redis.exceptions import RedisError

from memoryd import MemoryClient, connect
from memoryd.errors import (
    ArchiveUnavailable,
    DurabilityNotReached,
    HotUnavailable,
    MemorydError,
    NoAnswer,
    NotSearchable,
    Overloaded,
)
from memoryd.keys import TRACES
from memoryd.model.results import Stored
from memoryd.traces.keep import read
from memoryd.traces.span import Span
from memoryd_telemetry import names
from tests.faults.lab import Lab
from tests.faults.measure import machine, say, tell
from tests.faults.plan import Shape
from tests.faults.run import drained
from tests.faults.trace_evidence import Edit, Evidence, Operation, of_callers
from tests.spans import Collector, finished
from tests.waiting import eventually

SHAPE = Shape(aof="everysec", members=1, daemons=2, syncs=2)
WORKERS = 8
LONG_RUN = 1_000
AGAIN = (NoAnswer, HotUnavailable, Overloaded, ArchiveUnavailable)
PATIENCE_SECONDS = 120.0
ANSWER_SECONDS = 10.0
SETTLE_SECONDS = 120.0  # until the last effects are told: a move waits for the archive, the archive for vectors
FAULTS = ("daemon", "sync", "redis")
# Whatever was not used for a second goes to the tier long, however warm it is.
RULES = {"*": {"*": {"short_seconds": 1, "content_seconds": 1, "cold": 1.0}}}
WRITTEN, EMBEDDED = {names.ARCHIVE}, {names.ARCHIVE, names.EMBED}


@dataclass
class Run:
    """One run: what was asked, and what was told."""

    lab: Lab
    chance: random.Random
    wanted: int
    together: bool = False
    operations: list[Operation] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    kept: dict[str, Span] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    asked: int = 0

    def evidence(self, callers: list[ReadableSpan]) -> Evidence:
        """Everything that is known by now."""
        own = {one.span_id: one for one in of_callers(callers)}
        return Evidence(self.operations, self.edits, self.forgotten, self.kept | own, commands=not self.together)


class Agent:
    """One caller: asks one thing after the other, each again until it is answered, all attempts in one trace."""

    def __init__(self, run: Run, number: int, memory: MemoryClient) -> None:
        self._run = run
        self._number = number
        self._memory = memory
        self._chance = random.Random(f"{run.chance.random()}:{number}")
        self._own: list[str] = []
        self._count = 0

    async def work(self) -> None:
        """Asks until all have asked enough."""
        steps: dict[Callable[[], Awaitable[None]], float] = {
            self._store: 30, self._many: 4, self._recall: 20, self._get: 14, self._update: 12, self._forget: 5, self._count_all: 4,
            self._append: 6, self._edit: 3,
            # What its daemon has not ended when it is killed, another one takes over after 20 s.
            self._compress: 0.3 if self._run.wanted >= LONG_RUN else 0,
        }  # fmt: skip
        while self._run.asked < self._run.wanted:
            [step] = self._chance.choices(list(steps), list(steps.values()))
            await step()

    # --- what is asked --------------------------------------------------------------------------------------------

    async def _store(self, **details: Any) -> None:
        kind, durability = self._chance.choice(("fact", "episodic")), self._chance.choice(("hot", "hot", "hot", "archived"))
        content, request = self._said(), self._request()
        kept = await self._ask(
            "store", lambda: self._memory.store(content, type=kind, durability=durability, request_id=request, **details), EMBEDDED
        )
        if kept:
            self._own.append(kept.id)

    async def _many(self) -> None:
        items = [{"content": self._said(), "type": "episodic", "session": "talk"} for _ in range(4)]
        request = self._request()
        for one in await self._ask("store_many", lambda: self._memory.store_many(items, request_id=request), EMBEDDED) or []:
            if isinstance(one, Stored):
                self._own.append(one.id)

    async def _recall(self) -> None:
        deep = self._chance.random() < 0.2
        await self._ask("recall", lambda: self._memory.recall(f"Who saw bird {self._chance.randrange(40)}?", limit=5, deep=deep))

    async def _get(self) -> None:
        memory_id = self._any() if self._chance.random() < 0.9 else "mem_" + "0" * 32
        await self._ask("get", lambda: self._memory.get(memory_id))

    async def _update(self) -> None:
        memory_id, content, request = self._any(), self._said(), self._request()
        change = partial(self._memory.update, memory_id, content=content, request_id=request)
        await self._ask("update", change, EMBEDDED, [memory_id])

    async def _forget(self) -> None:
        memory_id, request = self._any(), self._request()
        self._run.forgotten.add(memory_id)
        if memory_id in self._own:
            self._own.remove(memory_id)
        receipt = await self._ask("forget", lambda: self._memory.forget(memory_id, request_id=request), (), [memory_id])
        if receipt and receipt.outcome == "forgotten":
            self._run.operations[-1].effects = WRITTEN

    async def _count_all(self) -> None:
        await self._ask("count", self._memory.count)

    async def _append(self) -> None:
        text, request = self._said(), self._request()
        working = self._memory.working(f"talk {self._number}")
        message = {"role": "user", "content": text}
        await self._ask("working.append", lambda: working.append(message, request_id=request), WRITTEN)

    async def _compress(self) -> None:
        request = self._request()
        done = await self._ask("compress", lambda: self._memory.compress(session="talk", request_id=request))
        if done and done.moved:
            self._run.operations[-1].effects = WRITTEN

    async def _edit(self) -> None:
        """A person changes what nothing else does: it is pinned."""
        content, request = self._said(), self._request()
        keep = partial(self._memory.store, content, type="fact", tags=["pinned"], durability="archived", request_id=request)
        kept = await self._ask("store", keep, EMBEDDED)
        if kept:
            new = f"{content} Or so it seemed."
            await self._run.lab.archive.memories.update_one({"_id": kept.id}, {"$set": {"content": new}})
            self._run.edits.append(Edit(kept.id, time.time_ns()))

    # --- how ------------------------------------------------------------------------------------------------------

    async def _ask(
        self, verb: str, call: Callable[[], Awaitable[Any]], effects: Any = (), ids: list[str] | None = None
    ) -> Any:
        """The answer, None for a refusal by name."""
        self._run.asked += 1
        until = time.monotonic() + PATIENCE_SECONDS
        with trace.get_tracer("tests.faults.traces").start_as_current_span("think") as thought:
            operation = Operation(verb, format_trace_id(thought.get_span_context().trace_id), ids=ids or [], effects=effects)
            while time.monotonic() < until:
                try:
                    answer = await call()
                except AGAIN:
                    await asyncio.sleep(0.05)
                    continue
                except (DurabilityNotReached, NotSearchable) as error:
                    operation.code = error.code
                    operation.ids = [str(error.details["id"])]
                    answer = None
                except MemorydError as error:
                    operation.code, operation.effects, answer = error.code, (), None
                    if error.code == MemorydError.code:
                        self._run.wrong.append(f"{verb} failed inside of the daemon")
                else:
                    operation.ids = operation.ids or _ids_of(answer)
                self._run.operations.append(operation)
                return answer
        self._run.wrong.append(f"{verb} was never answered")
        return None

    def _any(self) -> str:
        return self._chance.choice(self._own) if self._own else "mem_" + "0" * 32

    def _said(self) -> str:
        self._count += 1
        return f"Agent {self._number} saw bird {self._count % 40} at place {self._count} of {self._run.chance.getrandbits(24)}."

    def _request(self) -> str:
        self._count += 1
        return f"{self._number}-{self._count}"


def _ids_of(answer: Any) -> list[str]:
    several = answer if isinstance(answer, list) else [answer]
    return [one.id for one in several if isinstance(one, Stored)]


# --- meanwhile --------------------------------------------------------------------------------------------------------
async def kill(run: Run, faults: int, tell: Callable[[str], None]) -> None:
    """Each fault when its share of the operations was asked."""
    for number in range(faults):
        due = run.wanted * (number + 0.5) / faults
        await eventually(partial(_asked, run, due), within_seconds=PATIENCE_SECONDS, what="operations go on")
        kind = FAULTS[number % len(FAULTS)]
        run.kills[kind] += 1
        tell(f"{run.asked} asked, {len(run.kept)} spans: {kind} is killed")
        if kind == "redis":
            run.lab.redis_server.kill()
            await asyncio.sleep(run.chance.uniform(0, 0.5))
            await run.lab.redis_server.start()
        else:
            name = run.lab.named(kind, run.chance.randrange(2))
            run.lab.kill(name)
            await asyncio.sleep(run.chance.uniform(0, 0.5))
            run.lab.bring_back(name)


def _asked(run: Run, due: float) -> bool:
    return run.asked >= due


@asynccontextmanager
async def listening(run: Run) -> AsyncIterator[None]:
    """Reads the kept spans as they come: the stream holds the latest only."""

    async def listen() -> None:
        redis: Any = run.lab.redis
        last = "0"
        while True:
            with contextlib.suppress(RedisError):  # it is killed now and then
                for entry_id, fields in await redis.xrange(TRACES, f"({last}" if last != "0" else "-", count=1000):
                    last = entry_id.decode()
                    if span := read(fields):
                        run.kept[span.span_id] = span
            await asyncio.sleep(0.05)

    task = asyncio.create_task(listen(), name="read the kept spans")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- the run ----------------------------------------------------------------------------------------------------------
async def run_one(
    operations: int, seed: int, *, faults: int, together: bool = False, tell: Callable[[str], None] = say
) -> list[str]:
    """Asks, kills, looks; what is wrong at the end."""
    callers = finished().spans
    callers.clear()
    async with AsyncExitStack() as stack:
        collector = stack.enter_context(Collector())
        environment = {
            "MEMORYD_TRACES": "redis", "MEMORYD_TRACE_STORES": str(not together).lower(),
            "MEMORYD_TIERS": json.dumps(RULES), "MEMORYD_TIER_SWEEP_SECONDS": "2",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces", "OTEL_BSP_SCHEDULE_DELAY": "500",
            "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        lab = await stack.enter_async_context(Lab(SHAPE, environment))
        run = Run(lab, random.Random(f"{seed}:traces"), operations, together)
        await stack.enter_async_context(listening(run))
        started = time.monotonic()
        clients = [
            await stack.enter_async_context(
                connect(lab.redis_url, tenant="traced", project="lab", agent=f"a{number % 3}", timeout_seconds=ANSWER_SECONDS)
            )
            for number in range(WORKERS)
        ]
        work = [Agent(run, number, client).work() for number, client in enumerate(clients)]
        await asyncio.gather(*work, kill(run, faults, tell))
        seconds = time.monotonic() - started
        await lab.heal()
        run.wrong += await drained(lab)
        evidence = await settled(run, callers)
        kills = ", ".join(f"{kind} {count} times" for kind, count in run.kills.items()) or "nothing"
        tell(f"{operations} operations in {seconds:.0f} s; killed: {kills}")
        tell(evidence.told())
        sent = {span.span_id.hex() for span in collector.spans}
        tell(f"of {len(run.kept)} kept spans the collector has got {len(sent & run.kept.keys())}")
        return [*run.wrong, *lab.trouble, *evidence.wrong]


async def settled(run: Run, callers: list[ReadableSpan]) -> Evidence:
    """The evidence as soon as nothing is wrong with it, or when what is missing has had its time."""

    async def right() -> Evidence | None:
        evidence = run.evidence(callers)
        await asyncio.sleep(0.5)
        return None if evidence.judge() else evidence

    with contextlib.suppress(AssertionError):
        found: Evidence = await eventually(right, within_seconds=SETTLE_SECONDS, what="everything is told")
        return found
    evidence = run.evidence(callers)
    evidence.judge()
    return evidence


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.traces", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operations", type=int, default=5_000)
    parser.add_argument("--faults", type=int, default=12, help="how often somebody is killed: a daemon, a sync, Redis, in turn")
    parser.add_argument("--seed", type=int, help="of the choices (default: a random one)")
    parser.add_argument("--together", action="store_true", help="no commands as spans: stores that come at once share round trips")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"{machine()}; seed {seed}")
    wrong = asyncio.run(run_one(options.operations, seed, faults=options.faults, together=options.together))
    sys.exit(tell(wrong))


if __name__ == "__main__":
    main()
