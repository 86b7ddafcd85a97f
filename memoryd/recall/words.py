"""What the words of a question say: of the memory, of its neighbours, of its session, and of what is like the best.

All of it is BM25 (`recall.bm25`). It is computed here and not by RediSearch for two reasons. RediSearch's statistics are
of the whole index: what strangers store would move the scores of everybody, and a score would tell something of them.
And an updated hash is counted in each of its terms once more until the index is cleaned, which turns the rarest words
into the commonest (measured: of 150 questions 89 had the answer among the first ten, 11 with that).
"""

from __future__ import annotations

import numpy as np

from memoryd.model.terms import tells_nothing
from memoryd.recall.bm25 import Values, rarity, weight
from memoryd.recall.pool import Hits, Pool, highest

BEST = 3  # memories that the question is expanded from
EXPANSIONS = 10  # terms that it is expanded by


def words(pool: Pool) -> Values:
    """BM25 of the memory's own words: the rarer a word in the scope and the shorter the memory, the more it says."""
    return _bm25(pool.asked, rarity(pool.memories, np.array([pool.with_term[term] for term in pool.terms])), len(pool))


def neighbours(pool: Pool, own: Values) -> Values:
    """The words of what was said around it, in the same session. An answer follows its question: "What did you paint?"
    has the words, "A sunset, last Friday!" is what was asked for. What comes before says twice of what comes after.

    A neighbour that is no candidate has none of the words, so nothing has to be looked up.
    """
    to, of = pool.layout.around
    says = own[of]
    says[1::2] /= 2  # what comes after
    return np.asarray(np.bincount(to, says, minlength=len(pool)), dtype=float)


def session(pool: Pool) -> Values:
    """BM25 of the whole session as one document, for each memory in it: what a conversation was about decides where to
    look, also for turns that do not repeat it. Of Callan, "Passage-Level Evidence in Document Retrieval" (SIGIR 1994),
    the other way round. The session's length is left out: it is unknown here, and measured it changes nothing.
    """
    sessions, asked, terms = pool.layout.sessions, pool.asked, max(1, len(pool.terms))
    count = int(sessions.max(initial=-1)) + 1
    counted = np.bincount(sessions[asked.whose] * terms + asked.which, asked.times)
    there = counted.nonzero()[0]
    times = counted[there].astype(float)
    whole = Hits(there // terms, there % terms, times, weight(times, 1.0))
    return _bm25(whole, rarity(count, np.bincount(whole.which, minlength=terms)), count)[sessions]


def expansion(pool: Pool, own: Values) -> Values:
    """Words that the question did not have: those that tell its best memories from the others (pseudo-relevance feedback,
    Rocchio 1971; as ten terms of three documents in Lavrenko and Croft, SIGIR 2001). How rare they are is judged by the
    candidates, which is all that is known of them.
    """
    best = [at for at in highest(own, BEST).tolist() if own[at] > 0]
    had = set(" ".join([pool.rows[at].terms for at in best]).split())
    terms = sorted(term for term in had - pool.with_term.keys() if not tells_nothing(term))
    hits = pool.hits(terms)
    rare = rarity(len(pool), np.bincount(hits.which, minlength=len(terms)))
    value = np.zeros(len(pool))
    value[best] = own[best]
    worth = np.bincount(hits.which, value[hits.whose], minlength=len(terms)) * rare
    chosen = highest(worth, EXPANSIONS)
    says = np.zeros(len(terms))
    says[chosen] = rare[chosen]
    return _bm25(hits, says, len(pool))


def _bm25(hits: Hits, says: Values, count: int) -> Values:
    """Of `count` texts, by which of them has which term, and what each term says."""
    return np.asarray(np.bincount(hits.whose, says[hits.which] * hits.weights, minlength=count), dtype=float)
