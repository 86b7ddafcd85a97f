"""What ranking needs of a memory, read once: the words of some hundred candidates are most of what a recall would transport.

Searches bring a stamp of each brief, which is another when anything in it is. So what is known here under a stamp is
what Redis has, and nothing has to be told when a memory changes or goes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memoryd.limits import BRIEFS_MAX, BRIEFS_SECONDS
from memoryd.model.feedback import Feedback, from_text

Words = NDArray[np.int64]
"""The words of a memory, each as a number."""


@dataclass(slots=True, frozen=True)
class Brief:
    """The field `brief` of a record, which the atomic steps write. Times are microseconds since 1970."""

    memory_id: str
    kind: str
    terms: str
    """With spaces between them, equal ones side by side."""
    words: Words
    """The terms, numbered (`numbered`)."""
    speaker: str
    session: tuple[str, str]
    """Agent and session, as tags; ('', '') for what belongs to no session."""
    follows: list[str]
    importance: float
    valid_from: int
    feedback: Feedback | None


class Briefs:
    """Those that this daemon has read. What no search finds for some minutes is dropped, and so the words of what is forgotten."""

    def __init__(self) -> None:
        # By whose memory it is, too: a stamp that two memories share, if it ever is, must not bring what is another project's.
        self._young: dict[tuple[str, bytes], Brief] = {}
        self._old: dict[tuple[str, bytes], Brief] = {}
        self._since = 0.0

    def get(self, place: str, stamp: bytes) -> Brief | None:
        """What is known under this stamp in a place (kind, tenant and project)."""
        known = self._young.get((place, stamp))
        if known is None and (known := self._old.get((place, stamp))) is not None:
            self._young[place, stamp] = known
        return known

    def put(self, place: str, stamp: bytes, brief: Brief) -> None:
        """Keeps what has been read."""
        self._young[place, stamp] = brief

    def grow_old(self) -> None:
        """Drops what no search has found since the time before last. Once a recall, or nothing would ever go."""
        now = asyncio.get_running_loop().time()
        if len(self._young) >= BRIEFS_MAX // 2 or now - self._since >= BRIEFS_SECONDS / 2:
            self._old, self._young, self._since = self._young, {}, now


def to_brief(memory_id: str, kind: str, text: str) -> Brief:
    """The field of a record, read."""
    # An earlier memoryd has written no line for feedback.
    speaker, agent, session, follows, importance, valid_from, *feedback, terms = text.split("\n")
    return Brief(
        memory_id, kind, terms, numbered(terms), speaker, (agent, session) if session else ("", ""),
        follows.split(",") if follows else [], float(importance), int(valid_from), from_text("".join(feedback)),
    )  # fmt: skip


def numbered(terms: str) -> Words:
    """A number for each term, of 64 bits: the same in one process for the same term, and for no other that it will meet."""
    each = terms.split()
    return np.fromiter(map(hash, each), dtype=np.int64, count=len(each))
