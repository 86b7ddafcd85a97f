"""The candidates of one recall, side by side, as the signals look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.briefs import Words, numbered
from memoryd.hot.rows import Row

Values = NDArray[np.float64]
"""One number a candidate."""


class Pool:
    """Candidates in the order of their ids, and what is known of the question: its terms, and how they are spread.

    `memories` is how many there are to compare with. `counted`: in how many memories of a group (`Row.group`) each term is, of
    those groups of which not all that have a term are candidates.
    """

    def __init__(
        self,
        rows: Mapping[str, Row],
        terms: Sequence[str],
        memories: int,
        counted: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.rows = [rows[key] for key in sorted(rows)]
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
    def _per_row(self) -> NDArray[np.int64]:
        return np.array([len(one) for one in self._numbers], dtype=np.int64)

    @cached_property
    def _numbers(self) -> list[Words]:
        return [row.numbers for row in self.rows]

    @cached_property
    def _words(self) -> Words:
        """All terms of the candidates, one candidate after another: some ten thousand."""
        return np.concatenate(self._numbers) if self._numbers else np.zeros(0, dtype=np.int64)

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
        order = np.argsort(asked)
        nearest = np.searchsorted(asked[order], self._words).clip(max=len(terms) - 1)
        wanted = asked[order][nearest] == self._words
        places = np.repeat(np.arange(len(self)), self._per_row)[wanted] * len(terms) + order[nearest[wanted]]
        return np.bincount(places, minlength=len(self) * len(terms)).reshape(len(self), len(terms)).astype(float)

    @cached_property
    def with_term(self) -> dict[str, int]:
        """In how many memories each of the question's terms is."""
        here = np.array([row.group not in self._counted for row in self.rows], dtype=bool)
        among = np.count_nonzero(self.counts[here], axis=0).tolist() if len(self) else [0] * len(self.terms)
        return {
            term: count + sum(counted.get(term, 0) for counted in self._counted.values())
            for term, count in zip(self.terms, among, strict=True)
        }

    @cached_property
    def sessions(self) -> NDArray[np.int64]:
        """A number for the session of each candidate; what belongs to none is a session of its own."""
        known: dict[tuple[str, ...], int] = {}
        places = [row.session if row.session[1] else (row.memory_id,) for row in self.rows]
        return np.array([known.setdefault(place, len(known)) for place in places], dtype=np.int64)
