"""Who takes turns on one Redis: memoryd, and its peers in processes of their own (bench/peers/at_work.py)."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench import harness, load
from bench.harness import quantiles, ratio, spread
from bench.peers.at_work import BEST, DEFAULT
from memoryd.embed.prepare import PreparedModel

CLIENTS = (1, 16)
MANY = max(CLIENTS)
MEMORYD = "memoryd"
PEERS = (("redisvl", DEFAULT), ("redisvl", BEST), ("mem0", DEFAULT), ("langgraph", DEFAULT), ("langgraph", BEST))


@dataclass(frozen=True)
class Order:
    """One turn: what is done, beginning with which number, how often, by how many clients."""

    do: str
    first: int
    count: int
    clients: int


@dataclass(frozen=True)
class Turn(load.Load):
    """What one has done: what it took, and the contents that each question has found."""

    found: Mapping[int, Sequence[str]] = field(default_factory=dict)


class AtWork(Protocol):
    """Somebody who takes turns."""

    verbs: Sequence[str]

    async def turn(self, order: Order) -> Turn: ...


@dataclass
class Memoryd:
    """memoryd, whose clients work in the load generator's process: there `ask` is called with where, what and its order."""

    ask: Callable[[str, Path, Order], Awaitable[Turn]]
    url: str
    generate: load.Generator
    texts: Path
    verbs: Sequence[str]

    async def turn(self, order: Order) -> Turn:
        """Has its clients do it."""
        done: Turn = await self.generate(self.ask, self.url, self.texts, order)
        return done


@dataclass
class Peer:
    """A peer's process."""

    process: asyncio.subprocess.Process
    verbs: Sequence[str] = ()

    async def turn(self, order: Order) -> Turn:
        """Has the peer do it. Raises EOFError when it has died."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(vars(order)).encode() + b"\n")
        told = await self.told()
        return Turn(told["seconds"], told["milliseconds"], {int(number): one for number, one in told["found"].items() if one})

    async def told(self) -> Any:
        """The next line that it says."""
        assert self.process.stdout is not None
        if not (line := await self.process.stdout.readline()):
            raise EOFError("the peer has ended")
        return json.loads(line)


@asynccontextmanager
async def peers(
    arguments: argparse.Namespace, url: str, texts: Path, model: PreparedModel | None = None
) -> AsyncIterator[dict[str, AtWork]]:
    """Those that can be had, by name and configuration; which cannot is said in a line."""
    async with AsyncExitStack() as stack:
        found: dict[str, AtWork] = {}
        for script, configuration in PEERS:
            if not (python := getattr(arguments, script)):
                print(f"skipped: {script} needs a Python that has it (see --help)", file=sys.stderr)
            elif peer := await stack.enter_async_context(_peer(python, script, url, str(texts), configuration, model)):
                found[f"{script}, {configuration}"] = peer
        yield found


@asynccontextmanager
async def _peer(
    python: str, script: str, url: str, texts: str, configuration: str, model: PreparedModel | None
) -> AsyncIterator[Peer | None]:
    process = await asyncio.create_subprocess_exec(
        python, str(harness.ROOT / "bench" / "peers" / f"{script}_at_work.py"), url, texts, configuration,
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


def with_peers(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that say where the peers are."""
    parser.add_argument("--redisvl", metavar="PYTHON", default=sys.executable, help="a Python that has redisvl; '' to skip it")
    parser.add_argument("--mem0", metavar="PYTHON", default="", help="one that has mem0ai, redisvl, nltk, onnxruntime, tokenizers")
    parser.add_argument("--langgraph", metavar="PYTHON", default="", help="one that has langgraph, langgraph-checkpoint-redis …")
    return parser


# --- what they did ----------------------------------------------------------------------------------------------------
Done = dict[tuple[str, str, int], list[Turn]]
"""By who, what and how many clients: round by round."""


def told(done: Done) -> list[dict[str, Any]]:
    """What each did of each kind: how many a second, median and tail."""
    return [
        {
            "who": who, "do": do, "clients": clients, "per_second": spread([one.rate for one in some]),
            **quantiles([took for one in some for took in one.milliseconds]),
        }
        for (who, do, clients), some in done.items()
    ]  # fmt: skip


def of_the_fastest(
    done: Done, ours: str, theirs: Collection[str] = (), configurations: Collection[str] = (DEFAULT, BEST)
) -> dict[str, float] | None:
    """memoryd's rate in `ours` as a multiple of the fastest peer's, round by round, with many clients; None without a peer."""
    others = [
        [one.rate for one in some]
        for (who, do, clients), some in done.items()
        if who != MEMORYD and do in (theirs or (ours,)) and clients == MANY and who.rpartition(", ")[2] in configurations
    ]
    fastest = [max(one) for one in zip(*others, strict=True)]
    return ratio([one.rate for one in done[MEMORYD, ours, MANY]], fastest) if fastest else None
