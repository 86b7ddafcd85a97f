"""What a memory is worth whatever is asked: how new it is, and how important it was called."""

from __future__ import annotations

import numpy as np

from memoryd.recall.pool import Pool, Values

HALF_LIFE_SECONDS = 7 * 24 * 3600.0  # after a week a memory is half as recent; chosen, not measured


def recency(pool: Pool, now: int) -> Values:
    """0.5 to the power of its age in half-lives (as in Park et al., "Generative Agents", UIST 2023): 1 now, 0.5 after a
    week. Age counts from valid time, when it happened; what lies in the future is as recent as now."""
    ages = np.array([max(0, now - row.valid_from) for row in pool.rows]) / 1e6
    return np.asarray(0.5 ** (ages / HALF_LIFE_SECONDS))


def importance(pool: Pool) -> Values:
    """As it was given, 0 to 1."""
    return np.array([row.importance for row in pool.rows])
