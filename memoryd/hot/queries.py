"""What a recall looks for in the indexes, beside what has its words: each where the words alone do not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from memoryd.hot.briefs import Brief
from memoryd.hot.clauses import NAMED_MAX, Clause, Filters, scope_clause
from memoryd.hot.finding import Query
from memoryd.hot.rows import Found, rarest, told_in
from memoryd.limits import CANDIDATES_MAX
from memoryd.model.scope import Scope


def by_rarest(
    scope: Scope, filters: Filters, found: Found, kinds: Sequence[str], seconds: float | None
) -> Iterator[Query]:
    """What has the words that say most, where more has one than a search brings."""
    for kind in kinds:
        if kind in found.crowded:
            telling = rarest(found.with_term[kind])
            yield _with_terms(kind, scope_clause(scope, filters), telling, CANDIDATES_MAX, seconds)


def nearest_among(
    scope: Scope, filters: Filters, found: Found, kind: str, terms: Sequence[str]
) -> Iterator[tuple[Clause, int, bool]]:
    """Among what to look for the nearest, how many at most, and whether that is all here already and only its similarity is
    asked for."""
    known = 0 if kind in found.crowded else sum(row.kind == kind for row in found.rows.values())
    if not terms or not known:
        yield scope_clause(scope, filters), CANDIDATES_MAX, False
    elif found.memories[kind] <= known + CANDIDATES_MAX:  # the others come all: one search brings them and what is here
        yield scope_clause(scope, filters), known + CANDIDATES_MAX, True
    else:
        for none in (False, True):
            clause = scope_clause(scope, filters)
            clause.words(terms, none=none)
            yield clause, CANDIDATES_MAX, not none


def around(
    scope: Scope, filters: Filters, rows: Mapping[str, Brief], kinds: Sequence[str], terms: Sequence[str], seconds: float | None
) -> Iterator[Query]:
    """What was said around the words without having one of them: the newest, in the sessions that have most of them."""
    for kind in kinds if terms else ():
        if sessions := told_in(rows.values(), kind, terms):
            clause = scope_clause(scope, filters)
            clause.exact("session_id", sessions)
            clause.words(terms, none=True)
            yield newest(kind, clause, CANDIDATES_MAX, seconds)


def with_ids(scope: Scope, filters: Filters, memory_ids: Sequence[str]) -> Iterator[Clause]:
    """Among these memories, some at a time."""
    for start in range(0, len(memory_ids), NAMED_MAX):
        clause = scope_clause(scope, filters)
        clause.tag("id", memory_ids[start : start + NAMED_MAX])
        yield clause


def _with_terms(kind: str, clause: Clause, terms: Sequence[str], most: int, seconds: float | None) -> Query:
    clause.words(terms)
    return newest(kind, clause, most, seconds)


def newest(kind: str, clause: Clause, most: int, seconds: float | None) -> Query:
    """The newest of what is asked for."""
    return Query(kind, str(clause), clause.arguments(seconds), most)
