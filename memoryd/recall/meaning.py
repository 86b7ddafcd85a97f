"""What the memory means, whatever its words."""

from __future__ import annotations

import numpy as np

from memoryd.recall.pool import Pool, Values


def meaning(pool: Pool) -> Values | None:
    """The cosine between the question's vector and the memory's. That of an event is made in the context of the two before
    it (late chunking, `embed.late`). What was not among the nearest, or has no vector yet, counts as the farthest that was;
    None when nothing was found by meaning.
    """
    known = [row.similarity for row in pool.rows if row.similarity is not None]
    if not known:
        return None
    floor = min(known)
    return np.array([floor if row.similarity is None else row.similarity for row in pool.rows])
