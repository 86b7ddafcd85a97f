"""What the words of a question say: of the memory, of its neighbours, of its session, and of what is like the best.

All of it is BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) with the
constants of RediSearch's BM25STD. It is computed here and not by RediSearch for two reasons. RediSearch's statistics are
of the whole index: what strangers store would move the scores of everybody, and a score would tell something of them.
And an updated hash is counted in each of its terms once more until the index is cleaned, which turns the rarest words
into the commonest (measured: of 150 questions 89 had the answer among the first ten, 11 with that).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memoryd.model.terms import tells_nothing
from memoryd.recall.pool import Pool, Values

K1, B = 1.2, 0.5
BEST = 3  # memories that the question is expanded from
EXPANSIONS = 10  # terms that it is expanded by


def words(pool: Pool) -> Values:
    """BM25 of the memory's own words: the rarer a word in the scope and the shorter the memory, the more it says."""
    return _bm25(pool, pool.counts, [pool.with_term.get(term, 0) for term in pool.terms])


def neighbours(pool: Pool, own: Values) -> Values:
    """The words of what was said around it, in the same session. An answer follows its question: "What did you paint?"
    has the words, "A sunset, last Friday!" is what was asked for. What comes before says twice of what comes after.

    A neighbour that is no candidate has none of the words, so nothing has to be looked up.
    """
    each, before = pool.layout.follows
    to, says = np.empty(2 * len(each), dtype=np.int64), np.empty(2 * len(each))
    to[::2], to[1::2], says[::2], says[1::2] = each, before, own[before], own[each] / 2
    return np.asarray(np.bincount(to, says, minlength=len(pool)), dtype=float)


def session(pool: Pool) -> Values:
    """BM25 of the whole session as one document, for each memory in it: what a conversation was about decides where to
    look, also for turns that do not repeat it. Of Callan, "Passage-Level Evidence in Document Retrieval" (SIGIR 1994),
    the other way round. The session's length is left out: it is unknown here, and measured it changes nothing.
    """
    count = int(pool.layout.sessions.max(initial=-1)) + 1
    terms = len(pool.terms)
    places = pool.layout.sessions[:, None] * terms + np.arange(terms)
    whole = np.bincount(places.ravel(), pool.counts.ravel(), minlength=count * terms).reshape(count, terms)
    rarity = _rarity(count, np.count_nonzero(whole, axis=0))
    scores = (rarity * whole * (K1 + 1) / (whole + K1)).sum(axis=1)
    return np.asarray(scores[pool.layout.sessions])


def expansion(pool: Pool, own: Values) -> Values:
    """Words that the question did not have: those that tell its best memories from the others (pseudo-relevance feedback,
    Rocchio 1971; as ten terms of three documents in Lavrenko and Croft, SIGIR 2001). How rare they are is judged by the
    candidates, which is all that is known of them.
    """
    best = [at for at in np.argsort(-own, kind="stable")[:BEST] if own[at] > 0]
    terms = list(dict.fromkeys(term for at in best for term in pool.rows[at].terms.split() if _may_expand(pool, term)))
    whose, which = pool.hits(terms)
    first = np.ones(len(whose), dtype=bool)
    first[1:] = (whose[1:] != whose[:-1]) | (which[1:] != which[:-1])  # of the equal terms of one candidate
    having = np.bincount(which[first], minlength=len(terms))
    value = np.zeros(len(pool))
    value[best] = own[best]
    worth = np.bincount(which[first], value[whose[first]], minlength=len(terms)) * _rarity(len(pool), having)
    chosen = sorted(range(len(terms)), key=lambda at: (-worth[at], terms[at]))[:EXPANSIONS]
    column = np.full(len(terms), -1)
    column[chosen] = np.arange(len(chosen))
    wanted = column[which] >= 0
    counts = pool.table(whose[wanted], column[which[wanted]], len(chosen))
    return _bm25(pool, counts, having[chosen], memories=len(pool))


def _may_expand(pool: Pool, term: str) -> bool:
    return term not in pool.with_term and not tells_nothing(term)


def _bm25(pool: Pool, counts: NDArray[np.float64], with_term: Sequence[int] | NDArray[Any], memories: int | None = None) -> Values:
    norm = K1 * (1 - B + B * pool.layout.scale)
    rarity = _rarity(pool.memories if memories is None else memories, np.array(with_term, dtype=float))
    return np.asarray((rarity * counts * (K1 + 1) / (counts + norm[:, None])).sum(axis=1))


def _rarity(documents: int, having: NDArray[Any]) -> NDArray[np.float64]:
    """IDF, never negative. Counts that were taken one after another may disagree by what was stored in between."""
    having = np.minimum(np.asarray(having, dtype=float), documents)
    return np.asarray(np.log(1 + (documents - having + 0.5) / (having + 0.5)))
