"""What ranking needs of a memory, read once: the words of some hundred candidates are most of what a recall would transport.

Searches bring a stamp of each brief, which is another when anything in it is. So what is known here under a stamp is
what Redis has, and nothing has to be told when a memory changes or goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import cast

import numpy as np
from numpy.typing import NDArray

from memoryd.limits import BRIEFS_MAX, BRIEFS_SECONDS
from memoryd.model.feedback import Feedback, from_text

LIGHT_BRIEF = ("speaker", "agent_id", "session_id", "follows", "importance", "valid_from", "feedback")
"""The lines of a brief, by the fields of a record that say the same; the words follow."""

Words = NDArray[np.int64]
"""The words of a memory, each as a number."""


@dataclass(slots=True, frozen=True)
class Brief:
    """The field `brief` of a record, which the atomic steps write. Times are microseconds since 1970."""

    memory_id: str
    kind: str
    terms: str
    """With spaces between them, equal ones side by side."""
    speaker: str
    session: tuple[str, str]
    """Agent and session, as tags; ('', '') for what belongs to no session."""
    follows: Sequence[str]
    importance: float
    valid_from: int
    feedback: Feedback | None
    words: Words
    """The terms, numbered (`numbered`)."""
    tier: str = ""
    """long or archive, where its terms came from MongoDB."""
    place: tuple[str, ...] = field(init=False)
    """Its session; what belongs to none is a session of its own."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", self.session if self.session[1] else (self.memory_id,))

    @property
    def group(self) -> str:
        """Among which memories its words are counted: those of its kind here, or those of its tier."""
        return self.tier or self.kind


class Briefs:
    """Those that this daemon has read. What no search finds for some minutes is dropped, and so the words of what is forgotten."""

    def __init__(self) -> None:
        # By whose memory it is, too: a stamp that two memories share, if it ever is, must not bring what is another project's.
        self._young: dict[str, dict[bytes, Brief]] = {}
        self._old: dict[str, dict[bytes, Brief]] = {}
        self._many = 0  # in the young ones
        self._since = 0.0

    def known(self, place: str, stamps: Sequence[bytes]) -> list[Brief] | None:
        """What is known under these stamps in a place (kind, tenant and project), in their order; None when one of them is not."""
        young = self._young.get(place, {})
        found = list(map(young.get, stamps))
        if not all(found):
            old = self._old.get(place, {})
            found = [one or old.get(stamp) for one, stamp in zip(found, stamps, strict=True)]
            for stamp, one in zip(stamps, found, strict=True):
                if one:
                    self.put(place, stamp, one)
        return cast("list[Brief]", found) if all(found) else None

    def unknown(self, place: str, stamps: Sequence[bytes]) -> list[bytes]:
        """Those of the stamps under which nothing is known."""
        young, old = self._young.get(place, {}), self._old.get(place, {})
        return [one for one in stamps if one not in young and one not in old]

    def put(self, place: str, stamp: bytes, brief: Brief) -> None:
        """Keeps what has been read."""
        here = self._young.setdefault(place, {})
        self._many += stamp not in here
        here[stamp] = brief

    def grow_old(self) -> None:
        """Drops what no search has found since the time before last. Once a recall, or nothing would ever go."""
        now = asyncio.get_running_loop().time()
        if self._many >= BRIEFS_MAX // 2 or now - self._since >= BRIEFS_SECONDS / 2:
            self._old, self._young, self._many, self._since = self._young, {}, 0, now


def to_brief(memory_id: str, kind: str, text: str) -> Brief:
    """The field of a record, read."""
    # An earlier memoryd has written no line for feedback.
    speaker, agent, session, follows, importance, valid_from, *feedback, terms = text.split("\n")
    # Names and ids stand in many briefs: each is kept once, which saves a third of what a brief takes.
    return Brief(
        intern(memory_id), kind, terms, intern(speaker), (intern(agent), intern(session)) if session else ("", ""),
        [intern(one) for one in follows.split(",")] if follows else [], float(importance), int(valid_from),
        from_text("".join(feedback)), numbered(terms),
    )  # fmt: skip


def light_brief(row: Sequence[bytes | None]) -> bytes:
    """The brief that a light record has no field for, from its LIGHT_BRIEF: all but the words, which are in the archive."""
    return b"\n".join([*(one or b"" for one in row), b""])


def numbered(terms: str) -> Words:
    """A number for each term, of 64 bits: the same in one process for the same term, and for no other that it will meet."""
    each = terms.split()
    return np.fromiter(map(hash, each), dtype=np.int64, count=len(each))
