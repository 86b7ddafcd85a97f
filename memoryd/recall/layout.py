"""What of the candidates themselves the signals look at, whatever is asked: numbers of their words, sessions and neighbours.

Questions about one conversation have the same candidates again and again, so this is kept for a while.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from operator import is_
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.briefs import Brief, Words
from memoryd.limits import BRIEFS_SECONDS, LAYOUT_WORDS_MAX, LAYOUTS_MAX
from memoryd.model.feedback import Feedback
from memoryd.recall.bm25 import Values, weight

Places = NDArray[np.int64]


class Index(NamedTuple):
    """Each term of each candidate once, in the order of their last 16 bits, which tell most of them apart. Those that end alike are
    in the order of the candidates."""

    ends: NDArray[np.uint16]
    words: Words
    whose: Places
    """The candidate's place."""
    times: Values
    """How often it has the term."""
    weights: Values
    """What that is worth (`bm25.weight`)."""


class Layout:
    """Candidates, in the order of their ids."""

    def __init__(self, rows: Sequence[Brief]) -> None:
        self.rows = rows
        self.met_at = 0.0

    @cached_property
    def sizes(self) -> Places:
        """How many terms each has."""
        return np.array([len(row.words) for row in self.rows], dtype=np.int64)

    @cached_property
    def words(self) -> int:
        """How many terms all of them have."""
        return int(self.sizes.sum())

    @cached_property
    def index(self) -> Index:
        """All their terms: some ten thousand."""
        words = np.concatenate([row.words for row in self.rows]) if self.rows else np.zeros(0, dtype=np.int64)
        another = np.ones(len(words) + 1, dtype=bool)  # than the one before it: equal ones lie side by side
        another[1:-1] = words[1:] != words[:-1]
        another[self.sizes.cumsum()] = True
        first = another.nonzero()[0]
        first, times = first[:-1], np.diff(first).astype(float)
        words, whose = words[first], np.arange(len(self.rows)).repeat(self.sizes)[first]
        ends = words.astype(np.uint16)
        order = ends.argsort(kind="stable")  # of 16 bits it takes an eighth of the time of 64
        weights = weight(times, self.scale[whose])
        return Index(ends[order], words[order], whose[order], times[order], weights[order])

    @cached_property
    def scale(self) -> Values:
        """How long each is in terms, the mean of them being 1."""
        known = self.sizes[self.sizes > 0]  # of a memory that is light here, and was found by meaning only, nobody knows
        return self.sizes / (known.mean() if len(known) else 1.0)

    @cached_property
    def sessions(self) -> Places:
        """A number for the session of each; what belongs to none is a session of its own."""
        known: dict[tuple[str, ...], int] = {}
        return np.array([known.setdefault(row.place, len(known)) for row in self.rows], dtype=np.int64)

    @cached_property
    def said_by(self) -> dict[str, Places]:
        """The places of what each speaker said; of what nobody did under ''."""
        places: dict[str, list[int]] = {}
        for at, row in enumerate(self.rows):
            places.setdefault(row.speaker, []).append(at)
        return {speaker: np.array(said, dtype=np.int64) for speaker, said in places.items()}

    @cached_property
    def judged(self) -> list[tuple[int, Feedback]]:
        """The places of those of whose use something was said, and what."""
        return [(at, row.feedback) for at, row in enumerate(self.rows) if row.feedback]

    @cached_property
    def valid_from(self) -> Places:
        """Since when each is true, in microseconds since 1970."""
        return np.array([row.valid_from for row in self.rows], dtype=np.int64)

    @cached_property
    def importance(self) -> Values:
        """As each was given."""
        return np.array([row.importance for row in self.rows], dtype=float)

    @cached_property
    def around(self) -> tuple[Places, Places]:
        """Who is beside whom, both ways: that one followed another, then that the other came before it. What one followed and is
        none of them is left out."""
        following = [(at, row.follows) for at, row in enumerate(self.rows) if row.follows]
        place = {row.memory_id: at for at, row in enumerate(self.rows)} if following else {}
        pairs = [each for at, before in following for one in before if one in place for each in (at, place[one])]
        whose = np.array(pairs, dtype=np.int64)
        return whose, whose.reshape(-1, 2)[:, ::-1].ravel()


class Layouts:
    """Those of the latest recalls. What no recall meets for some minutes is dropped, as briefs are: they hold its words, too."""

    def __init__(self) -> None:
        self._known: list[Layout] = []

    def of(self, rows: Sequence[Brief]) -> Layout:
        """The layout of these candidates: the very same briefs, not only the same memories."""
        now = time.monotonic()
        found = next((one for one in self._known if _same(one.rows, rows)), None) or Layout(rows)
        found.met_at = now
        others = (one for one in self._known if one is not found and now - one.met_at < BRIEFS_SECONDS)
        room, self._known = LAYOUT_WORDS_MAX, []
        for one in [found, *others][:LAYOUTS_MAX]:
            room -= one.words
            if room >= 0:
                self._known.append(one)
        return found


def _same(some: Sequence[Brief], others: Sequence[Brief]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))
