"""What a peer is given and what it answers, as files: needs nothing but numpy, so that every peer's Python can read it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Turns = list[list[str]]
"""For each question the turns that were found, best first."""


@dataclass(frozen=True)
class Item:
    """A turn, as `memoryd import` stores it, and the vector of that text."""

    project: str
    session: str
    turn: str
    content: str
    vector: Any


@dataclass(frozen=True)
class Asked:
    """A question, and its vector."""

    project: str
    text: str
    vector: Any


@dataclass(frozen=True)
class Work:
    """One run of a peer."""

    items: list[Item]
    questions: list[Asked]
    redis_url: str
    limit: int

    @property
    def dims(self) -> int:
        """Of the vectors."""
        return len(self.items[0].vector)

    @property
    def vectors(self) -> dict[str, list[float]]:
        """The vector of every text that a peer may ask for."""
        known = [(one.content, one.vector) for one in self.items] + [(one.text, one.vector) for one in self.questions]
        return {text: vector.tolist() for text, vector in known}


def save(folder: Path, work: Work) -> None:
    """Writes it for `load`."""
    items = [{"project": one.project, "session": one.session, "turn": one.turn, "content": one.content} for one in work.items]
    questions = [{"project": one.project, "text": one.text} for one in work.questions]
    about = {"redis_url": work.redis_url, "limit": work.limit, "items": items, "questions": questions}
    (folder / "work.json").write_text(json.dumps(about))
    np.savez(
        folder / "work.npz", items=np.stack([one.vector for one in work.items]),
        questions=np.stack([one.vector for one in work.questions]),
    )  # fmt: skip


def load(folder: Path) -> Work:
    """What `save` wrote."""
    about, vectors = json.loads((folder / "work.json").read_text()), np.load(folder / "work.npz")
    items = [Item(**one, vector=vector) for one, vector in zip(about["items"], vectors["items"], strict=True)]
    questions = [Asked(**one, vector=vector) for one, vector in zip(about["questions"], vectors["questions"], strict=True)]
    return Work(items, questions, about["redis_url"], about["limit"])


def main(run: Callable[[Work], dict[str, Turns]]) -> None:
    """A peer's script: reads the work of the folder that it is given, and writes its answers there.

    What is no work in there is nothing to the peer: it keeps its own files in that folder too, and says nothing to anyone.
    """
    folder = Path(sys.argv[1])
    os.environ["HOME"] = str(folder)
    (folder / "answers.json").write_text(json.dumps(run(load(folder))))
