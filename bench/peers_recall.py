"""How fast memoryd and its peers recall among many memories of many users: on one Redis, with the same texts and vectors.

    python -m bench.peers_recall [--mem0 PYTHON] [--langgraph PYTHON] [--sizes 10000,100000] [--each 1000] [--rounds 5]
                                 [--recalls 400] [--json FILE]

A user has `--each` memories, so that more memories are more users, as a memory store has them. Each question has some words of one
of them, is asked among that user's, and is new; the next is asked by another user. A user speaks of a few things: a memory is a
sentence of the demo's conversation, one of the few that are this user's, with half of its words exchanged for others. Vectors cost
nothing (bench/peers/vectors.py): those that share words are near, so that sentences make clusters, and a question lies near what
it is about.

memoryd's memories are written into MongoDB as the archiver would, and sync fills Redis with them; peers are filled by their own
calls for many. memoryd is asked through the protocol, peers in a process of their own through their public API: as they are by
default (an exact index), and as they are at their best, with a graph that is searched as widely as the daemon's
(bench/peers/*_at_work.py). All take turns in each round, with one client and with 16 in a closed loop.

Found: how many of the ten nearest of the user's (by numpy) each way brings. memoryd's recall ranks by more than meaning, so what is
told of it here is what it brings by a profile that weighs meaning alone; its rate is that of its usual recall.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness, load
from bench.harness import OF_WORDS, own_servers, service, turns
from bench.peers import taking_turns
from bench.peers.at_work import BATCH, BEST, DEFAULT, LIMIT, Texts
from bench.peers.taking_turns import CLIENTS, MANY, MEMORYD, AtWork, Done, Memoryd, Order, Turn
from bench.peers.vectors import of_words
from bench.scale import Made, archived
from memoryd import connect
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.config import load_settings
from memoryd.hot.client import open_redis

TIMES = 4  # promised: of the fastest peer's rate
THINGS = 12  # that a user speaks of
BY_MEANING = "meaning"  # the profile that weighs it alone, and the verb that asks by it
WEIGHTS = json.dumps({BY_MEANING: {"meaning": 1}})
ALONE = 4  # so much fewer questions of one client
FILLERS = 4  # clients that fill a peer
NEAR = 1e-5  # how much less like the question than the tenth one may be: float32's doing


def lines(size: int, each: int) -> Iterator[str]:
    """What the users say, one user after the other."""
    chance = random.Random(size)
    said = [one.rpartition(" (")[0].split() for one in itertools.islice(harness.sentences(), 255)]
    words = [word for one in said for word in one]
    for first in range(0, size, each):
        things = chance.sample(said, THINGS)
        for _ in range(min(each, size - first)):
            yield " ".join(word if chance.random() < 0.5 else chance.choice(words) for word in chance.choice(things))


class Said(Made):
    """The same texts and vectors, as memories."""

    def __init__(self, texts: Texts) -> None:
        self.texts, self.size, self.each = texts, len(texts), texts.each
        self.vectors = np.array([of_words(texts[number]) for number in range(len(texts))], dtype="<f4")

    def contents(self) -> Iterator[str]:
        """Those of everyone."""
        return (self.texts[number] for number in range(self.size))

    def share_found(self, turn: Turn) -> float:
        """Of the ten nearest of the user's to each question."""
        kept = 0
        for number, contents in turn.found.items():
            first = self.texts.about(number) // self.each * self.each
            like = self.vectors[first : first + self.each] @ of_words(self.texts.asked(number))
            nearest = {first + int(one) for one in np.flatnonzero(like >= np.sort(like)[-LIMIT:][0] - NEAR)}
            kept += sum(self.texts.number(one) in nearest for one in contents)
        return round(kept / (LIMIT * len(turn.milliseconds)), 3)


async def protocol(url: str, file: Path, order: Order) -> Turn:
    """A turn of memoryd's, in the generator: each user has a connection."""
    texts, found = Texts(file), dict[int, list[str]]()
    profile = BY_MEANING if order.do == BY_MEANING else ""
    async with AsyncExitStack() as stack:
        users = [
            await stack.enter_async_context(connect(url, tenant="bench", project=f"p{first // texts.each}", agent="a"))
            for first in range(0, len(texts), texts.each)
        ]

        async def call(_: int, number: int) -> None:
            number += order.first
            user = users[texts.about(number) // texts.each]
            answer = await user.recall(texts.asked(number), limit=LIMIT, profile=profile)
            found[number] = [hit.memory.content for hit in answer]

        done = await load.closed(call, order.count, order.clients)
        return Turn(done.seconds, done.milliseconds, found)


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    sizes, promises = [], []
    for size in arguments.sizes:
        done, told = await at_size(size, arguments)
        sizes.append(told)
        promises += promised(done, size)
    return {"sizes": sizes, "promises": promises}


async def at_size(size: int, arguments: argparse.Namespace) -> tuple[Done, dict[str, Any]]:
    """All that is measured among so many memories, on servers of their own."""
    async with AsyncExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "texts.json"
        width, texts = load_settings().vector_ef_runtime, [*lines(size, arguments.each)]
        said = Said(Texts.written(file, texts, ef_runtime=width, each=arguments.each))
        url, seconds = await stack.enter_async_context(filled(said))
        generate = await stack.enter_async_context(load.generator())
        peers = await stack.enter_async_context(taking_turns.peers(arguments, url, file))
        peers = {who: one for who, one in peers.items() if "recall" in one.verbs}
        filling = {MEMORYD: seconds, **{who: await fill(one, size) for who, one in peers.items()}}
        everyone: dict[str, AtWork] = {MEMORYD: Memoryd(protocol, url, generate, file, ("recall", BY_MEANING)), **peers}
        found = {}
        for who, one in everyone.items():
            turn = await one.turn(Order(BY_MEANING if who == MEMORYD else "recall", 0, arguments.first, MANY))
            found[who] = said.share_found(turn)
        done = await in_turns(everyone, arguments)
    return done, {
        "size": size, "done": taking_turns.told(done), "found": found,
        "filled_seconds": {who: round(one, 1) for who, one in filling.items()},
    }  # fmt: skip


@asynccontextmanager
async def filled(said: Said) -> AsyncIterator[tuple[str, float]]:
    """A memoryd with all of them: its address, and the seconds in which sync has filled Redis."""
    async with (
        own_servers() as servers, service("daemon", servers, embedder=OF_WORDS, MEMORYD_RECALL_WEIGHTS=WEIGHTS),
        open_redis(servers.redis_url) as redis, open_mongo(servers.mongo_url) as mongo,
    ):  # fmt: skip
        model = await harness.prepared(redis)
        await archived(said, Archive(mongo[load_settings().mongo_database]), model)
        began = time.perf_counter()
        async with service("sync", servers):
            await harness.compared(redis)
            yield servers.redis_url, time.perf_counter() - began


async def fill(peer: AtWork, size: int) -> float:
    """Has a peer store them all, many at once where it can; the seconds that it took."""
    many = "store_many" in peer.verbs
    order = Order("store_many", 0, -(-size // BATCH), FILLERS) if many else Order("store", 0, size, FILLERS)
    return (await peer.turn(order)).seconds


async def in_turns(everyone: Mapping[str, AtWork], arguments: argparse.Namespace) -> Done:
    """All rounds: everyone gets the same questions."""
    done: Done = {}
    first = arguments.first
    for number in range(arguments.rounds):
        for clients in CLIENTS:
            calls = arguments.recalls if clients > 1 else max(1, arguments.recalls // ALONE)
            for who in turns(list(everyone), number):
                turn = await everyone[who].turn(Order("recall", first, calls, clients))
                done.setdefault((who, "recall", clients), []).append(turn)
            first += calls
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return done


def promised(done: Done, size: int) -> list[dict[str, Any]]:
    """memoryd's rate as a multiple of the fastest peer's, for each configuration."""
    what = f"`recall`, {MANY} clients, at {size:,} memories, vectors for nothing: of the fastest peer's rate, peers at their"
    measured = {one: taking_turns.of_the_fastest(done, "recall", configurations=[one]) for one in (DEFAULT, BEST)}
    return [harness.promise(f"{what} {one}", of, least=TIMES) for one, of in measured.items() if of]


def options() -> argparse.ArgumentParser:
    parser = taking_turns.with_peers(harness.options(__doc__))
    parser.add_argument("--sizes", type=harness.sizes, default=[10_000, 100_000])
    parser.add_argument("--each", type=int, default=1_000, help="memories of a user")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recalls", type=int, default=400, help="of a turn of 16 clients; one alone asks a quarter")
    parser.add_argument("--first", type=int, default=200, help="questions before the rounds, of which is told what they find")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
