"""How fast memoryd and its peers store and recall: on one Redis, with the same texts and the same embedder.

    python -m bench.peers_speed [--mem0 PYTHON] [--langgraph PYTHON] [--rounds 5] [--stores 200] [--recalls 200]
                                [--embedders model,free] [--json FILE]

redisvl runs in this Python; mem0 and LangGraph in one that has them (bench/peers/run.py says how), each as a process of its own
through its public API; what is not there is skipped with a word. All take turns in each round, with one client and with 16 in a
closed loop. All of that once with the embedding model, which the peers run in their process and memoryd in its daemon, and once
with vectors that cost nothing (`free`): they are made of a text's checksum (bench/hashed_daemon.py). memoryd's store is counted
twice: until it is acknowledged (Redis has it, and it is found by its words), and until it is found by its meaning as well
(`searchable`). A peer's write can be found when its call returns. Nothing but memoryd keeps versions, an archive, an order of
changes or a scope that the caller cannot choose: that is what its time goes into.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from bench import harness, load
from bench.harness import HASHED, quantiles, ratio, running, spread, turns
from bench.peers.at_work import BATCH, LIMIT, Texts
from memoryd import connect
from memoryd.config import load_settings
from memoryd.embed.prepare import PreparedModel, find_prepared

CLIENTS = (1, 16)
SCRIPTS = ("redisvl", "mem0", "langgraph")
MEMORYD = "memoryd"
FREE = "free"
EMBEDDERS = {"model": "with the model", FREE: "vectors for nothing"}
STORED_TIMES, RECALLED_TIMES = 10, 4  # promised: of the fastest peer's rate, with 16 clients
ALONE = 4  # so much fewer calls of one client: it is slower
MANY = 4  # batches of a turn


@dataclass(frozen=True)
class Order:
    """One turn: what is done, beginning with which text, how often, by how many clients."""

    do: str
    first: int
    count: int
    clients: int


class AtWork(Protocol):
    """Somebody who takes turns."""

    verbs: Sequence[str]

    async def turn(self, order: Order) -> load.Load: ...


@dataclass
class Peer:
    """A peer's process (bench/peers/at_work.py)."""

    process: asyncio.subprocess.Process
    verbs: Sequence[str] = ()

    async def turn(self, order: Order) -> load.Load:
        """Has the peer do it. Raises EOFError when it has died."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(vars(order)).encode() + b"\n")
        return load.Load(**await self.told())

    async def told(self) -> Any:
        """The next line that it says."""
        assert self.process.stdout is not None
        if not (line := await self.process.stdout.readline()):
            raise EOFError("the peer has ended")
        return json.loads(line)


@dataclass
class Memoryd:
    """memoryd, whose clients work in the load generator's process."""

    url: str
    generate: load.Generator
    texts: Path
    verbs: Sequence[str] = ("store", "searchable", "store_many", "recall")

    async def turn(self, order: Order) -> load.Load:
        """Has its clients do it."""
        done: load.Load = await self.generate(protocol, self.url, self.texts, order)
        return done


async def protocol(url: str, file: Path, order: Order) -> load.Load:
    """A turn of memoryd's, in the generator."""
    texts = Texts(file)
    async with AsyncExitStack() as stack:
        opened = [connect(url, tenant="bench", project="p", agent=f"agent{n}") for n in range(order.clients)]
        memories = [await stack.enter_async_context(one) for one in opened]

        async def call(client: int, number: int) -> None:
            memory, number = memories[client], order.first + number
            match order.do:
                case "store":
                    await memory.store(texts[number], type="episodic")
                case "searchable":
                    await memory.store(texts[number], type="episodic", wait="searchable")
                case "store_many":
                    items = [{"content": texts[number * BATCH + one], "type": "episodic"} for one in range(BATCH)]
                    await memory.store_many(items)
                case "recall":
                    await memory.recall(texts.asked(number), limit=LIMIT)

        return await load.closed(call, order.count, order.clients)


@dataclass
class Turns:
    """What one of them has done of one kind, round by round."""

    loads: list[load.Load] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """A second."""
        return [one.rate for one in self.loads]

    def told(self) -> dict[str, Any]:
        """Rate, median and tail."""
        return {"per_second": spread(self.rates), **quantiles([one for each in self.loads for one in each.milliseconds])}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {"embedders": {}, "promises": []}
    for embedder in arguments.embedders.split(","):
        of_one = await side_by_side(arguments, embedder)
        report |= {"servers": of_one["servers"]}
        report["embedders"][embedder] = {"done": of_one["done"]}
        report["promises"] += of_one["promises"]
    return report


async def side_by_side(arguments: argparse.Namespace, embedder: str) -> dict[str, Any]:
    """All rounds with one embedder, on servers of their own."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        texts = folder / "texts.json"
        texts.write_text(json.dumps([one.rpartition(" (")[0] for one in islice(harness.sentences(), 255)]))
        parts = await stack.enter_async_context(running(embedder=HASHED if embedder == FREE else "auto"))
        prepared = None if embedder == FREE else find_prepared(load_settings())
        generate = await stack.enter_async_context(load.generator())
        all_: dict[str, AtWork] = {MEMORYD: Memoryd(parts.url, generate, texts)}
        for script in SCRIPTS:
            if peer := await stack.enter_async_context(at_work(script, getattr(arguments, script), parts.url, texts, prepared)):
                all_[script] = peer
        done = await in_turns(all_, arguments, parts)
        return {"servers": await parts.versions(), **told(done), "promises": promises(done, embedder)}


@asynccontextmanager
async def at_work(
    script: str, python: str, url: str, texts: Path, model: PreparedModel | None
) -> AsyncIterator[Peer | None]:
    """A peer's process; None, said in a line, where there is none."""
    if not python:
        print(f"skipped: {script} needs a Python that has it (see --help)", file=sys.stderr)
        yield None
        return
    process = await asyncio.create_subprocess_exec(
        python, str(harness.ROOT / "bench" / "peers" / f"{script}_at_work.py"), url, str(texts),
        *([str(model.path)] if model else []),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        env={**os.environ, "PYTHONPATH": str(harness.ROOT)},
    )  # fmt: skip
    try:
        peer = Peer(process)
        try:
            peer.verbs = await peer.told()
        except EOFError:
            print(f"skipped: {script} does not start", file=sys.stderr)
            yield None
        else:
            yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


Done = dict[tuple[str, str, int], Turns]
"""By who, what and how many clients."""


async def in_turns(all_: Mapping[str, AtWork], arguments: argparse.Namespace, parts: harness.Running) -> Done:
    """All rounds: what is stored first is what is asked for later."""
    done: Done = {}
    first = 0
    for number in range(arguments.rounds):
        for do, count in (
            ("store", arguments.stores), ("searchable", arguments.stores), ("store_many", MANY), ("recall", arguments.recalls),
            ("recall_hybrid", arguments.recalls),
        ):  # fmt: skip
            for clients in CLIENTS:
                calls = count if clients > 1 or do == "store_many" else max(1, count // ALONE)
                first += arguments.stores
                for who in turns(list(all_), number):
                    if do in all_[who].verbs:
                        await parts.drained()
                        load_ = await all_[who].turn(Order(do, first, calls, clients))
                        done.setdefault((who, do, clients), Turns()).loads.append(load_)
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return done


def told(done: Done) -> dict[str, Any]:
    """What each did of each kind."""
    told_: dict[str, Any] = {}
    for (who, do, clients), some in done.items():
        told_.setdefault("done", []).append({"who": who, "do": do, "clients": clients, **some.told()})
    return told_


def promises(done: Done, embedder: str) -> list[dict[str, Any]]:
    """memoryd's rate as a multiple of the fastest peer's, with 16 clients."""
    kept, many = [], max(CLIENTS)
    for ours, theirs, times in (("store", {"store"}, STORED_TIMES), ("recall", {"recall", "recall_hybrid"}, RECALLED_TIMES)):
        others = [some.rates for (who, do, clients), some in done.items() if who != MEMORYD and do in theirs and clients == many]
        if others:
            fastest = [max(one) for one in zip(*others, strict=True)]
            measured = ratio(done[MEMORYD, ours, many].rates, fastest)
            what = f"`{ours}`, {many} clients, {EMBEDDERS[embedder]}: of the fastest peer's rate"
            kept.append(harness.promise(what, measured, least=times))
    return kept


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--recalls", type=int, default=200)
    parser.add_argument("--embedders", default="model,free", help="after commas: the model, and vectors that cost nothing")
    parser.add_argument("--redisvl", metavar="PYTHON", default=sys.executable, help="a Python that has redisvl; '' to skip it")
    parser.add_argument("--mem0", metavar="PYTHON", default="", help="one that has mem0ai, redisvl, nltk, onnxruntime, tokenizers")
    parser.add_argument("--langgraph", metavar="PYTHON", default="", help="one that has langgraph, langgraph-checkpoint-redis …")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
