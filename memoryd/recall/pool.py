"""The candidates of one recall, side by side, as the signals look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from memoryd.hot.briefs import numbered
from memoryd.hot.rows import Candidates
from memoryd.recall.bm25 import Values
from memoryd.recall.layout import Layout, Layouts, Places


class Hits(NamedTuple):
    """Candidates that have some terms: each with each of its terms once, the terms in their order."""

    whose: Places
    which: Places
    times: Values
    """How often it has the term."""
    weights: Values
    """What that is worth (`bm25.weight`)."""


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
    def asked(self) -> Hits:
        """Who has which of the question's terms."""
        return self.hits(self.terms)

    def hits(self, terms: Sequence[str]) -> Hits:
        """Who has which of these terms."""
        # Without a loop of Python's over the words, which would take longer than everything else here.
        asked, index = numbered(" ".join(terms)), self.layout.index
        ends = asked.astype(np.uint16)
        first = index.ends.searchsorted(ends)
        many = index.ends.searchsorted(ends, side="right") - first  # that end as each of the terms does
        which = np.arange(len(terms)).repeat(many)
        at = np.arange(len(which)) + (first - many.cumsum() + many)[which]
        same = index.words[at] == asked[which]
        at = at[same]
        return Hits(index.whose[at], which[same], index.times[at], index.weights[at])

    @cached_property
    def with_term(self) -> dict[str, int]:
        """In how many memories each of the question's terms is."""
        which = self.asked.which
        if self._counted:
            which = which[np.array([row.group not in self._counted for row in self.rows], dtype=bool)[self.asked.whose]]
        among = dict(zip(self.terms, np.bincount(which, minlength=len(self.terms)).tolist(), strict=True))
        for counted in self._counted.values():
            among = {term: count + counted.get(term, 0) for term, count in among.items()}
        return among


def highest(values: Values, most: int | None = None) -> Places:
    """The places of the highest, best first; of equal ones the first place first."""
    lowest = -values
    if most is None or most >= len(values):
        return np.asarray(lowest.argsort(kind="stable"))
    some: Places = (~(lowest > np.partition(lowest, most)[most])).nonzero()[0]  # sorting these few takes a third of the time
    return some[lowest[some].argsort(kind="stable")][:most]
