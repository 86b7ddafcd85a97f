"""A set of conversations in a memoryd of its own, and what a recall of their evidence is worth: shared by the benches.

Scoring as the authors of LoCoMo do it: recall@k is the share of a question's evidence turns among the first k results of
its own conversation; a question without usable evidence counts as 0 there, and is left out of hit and all.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import running
from memoryd import connect
from memoryd.exchange import BadItem, questions, read
from memoryd.local.servers import Servers

TENANT = "bench"
CUTS = (1, 5, 10, 25, 50)
ADVERSARIAL = 5  # its category: there is nothing to find, so hit and all leave it out
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
# The development half: what the weights may be chosen on.
LOCOMO_DEV_SHA256 = "1c9979aed9f236d0d6700ff90f205f01c1796875da7956cf94672edd87753933"


@dataclass(frozen=True)
class Asked:
    """A question with the turns that hold its answer, as far as they exist."""

    project: str
    text: str
    category: int
    evidence: frozenset[str]


def data_options(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a bench that asks the questions of a data set."""
    parser = harness.options(doc)
    parser.add_argument("data", type=Path, nargs="?", default=Path("locomo_dev.json"), help="a file in LoCoMo's form")
    parser.add_argument("--words-only", action="store_true", help="without an embedding model")
    return parser


def embedder_of(arguments: argparse.Namespace) -> str:
    """The embedder that the command line asks for."""
    return "none" if arguments.words_only else "auto"


def load(path: Path) -> list[Asked]:
    """The questions of a file in LoCoMo's form."""
    turns = {(one.get("project"), one["metadata"]["dia_id"]) for one in read(path) if not isinstance(one, BadItem)}
    return [
        Asked(one.project, one.question, one.category, frozenset(e for e in one.evidence if (one.project, e) in turns))
        for one in questions(path)
    ]


def present(path: Path, sha256: str) -> bool:
    """Whether the data is there, and is what the published numbers are of. Says what is wrong when not."""
    if not path.is_file():
        print(f"skipped: {path} is not there; LoCoMo is CC BY-NC 4.0 and not part of this repository", file=sys.stderr)
        return False
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        print(f"note: {path} is not the development half that docs/recall.md tells of", file=sys.stderr)
    return True


def memoryd(url: str, *words: str) -> None:
    """Runs a command of `memoryd` to its good end."""
    environment = {**os.environ, "MEMORYD_REDIS_URL": url}
    subprocess.run((sys.executable, "-m", "memoryd", *words), check=True, env=environment, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def served(path: Path, *, embedder: str = "auto", **environment: str) -> AsyncIterator[Servers]:
    """A memoryd of a bench's own with the conversations of `path`, imported as everybody does it, each with its vector."""
    async with running(embedder=embedder, sync=True, daemons=1, **environment) as parts:
        await asyncio.to_thread(memoryd, parts.url, "import", str(path), "--tenant", TENANT, "--json")
        for project in sorted({one.project for one in load(path)}):
            await embedded(parts.url, project)
        yield parts.servers


async def embedded(url: str, project: str) -> None:
    async with connect(url, tenant=TENANT, project=project) as memory:
        while (stats := await memory.stats()).embed_backlog or (stats.pending and stats.embedder):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


@dataclass(frozen=True)
class Answer:
    """What came, best first: turns, and the session of each."""

    turns: Sequence[str]
    sessions: Sequence[str]


def score(asked: Asked, answer: Answer) -> dict[str, Any]:
    """One question's line."""
    evidence = asked.evidence
    recall = {f"R@{k}": len(evidence & set(answer.turns[:k])) / len(evidence) if evidence else 0.0 for k in CUTS}
    wanted = {one.partition(":")[0].replace("D", "session_") for one in evidence}
    first = list(dict.fromkeys(answer.sessions))[:10]
    counted = bool(evidence) and asked.category != ADVERSARIAL
    return {
        "project": asked.project, "question": asked.text, "category": asked.category, **recall,
        "session R@10": len(wanted & set(first)) / len(wanted) if wanted else 0.0,
        "hit@10": float(recall["R@10"] > 0) if counted else None,
        "all@10": float(recall["R@10"] == 1) if counted else None,
        "turns": list(answer.turns[: max(CUTS)]),
    }  # fmt: skip


COLUMNS = (*(f"R@{k}" for k in CUTS), "session R@10", "hit@10", "all@10")


def means(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each column over the lines that have it, in percent."""
    lines = list(lines)
    found = {column: [line[column] for line in lines if line[column] is not None] for column in COLUMNS}
    return {column: round(100 * statistics.fmean(values), 1) for column, values in found.items() if values}


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of means as Markdown."""
    head = ["", *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " --: |" * len(COLUMNS)]
    lines += [f"| {name} | " + " | ".join(str(row.get(column, "–")) for column in COLUMNS) + " |" for name, row in rows.items()]
    return "\n".join(lines)
