"""BM25: how much a term says that a text has (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
2009), with the constants of RediSearch's BM25STD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""One number a candidate, or one a term."""

K1, B = 1.2, 0.5


def weight(times: Values, scale: Values | float) -> Values:
    """Of a term that a text has so many times: less and less for each. `scale` is how long the text is, the mean being 1."""
    return np.asarray(times * (K1 + 1) / (times + K1 * (1 - B + B * scale)))


def rarity(documents: int, having: NDArray[Any]) -> Values:
    """IDF, never negative. Counts that were taken one after another may disagree by what was stored in between."""
    having = np.minimum(having, documents)
    return np.asarray(np.log(1 + (documents + 0.5 - having) / (having + 0.5)))
