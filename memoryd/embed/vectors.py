"""The arithmetic between a model's raw output and a stored vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memoryd.embed.protocol import ModelFailed, Vectors


def empty(dims: int) -> Vectors:
    """The vectors of no texts."""
    return np.empty((0, dims), dtype=np.float32)


def mean_pool(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> Vectors:
    """The mean of each text's token vectors, padding left out: (n, tokens, dims) and (n, tokens) give (n, dims)."""
    weights = mask.astype(np.float32)
    sums = np.matmul(weights[:, None, :], hidden)[:, 0, :]
    # A text without tokens keeps a sum of zero, which `unit` refuses: no division by zero, no invented vector.
    return np.asarray(sums / np.maximum(weights.sum(axis=1, keepdims=True), 1.0), dtype=np.float32)


def unit(vectors: NDArray[Any]) -> Vectors:
    """`vectors` scaled to length one. Raises ModelFailed when one has no direction: it is zero or not finite."""
    exact = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    wrong = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] < 1e-12)
    if wrong.any():
        raise ModelFailed(
            f"the model gave no usable vector for {int(wrong.sum())} of {len(exact)} texts (zero or not finite)",
            retryable=False,
        )
    return np.asarray(exact / lengths, dtype=np.float32)


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced, which no tokenizer and no JSON accepts."""
    return text.encode("utf-8", "replace").decode()
