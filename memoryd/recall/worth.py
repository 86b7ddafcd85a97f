"""What a memory is worth whatever is asked: how new it is, how important it was called, and whether it was of use."""

from __future__ import annotations

import numpy as np

from memoryd.recall.bm25 import Values
from memoryd.recall.pool import Pool

HALF_LIFE_SECONDS = 7 * 24 * 3600.0  # after a week a memory is half as recent; chosen, not measured


def recency(pool: Pool, now: int) -> Values:
    """0.5 to the power of its age in half-lives (as in Park et al., "Generative Agents", UIST 2023): 1 now, 0.5 after a
    week. Age counts from valid time, when it happened; what lies in the future is as recent as now."""
    ages = np.maximum(0, now - pool.layout.valid_from) / 1e6
    return np.asarray(0.5 ** (ages / HALF_LIFE_SECONDS))


def importance(pool: Pool) -> Values:
    """As it was given, 0 to 1."""
    return pool.layout.importance


def feedback(pool: Pool, now: int) -> Values | None:
    """What is left of what callers have said of its use, from -0.5 to 1; 0 for what nobody has judged (`model.feedback`).

    The mean of a Beta distribution: one verdict moves it by a third, the tenth hardly (Beta-Bernoulli, as in Chapelle and Li,
    "An Empirical Evaluation of Thompson Sampling", NIPS 2011, with decay). It is weighed as it is, not standardised: one
    judged memory among 400 would else stand twenty deviations above the rest. None when none of them was judged.
    """
    if not pool.layout.judged:
        return None
    values = np.zeros(len(pool))
    for at, said in pool.layout.judged:
        values[at] = said.prior(now)
    return values
