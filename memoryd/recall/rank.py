"""From candidates to ranked hits, each with the parts of its score."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from memoryd.model.results import Part, Ranked
from memoryd.recall.bm25 import Values
from memoryd.recall.meaning import meaning
from memoryd.recall.pool import Pool, highest
from memoryd.recall.profiles import Profile
from memoryd.recall.speech import speaker
from memoryd.recall.when import Period, when
from memoryd.recall.words import expansion, neighbours, session, words
from memoryd.recall.worth import feedback, importance, recency

Table = NDArray[np.float64]
"""A line a signal, a column a candidate."""

QUOTE_WEIGHT = 100.0  # more than all else can add up to: who says a whole memory means that memory
AS_THEY_ARE = frozenset({"speaker", "when", "quote", "feedback"})  # how many others have it does not change what it says
FROM_0_TO_1 = frozenset({"meaning", "recency", "importance"})  # by themselves; BM25 has no scale of its own


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
    used = [weights[name] for name in raw]
    values = np.array(list(raw.values()), dtype=float).reshape(len(raw), len(pool))
    parts = np.array(used, dtype=float)[:, None] * scaled(list(raw), values, profile)
    scores = parts.sum(axis=0).round(6)
    best = highest(scores, limit if min_score is None and min_likeness <= 0 else None)  # the pool is in the order of ids
    if min_score is not None:
        best = best[scores[best] >= min_score]
    if min_likeness > 0:
        best = best[np.array([_likeness(pool, pool.ids[at], quoted) >= min_likeness for at in best], dtype=bool)]
    best = best[:limit]
    by_words = np.zeros(len(pool), dtype=bool)
    by_words[pool.asked.whose] = True
    told = short(np.array([values[:, best], parts[:, best]]).transpose(2, 0, 1)).tolist()
    return [
        Ranked(
            (memory_id := pool.ids[at]),
            pool.rows[at].kind,
            score,
            dict(zip(raw, map(Part, own, used, contributions), strict=True)),
            _found_by(pool, memory_id, quoted, by_words=worded),
        )
        for at, score, worded, (own, contributions) in zip(
            best.tolist(), scores[best].tolist(), by_words[best].tolist(), told, strict=True
        )
    ]


def _likeness(pool: Pool, memory_id: str, quoted: Collection[str]) -> float:
    """How alike a memory and the question are, 0 to 1 whatever else was found; 0 where no meaning is known."""
    return 1.0 if memory_id in quoted else max(0.0, pool.similarity.get(memory_id, 0.0))


def _found_by(pool: Pool, memory_id: str, quoted: Collection[str], *, by_words: bool) -> list[str]:
    return list(compress(("quote", "words", "meaning"), (memory_id in quoted, by_words, memory_id in pool.similarity)))


def scaled(names: Sequence[str], values: Table, profile: Profile) -> Table:
    """Signals as they are weighed."""
    made = _standardised(values) if profile.standard else _of_the_highest(values)
    kept = AS_THEY_ARE if profile.standard else AS_THEY_ARE | FROM_0_TO_1
    for at, name in enumerate(names):
        if name in kept:
            made[at] = values[at]
    return made


def _standardised(values: Table) -> Table:
    many = values.shape[1]
    centred = values - values.sum(axis=1, keepdims=True) / many  # as `mean` and `std` do it, without their detours
    spread = np.sqrt((centred * centred).sum(axis=1, keepdims=True) / many)
    alike = spread <= 1e-9  # equal up to rounding: nothing to tell apart
    return np.where(alike, 0.0, centred / np.where(alike, 1.0, spread))


def _of_the_highest(values: Table) -> Table:
    highest_one = values.max(axis=1, keepdims=True)
    return np.asarray(values / np.where(highest_one > 0, highest_one, 1.0))


def short(values: Table) -> Table:
    """Each as `round(value, 6)` gives it, in a tenth of the time."""
    millionths = values * 1e6
    whole = np.rint(millionths)
    rounded = np.asarray(whole / 1e6)
    # The product is itself rounded. Where it is so near to a half that this might decide, all digits are looked at.
    unsure = 0.5 - np.abs(millionths - whole) <= np.abs(millionths) * 1e-15
    if unsure.any():
        rounded[unsure] = [round(one, 6) for one in values[unsure].tolist()]
    return rounded
