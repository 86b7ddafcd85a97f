"""LongMemEval (Wu et al., ICLR 2025): how well the daemon recalls the evidence of its questions, through the protocol.

    python -m bench.longmemeval PATH/longmemeval_s.json [--questions 50] [--words-only] [--json FILE]

The data is not part of this repository; the path is yours. Each question has a history of its own, which becomes a project
of its own: every turn a memory, a session its sessions, in the order of their dates. Scored as the authors' retrieval does:
what is to be found are the user's turns marked `has_answer`, among the user's turns (the assistant's are stored too, as what
was said around them); abstention questions and those without such a turn are left out; recall_any and recall_all say whether
one or all of them are among the first k, and ndcg_any weighs by place. By sessions, k counts different sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import harness
from bench.evidence import TENANT
from bench.harness import running
from memoryd import MemoryClient, connect
from memoryd.errors import MemorydError
from memoryd.limits import RECALL_LIMIT_MAX, STORE_MANY_MAX

CUTS = (1, 3, 5, 10, 30, 50)
DATE = "%Y/%m/%d (%a) %H:%M"
SEED = 7  # of the sample when not all questions are asked


@dataclass(frozen=True)
class Turn:
    """One turn of a history. `number` counts the turns of its session from 1, as the authors' ids do."""

    session: str
    number: int
    role: str
    content: str
    answers: bool
    moment: datetime

    @property
    def id(self) -> str:
        return f"{self.session}_{self.number}"


@dataclass(frozen=True)
class Instance:
    """A question with its history."""

    id: str
    kind: str
    question: str
    turns: Sequence[Turn]

    @property
    def evidence(self) -> frozenset[str]:
        """The user's turns that hold the answer."""
        return frozenset(one.id for one in self.turns if one.role == "user" and one.answers)

    @property
    def counted(self) -> bool:
        """Whether the authors' retrieval scores it."""
        return not self.id.endswith("_abs") and bool(self.evidence)


def load(path: Path) -> list[Instance]:
    """The instances of one of the published files."""
    return [_instance(one) for one in json.loads(path.read_text("utf-8"))]


def _instance(given: Mapping[str, Any]) -> Instance:
    sessions = zip(given["haystack_session_ids"], given["haystack_dates"], given["haystack_sessions"], strict=True)
    turns = [turn for name, date, said in sorted(sessions, key=lambda one: _moment(one[1])) for turn in _turns(name, date, said)]
    return Instance(given["question_id"], given["question_type"], given["question"], turns)


def _turns(session: str, date: str, said: Sequence[Mapping[str, Any]]) -> Iterator[Turn]:
    for number, one in enumerate(said, start=1):
        if one["content"].strip():
            moment = _moment(date) + timedelta(seconds=number)
            yield Turn(session, number, one["role"], one["content"], bool(one.get("has_answer")), moment)


def _moment(date: str) -> datetime:
    return datetime.strptime(date, DATE).replace(tzinfo=UTC)


async def remember(memory: MemoryClient, turns: Sequence[Turn]) -> None:
    """Stores a history, in order, and waits for its vectors."""
    for start in range(0, len(turns), STORE_MANY_MAX):
        items = [
            {
                "content": one.content[:60_000], "type": "episodic", "session": one.session, "valid_from": one.moment,
                "metadata": {"turn": one.id, "role": one.role, "speaker": one.role},
            }
            for one in turns[start : start + STORE_MANY_MAX]
        ]  # fmt: skip
        for stored in await memory.store_many(items):
            if isinstance(stored, MemorydError):
                raise stored
    stats = await memory.stats()
    while stats.embed_backlog or (stats.pending and stats.embedder):
        await asyncio.sleep(0.2)
        stats = await memory.stats()


def score(instance: Instance, found: Sequence[str]) -> dict[str, Any]:
    """One question's line. `found`: the user's turns that came, best first."""
    wanted = instance.evidence
    sessions = {_session(one, wanted) for one in wanted}
    line: dict[str, Any] = {"question_id": instance.id, "question_type": instance.kind, "found": list(found[: max(CUTS)])}
    for k in CUTS:
        by_session = list(dict.fromkeys(_session(one, wanted) for one in found))[:k]
        line |= {
            f"turn recall_any@{k}": float(bool(wanted & set(found[:k]))), f"turn recall_all@{k}": float(wanted <= set(found[:k])),
            f"turn ndcg_any@{k}": ndcg([one in wanted for one in found[:k]], len(wanted), k),
            f"session recall_any@{k}": float(bool(sessions & set(by_session))),
            f"session recall_all@{k}": float(sessions <= set(by_session)),
        }  # fmt: skip
    return line


def _session(turn: str, wanted: Set[str]) -> str:
    """A turn's session; to the authors what an evidence session has besides its evidence is another one."""
    session = turn.rpartition("_")[0]
    beside = turn not in wanted and any(one.rpartition("_")[0] == session for one in wanted)
    return f"{session} besides" if beside else session


def ndcg(relevant: Sequence[bool], wanted: int, k: int) -> float:
    """The authors' form: the first place and the second weigh the same."""
    return _dcg(relevant) / _dcg([True] * min(wanted, k))


def _dcg(relevant: Sequence[bool]) -> float:
    return sum(1 / math.log2(max(2, place)) for place, one in enumerate(relevant, start=1) if one)


def means(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each number, in percent."""
    lines = list(lines)
    names = [name for name, value in lines[0].items() if isinstance(value, float)] if lines else []
    return {name: round(100 * statistics.fmean(line[name] for line in lines), 1) for name in names}


SHOWN = ("turn recall_any@5", "turn recall_all@5", "turn ndcg_any@5", "turn recall_all@10", "turn ndcg_any@10",
         "session recall_all@5", "session recall_all@10")  # fmt: skip


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """All questions and each type of them, as Markdown."""
    kinds = {"all": list(lines)}
    for line in lines:
        kinds.setdefault(line["question_type"], []).append(line)
    head = ["", "questions", *SHOWN]
    rows = ["| " + " | ".join(head) + " |", "| --- |" + " --: |" * (len(head) - 1)]
    for kind, some in kinds.items():
        mean = means(some)
        rows.append("| " + " | ".join([kind, str(len(some)), *(str(mean[name]) for name in SHOWN)]) + " |")
    return "\n".join(rows)


async def ask(url: str, instance: Instance) -> dict[str, Any]:
    """A question's history, stored and asked, and forgotten again: a store of all histories would be 250,000 memories."""
    async with connect(url, tenant=TENANT, project=instance.id, agent="user") as memory:
        await remember(memory, instance.turns)
        recalled = await memory.recall(instance.question, limit=RECALL_LIMIT_MAX)
        found = [hit.memory.metadata["turn"] for hit in recalled if hit.memory.metadata["role"] == "user"]
        await memory.forget_many(everything=True)
    return score(instance, found)


async def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if not arguments.data.is_file():
        where = "https://github.com/xiaowu0162/LongMemEval"
        print(f"skipped: {arguments.data} is not there; {where} says where to get it", file=sys.stderr)
        return None
    asked = [one for one in load(arguments.data) if one.counted]
    if arguments.questions and arguments.questions < len(asked):
        asked = sorted(random.Random(SEED).sample(asked, arguments.questions), key=lambda one: one.id)
    async with running(embedder="none" if arguments.words_only else "auto") as parts:
        lines = [await ask(parts.url, one) for one in asked]
    print(table(lines))
    return {"lines": lines}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=0, help="so many of them, chosen once and for all; 0: all")
    parser.add_argument("--words-only", action="store_true", help="without an embedding model")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
