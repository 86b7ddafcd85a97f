"""What of the candidates themselves the signals look at, whatever is asked: numbers of their words, sessions and neighbours.

Questions about one conversation have the same candidates again and again, so this is kept for a while.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from operator import is_

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.briefs import Brief, Words
from memoryd.limits import BRIEFS_SECONDS, LAYOUT_WORDS_MAX, LAYOUTS_MAX

Places = NDArray[np.int64]


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
    def words(self) -> Words:
        """All their terms, one candidate after another: some ten thousand."""
        return np.concatenate([row.words for row in self.rows]) if self.rows else np.zeros(0, dtype=np.int64)

    @cached_property
    def ends(self) -> NDArray[np.uint16]:
        """The last 16 bits of each term: enough to tell most from those that are asked for."""
        return self.words.astype(np.uint16)

    @cached_property
    def whose(self) -> Places:
        """Of each term the candidate's place."""
        return np.repeat(np.arange(len(self.rows)), self.sizes)

    @cached_property
    def scale(self) -> NDArray[np.float64]:
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
    def judged(self) -> bool:
        """Whether anything was said of the use of any of them."""
        return any(row.feedback for row in self.rows)

    @cached_property
    def follows(self) -> tuple[Places, Places]:
        """Which of them (first) followed which (second). What it followed and is none of them is left out."""
        place = {row.memory_id: at for at, row in enumerate(self.rows)}
        each = np.repeat(np.arange(len(self.rows)), [len(row.follows) for row in self.rows])
        before = np.array([place.get(one, -1) for row in self.rows for one in row.follows], dtype=np.int64)
        return each[before >= 0], before[before >= 0]


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
            room -= len(one.words)
            if room >= 0:
                self._known.append(one)
        return found


def _same(some: Sequence[Brief], others: Sequence[Brief]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))
