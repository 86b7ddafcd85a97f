"""From candidates to ranked hits, each with the parts of its score."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from memoryd.model.results import Part, Ranked
from memoryd.recall.meaning import meaning
from memoryd.recall.pool import Pool, Values
from memoryd.recall.profiles import Profile
from memoryd.recall.speech import speaker
from memoryd.recall.when import Period, when
from memoryd.recall.words import expansion, neighbours, session, words
from memoryd.recall.worth import feedback, importance, recency

QUOTE_WEIGHT = 100.0  # more than all else can add up to: who says a whole memory means that memory
AS_THEY_ARE = frozenset({"speaker", "when", "quote", "feedback"})  # how many others have it does not change what it says


def signals(
    pool: Pool, profile: Profile, *, who: set[str], now: int, times: Sequence[Period] = ()
) -> dict[str, Values]:
    """The raw value of each signal that the profile weighs, for each candidate."""
    own = words(pool)
    made: dict[str, Callable[[], Values | None]] = {
        "words": lambda: own, "neighbours": lambda: neighbours(pool, own), "session": lambda: session(pool),
        "expansion": lambda: expansion(pool, own), "speaker": lambda: speaker(pool, who), "meaning": lambda: meaning(pool),
        "when": lambda: when(pool, times), "recency": lambda: recency(pool, now), "importance": lambda: importance(pool),
        "feedback": lambda: feedback(pool, now),
    }  # fmt: skip
    values = {name: made[name]() for name, weight in profile.weights.items() if weight}
    return {name: one for name, one in values.items() if one is not None}


def rank(
    pool: Pool,
    profile: Profile,
    *,
    who: set[str],
    quoted: Collection[str],
    now: int,
    times: Sequence[Period] = (),
    limit: int | None = None,
    min_score: float | None = None,
    min_likeness: float = 0.0,
) -> list[Ranked]:
    """The candidates, best first; ties by id, so that the same question gets the same order, whatever the limit.

    Cosine and BM25 have no common unit, and their sum is better than the sum of ranks (measured): each is standardised
    over the candidates of this recall. A score can therefore be compared within one answer only.
    """
    if not len(pool):
        return []
    raw = signals(pool, profile, who=who, now=now, times=times)
    weights = dict(profile.weights)
    if quoted:
        raw["quote"] = np.array([float(one in quoted) for one in pool.ids])
        weights["quote"] = QUOTE_WEIGHT
    parts = {name: weights[name] * scaled(name, values, profile) for name, values in raw.items()}
    scores = np.sum(list(parts.values()), axis=0).round(6) if parts else np.zeros(len(pool))
    order = np.argsort(-scores, kind="stable")  # the pool is in the order of ids
    enough = np.ones(len(pool), dtype=bool)
    if min_score is not None:
        np.greater_equal(scores, min_score, out=enough)
    if min_likeness > 0:
        np.logical_and(enough, [_likeness(pool, one, quoted) >= min_likeness for one in pool.ids], out=enough)
    best = order[enough[order]][:limit]
    values = {name: list(map(_short, one[best].tolist())) for name, one in raw.items()}
    contributions = {name: list(map(_short, one[best].tolist())) for name, one in parts.items()}
    by_words = np.asarray(pool.counts[best].any(axis=1)).tolist()
    return [
        Ranked(
            (memory_id := pool.ids[place]),
            pool.rows[place].kind,
            score,
            {name: Part(values[name][at], weights[name], contributions[name][at]) for name in parts},
            _found_by(pool, memory_id, quoted, by_words=by_words[at]),
        )
        for at, (place, score) in enumerate(zip(best.tolist(), scores[best].tolist(), strict=True))
    ]


def _likeness(pool: Pool, memory_id: str, quoted: Collection[str]) -> float:
    """How alike a memory and the question are, 0 to 1 whatever else was found; 0 where no meaning is known."""
    return 1.0 if memory_id in quoted else max(0.0, pool.similarity.get(memory_id, 0.0))


def _found_by(pool: Pool, memory_id: str, quoted: Collection[str], *, by_words: bool) -> list[str]:
    ways = {"quote": memory_id in quoted, "words": by_words, "meaning": memory_id in pool.similarity}
    return [name for name, found in ways.items() if found]


def scaled(name: str, values: Values, profile: Profile) -> Values:
    """A signal as it is weighed."""
    if name in AS_THEY_ARE:
        return values
    if not profile.standard:  # only BM25 has no scale of its own
        return values / values.max() if name not in ("meaning", "recency", "importance") and values.max() > 0 else values
    centred = values - values.sum() / len(values)  # as `mean` does it, without the detour in which that looks for types
    spread = math.sqrt((centred * centred).sum() / len(values))
    # Equal up to rounding: nothing to tell apart.
    return centred / spread if spread > 1e-9 else np.zeros(len(values))


def _short(value: float) -> float:
    return round(value, 6)
