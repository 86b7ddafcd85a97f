"""What the memory means, whatever its words."""

from __future__ import annotations

import numpy as np

from memoryd.recall.bm25 import Values
from memoryd.recall.pool import Pool


def meaning(pool: Pool) -> Values | None:
    """The cosine between the question's vector and the memory's. That of an event is made in the context of the two before
    it (late chunking, `embed.late`). What was not among the nearest, or has no vector yet, counts as the farthest that was;
    None when nothing was found by meaning.
    """
    if not pool.similarity:
        return None
    values = np.array(list(map(pool.similarity.get, pool.ids)), dtype=float)  # what has none is no number
    return np.where(np.isnan(values), np.fmin.reduce(values), values)
