"""The candidates of one recall, side by side, as the signals look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.briefs import numbered
from memoryd.hot.rows import Candidates
from memoryd.recall.layout import Layout, Layouts, Places

Values = NDArray[np.float64]
"""One number a candidate."""


class Pool:
    """Candidates in the order of their ids, and what is known of the question: its terms, and how they are spread.

    `memories` is how many there are to compare with. `counted`: in how many memories of a group (`Brief.group`) each term is, of
    those groups of which not all that have a term are candidates.
    """

    def __init__(
        self,
        candidates: Candidates,
        terms: Sequence[str],
        memories: int,
        counted: Mapping[str, Mapping[str, int]] | None = None,
        layouts: Layouts | None = None,
    ) -> None:
        """`layouts` knows the candidates of recalls before this one."""
        self.ids = sorted(candidates.rows)
        self.rows = [candidates.rows[key] for key in self.ids]
        self.layout = layouts.of(self.rows) if layouts else Layout(self.rows)
        self.similarity: Mapping[str, float] = candidates.similarity
        """To the question's vector, of those that were found by meaning, by id."""
        self.terms = list(terms)
        self.memories = memories
        self._counted = counted or {}

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """How often each candidate (a line) has each of the question's terms (a column)."""
        return self.table(*self.hits(self.terms), len(self.terms))

    def hits(self, terms: Sequence[str]) -> tuple[Places, Places]:
        """Each time that a candidate has one of these terms: whose it is, and which term. Equal ones lie side by side."""
        if not terms:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        # Without a loop of Python's over the words, which would take longer than everything else here.
        asked = numbered(" ".join(terms))
        perhaps = np.zeros(1 << 16, dtype=bool)
        perhaps[asked.astype(np.uint16)] = True
        at = np.flatnonzero(perhaps[self.layout.ends])
        found, order = self.layout.words[at], np.argsort(asked)
        nearest = np.searchsorted(asked[order], found).clip(max=len(terms) - 1)
        wanted = asked[order][nearest] == found
        return self.layout.whose[at[wanted]], order[nearest[wanted]]

    def table(self, whose: Places, which: Places, columns: int) -> NDArray[np.float64]:
        """How often each candidate (a line) was hit in each column."""
        counted = np.bincount(whose * columns + which, minlength=len(self) * columns)
        return counted.reshape(len(self), columns).astype(float)

    @cached_property
    def with_term(self) -> dict[str, int]:
        """In how many memories each of the question's terms is."""
        counts = self.counts
        if self._counted:
            counts = counts[np.array([row.group not in self._counted for row in self.rows], dtype=bool)]
        among = np.count_nonzero(counts, axis=0).tolist()
        return {
            term: count + sum(counted.get(term, 0) for counted in self._counted.values())
            for term, count in zip(self.terms, among, strict=True)
        }
