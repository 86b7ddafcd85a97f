"""The candidates of one recall, side by side, as the signals look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.briefs import Words, numbered
from memoryd.hot.rows import Candidates

Values = NDArray[np.float64]
"""One number a candidate."""

Places = NDArray[np.int64]


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
    ) -> None:
        self.ids = sorted(candidates.rows)
        self.rows = [candidates.rows[key] for key in self.ids]
        self.similarity: Mapping[str, float] = candidates.similarity
        """To the question's vector, of those that were found by meaning, by id."""
        self.terms = list(terms)
        self.memories = memories
        self._counted = counted or {}

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> Values:
        """How many terms each candidate has."""
        return self._per_row.astype(float)

    @cached_property
    def _per_row(self) -> Places:
        return np.array([len(row.words) for row in self.rows], dtype=np.int64)

    @cached_property
    def _words(self) -> Words:
        """All terms of the candidates, one candidate after another: some ten thousand."""
        return np.concatenate([row.words for row in self.rows]) if self.rows else np.zeros(0, dtype=np.int64)

    @cached_property
    def _ends(self) -> NDArray[np.uint16]:
        """The last 16 bits of each: enough to tell most words from those that are asked for."""
        return self._words.astype(np.uint16)

    @cached_property
    def _whose(self) -> Places:
        """Of each of all terms the candidate's place."""
        return np.repeat(np.arange(len(self)), self._per_row)

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """How often each candidate (a line) has each of the question's terms (a column)."""
        return self.count(self.terms)

    def count(self, terms: Sequence[str]) -> NDArray[np.float64]:
        """How often each candidate (a line) has each of these terms (a column)."""
        if not terms:
            return np.zeros((len(self), 0))
        # Without a loop of Python's over the words, which would take longer than everything else here.
        asked = numbered(" ".join(terms))
        perhaps = np.zeros(1 << 16, dtype=bool)
        perhaps[asked.astype(np.uint16)] = True
        at = np.flatnonzero(perhaps[self._ends])
        found, order = self._words[at], np.argsort(asked)
        nearest = np.searchsorted(asked[order], found).clip(max=len(terms) - 1)
        wanted = asked[order][nearest] == found
        places = self._whose[at[wanted]] * len(terms) + order[nearest[wanted]]
        return np.bincount(places, minlength=len(self) * len(terms)).reshape(len(self), len(terms)).astype(float)

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

    @cached_property
    def sessions(self) -> Places:
        """A number for the session of each candidate; what belongs to none is a session of its own."""
        known: dict[tuple[str, ...], int] = {}
        return np.array([known.setdefault(row.place, len(known)) for row in self.rows], dtype=np.int64)
