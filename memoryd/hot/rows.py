"""The candidates of a recall, as searches bring them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from memoryd.hot.briefs import Brief, numbered
from memoryd.hot.finding import Met
from memoryd.limits import AROUND_SESSIONS_MAX, CANDIDATES_MAX

LONG = "long"


@dataclass
class Candidates:
    """What ranking chooses from, by id, and how near to the question's vector is what was found by meaning."""

    rows: dict[str, Brief] = field(default_factory=dict)
    similarity: dict[str, float] = field(default_factory=dict)

    def take(self, found: Met) -> None:
        """Adds what a search has found; of what is here already its similarity."""
        for brief in found.briefs:
            self.rows.setdefault(brief.memory_id, brief)
        self.similarity.update(found.similarity)

    def add(self, others: Candidates) -> None:
        """Adds those that are not here."""
        new = others.rows.keys() - self.rows.keys()
        self.rows |= {key: row for key, row in others.rows.items() if key in new}
        self.similarity |= {key: one for key, one in others.similarity.items() if key in new}

    def word(self, terms: Mapping[str, str]) -> None:
        """Gives those of which Redis has no words theirs, as the archive has them."""
        for memory_id, own in terms.items():
            if (row := self.rows.get(memory_id)) is not None and not row.terms:
                self.rows[memory_id] = replace(row, terms=own, words=numbered(own), tier=LONG)


@dataclass
class Found(Candidates):
    """What the searches by words found: the candidates, and which of them says exactly what was asked."""

    long: int = 0
    """How many of them are of the tier `long`: their words are in the archive."""
    memories: dict[str, int] = field(default_factory=dict)
    """How many of each kind the scope holds that pass the filters. Nothing outside the scope is counted."""
    quoted: set[str] = field(default_factory=set)
    crowded: set[str] = field(default_factory=set)
    """The kinds in which more memories have one of the words than one search brings."""
    with_term: dict[str, dict[str, int]] = field(default_factory=dict)
    """In how many memories of a crowded kind each word is. Of the other kinds the rows are all that have one."""
    nothing_near: bool = False
    """Whether the search by meaning has found nothing, or was refused: the vectors are perhaps another model's by now."""
    filled: bool = True
    """Whether this Redis was ever compared with the archive whole. One that was emptied, or is new, may lack anything."""
    cut: set[str] = field(default_factory=set)
    """By what (words, meaning) was searched for too long: those searches have not looked at everything."""


def rarest(with_term: Mapping[str, int]) -> list[str]:
    """The rarest terms of a question, as many as bring no more memories than one search: the common ones say least."""
    chosen: list[str] = []
    room = CANDIDATES_MAX
    for count, term in sorted((count, term) for term, count in with_term.items() if count):
        if chosen and count > room:
            break
        chosen.append(term)
        room -= count
    return chosen


def told_in(rows: Iterable[Brief], kind: str, terms: Sequence[str]) -> list[str]:
    """The sessions, as tags, whose events have most of the terms between them, each counted once an event."""
    asked, having = set(numbered(" ".join(terms)).tolist()), Counter[str]()
    for row in rows:
        if row.kind == kind and row.session[1]:
            having[row.session[1]] += len(asked.intersection(row.words.tolist()))
    return [session for session, _ in sorted(having.items(), key=lambda one: (-one[1], one[0]))[:AROUND_SESSIONS_MAX]]
