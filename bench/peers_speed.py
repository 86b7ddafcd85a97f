"""How fast memoryd and its peers store and recall: on one Redis, with the same texts and the same embedder.

    python -m bench.peers_speed [--mem0 PYTHON] [--langgraph PYTHON] [--rounds 5] [--stores 200] [--batches 16]
                                [--recalls 200] [--embedders model,free] [--json FILE]

redisvl runs in this Python; mem0 and LangGraph in one that has them (bench/peers/run.py says how), each as a process of its own
through its public API, as it is by default, and as it is at its best for recalls, where it has a choice (bench/peers/*_at_work.py
say which); what is not there is skipped with a word. All take turns in each round, with one client and with 16 in a closed loop.
All of that once with the embedding model, which the peers run in their process and memoryd in its daemon, and once with vectors
that cost nothing (`free`): those of a text's words (bench/peers/vectors.py). memoryd's store is counted
twice: until it is acknowledged (Redis has it, and it is found by its words), and until it is found by its meaning as well
(`searchable`). A peer's write can be found when its call returns. Nothing but memoryd keeps versions, an archive, an order of
changes or a scope that the caller cannot choose: that is what its time goes into.

Everyone has few memories here, all in one scope. bench.peers_recall asks among many of many users.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from bench import harness, load
from bench.harness import OF_WORDS, running, turns
from bench.peers import taking_turns
from bench.peers.at_work import BATCH, LIMIT, Texts
from bench.peers.taking_turns import CLIENTS, MANY, MEMORYD, AtWork, Done, Memoryd, Order, Turn
from memoryd import connect
from memoryd.config import load_settings
from memoryd.embed.prepare import find_prepared

FREE = "free"
EMBEDDERS = {"model": "with the model", FREE: "vectors for nothing"}
PROMISED = {  # of the fastest peer's rate, with many clients: what it is called, what peers do meanwhile, and how many times theirs
    "store": ("`store`", ("store",), 10),
    "store_many": (f"`store_many` of {BATCH}", ("store_many",), 10),
    "recall": ("`recall`", ("recall", "recall_hybrid"), 4),
}
VERBS = ("store", "searchable", "store_many", "recall")  # of memoryd
ALONE = 4  # so much fewer calls of one client: it is slower


async def protocol(url: str, file: Path, order: Order) -> Turn:
    """A turn of memoryd's, in the generator."""
    texts, found = Texts(file), dict[int, list[str]]()
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
                    if answer := await memory.recall(texts.asked(number), limit=LIMIT):
                        found[number] = [hit.memory.content for hit in answer]

        done = await load.closed(call, order.count, order.clients)
        return Turn(done.seconds, done.milliseconds, found)


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
        texts = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "texts.json"
        lines = [one.rpartition(" (")[0] for one in islice(harness.sentences(), 255)]
        Texts.written(texts, lines, ef_runtime=load_settings().vector_ef_runtime)
        ours = running(embedder=OF_WORDS if embedder == FREE else "auto", daemons=arguments.daemons)
        parts = await stack.enter_async_context(ours)
        prepared = None if embedder == FREE else find_prepared(load_settings())
        generate = await stack.enter_async_context(load.generator())
        all_: dict[str, AtWork] = {MEMORYD: Memoryd(protocol, parts.url, generate, texts, VERBS)}
        all_ |= await stack.enter_async_context(taking_turns.peers(arguments, parts.url, texts, prepared))
        done = await in_turns(all_, arguments, parts)
        return {"servers": await parts.versions(), "done": taking_turns.told(done), "promises": promises(done, embedder)}


async def in_turns(all_: Mapping[str, AtWork], arguments: argparse.Namespace, parts: harness.Running) -> Done:
    """All rounds: what is stored first is what is asked for later."""
    done: Done = {}
    first = 0
    for number in range(arguments.rounds):
        for do, count in (
            ("store", arguments.stores), ("searchable", arguments.stores), ("store_many", arguments.batches),
            ("recall", arguments.recalls), ("recall_hybrid", arguments.recalls),
        ):  # fmt: skip
            for clients in CLIENTS:
                calls = count if clients > 1 else max(1, count // ALONE)
                first += arguments.stores
                for who in turns(list(all_), number):
                    if do in all_[who].verbs:
                        await parts.drained()
                        turn = await all_[who].turn(Order(do, first, calls, clients))
                        assert not do.startswith("recall") or len(turn.found) == calls, f"{who} finds nothing"
                        done.setdefault((who, do, clients), []).append(turn)
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return done


def promises(done: Done, embedder: str) -> list[dict[str, Any]]:
    """memoryd's rate as a multiple of the fastest peer's."""
    measured = [(taking_turns.of_the_fastest(done, ours, theirs), what, times) for ours, (what, theirs, times) in PROMISED.items()]
    return [
        harness.promise(f"{what}, {MANY} clients, {EMBEDDERS[embedder]}: of the fastest peer's rate", of, least=times)
        for of, what, times in measured
        if of
    ]


def options() -> argparse.ArgumentParser:
    parser = taking_turns.with_peers(harness.options(__doc__))
    harness.with_daemons(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", type=int, default=200)
    parser.add_argument("--batches", type=int, default=16, help=f"stores of {BATCH} at once")
    parser.add_argument("--recalls", type=int, default=200)
    parser.add_argument("--embedders", default="model,free", help="after commas: the model, and vectors that cost nothing")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
