"""The candidates of one recall, side by side, as the signals look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memoryd.hot.search import Row

Values = NDArray[np.float64]
"""One number a candidate."""


class Pool:
    """Candidates in the order of their ids, and what is known of the question: its terms, and how they are spread."""

    def __init__(self, rows: Mapping[str, Row], terms: Sequence[str], with_term: Mapping[str, int], memories: int) -> None:
        self.rows = [rows[key] for key in sorted(rows)]
        self.terms = list(terms)
        self.with_term = with_term
        self.memories = memories

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lengths(self) -> Values:
        """How many terms each candidate has."""
        return np.array([len(row.terms) for row in self.rows], dtype=float)

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Where each term stands: the candidates that have it, one as often as it has it."""
        places: dict[str, list[int]] = {}
        for at, row in enumerate(self.rows):
            for term in row.terms:
                if term in places:
                    places[term].append(at)
                else:
                    places[term] = [at]
        return places

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """How often each candidate (a line) has each of the question's terms (a column)."""
        return self.count(self.terms)

    def count(self, terms: Sequence[str]) -> NDArray[np.float64]:
        """How often each candidate (a line) has each of these terms (a column)."""
        table = np.zeros((len(self.rows), len(terms)))
        for column, term in enumerate(terms):
            if places := self.places.get(term):
                table[:, column] = np.bincount(places, minlength=len(self.rows))
        return table

    def having(self, term: str) -> int:
        """How many candidates have a term."""
        return len(set(self.places.get(term, ())))

    @cached_property
    def sessions(self) -> NDArray[np.int64]:
        """A number for the session of each candidate; what belongs to none is a session of its own."""
        known: dict[tuple[str, ...], int] = {}
        places = [row.session if row.session[1] else (row.memory_id,) for row in self.rows]
        return np.array([known.setdefault(place, len(known)) for place in places], dtype=np.int64)
