"""The candidates of a recall, as searches bring them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from memoryd.hot.briefs import Words, numbered
from memoryd.hot.finding import Near
from memoryd.limits import AROUND_SESSIONS_MAX, CANDIDATES_MAX
from memoryd.model.feedback import Feedback

LONG = "long"


@dataclass(slots=True)
class Row:
    """What ranking needs of a candidate: its brief, and what this recall has found of it. Times are microseconds since 1970."""

    memory_id: str
    kind: str
    terms: str
    """With spaces between them, equal ones side by side."""
    speaker: str
    session: tuple[str, str]
    """Agent and session, as tags; ('', '') for what belongs to no session."""
    follows: list[str]
    importance: float
    valid_from: int
    feedback: Feedback | None = None
    words: Words | None = None
    """The terms, numbered, where that has been done."""
    similarity: float | None = None
    """To the question's vector; None for what was not found by meaning."""
    tier: str = ""
    """long or archive, where its terms came from MongoDB."""

    @property
    def numbers(self) -> Words:
        """Its terms, numbered."""
        return numbered(self.terms) if self.words is None else self.words

    @property
    def group(self) -> str:
        """Among which memories its words are counted: those of its kind here, or those of its tier."""
        return self.tier or self.kind


@dataclass
class Found:
    """What the searches by words found: the candidates, and which of them says exactly what was asked."""

    long: int = 0
    """How many of them are of the tier `long`: their words are in the archive."""
    memories: dict[str, int] = field(default_factory=dict)
    """How many of each kind the scope holds that pass the filters. Nothing outside the scope is counted."""
    rows: dict[str, Row] = field(default_factory=dict)
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


def told_in(rows: Iterable[Row], kind: str, terms: Sequence[str]) -> list[str]:
    """The sessions, as tags, whose events have most of the terms between them, each counted once an event."""
    asked, having = set(numbered(" ".join(terms)).tolist()), Counter[str]()
    for row in rows:
        if row.kind == kind and row.session[1]:
            having[row.session[1]] += len(asked.intersection(row.numbers.tolist()))
    return [session for session, _ in sorted(having.items(), key=lambda one: (-one[1], one[0]))[:AROUND_SESSIONS_MAX]]


def word(rows: Mapping[str, Row], terms: Mapping[str, str]) -> None:
    """Gives the rows that Redis has no words of theirs, as the archive has them."""
    for memory_id, own in terms.items():
        if (row := rows.get(memory_id)) is not None and not row.terms:
            row.terms, row.words, row.tier = own, None, LONG


def take(rows: dict[str, Row], found: Iterable[Near]) -> set[str]:
    """Adds what a search has found to the rows, or its similarity to a row that is there; returns the ids."""
    ids = set()
    for brief, distance in found:
        row = rows.get(brief.memory_id)
        if row is None:
            row = rows[brief.memory_id] = Row(
                brief.memory_id, brief.kind, brief.terms, brief.speaker, brief.session, brief.follows, brief.importance,
                brief.valid_from, brief.feedback, brief.words,
            )  # fmt: skip
        if distance is not None:
            row.similarity = 1.0 - distance
        ids.add(brief.memory_id)
    return ids
