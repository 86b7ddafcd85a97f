"""What memoryd asks of an embedding model, and how a model says no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memoryd.errors import EmbedderFailed

Vectors = NDArray[np.float32]
"""Shape (n, dims), one row a text, every row finite and of unit length."""


class ModelFailed(EmbedderFailed):
    """The embedding model gave no vectors."""

    def __init__(self, message: str | None = None, *, retryable: bool, hint: str | None = None, **details: object):
        super().__init__(message, hint=hint, retryable=retryable, **details)

    @property
    def retryable(self) -> bool:
        """Whether the same texts may succeed later. False: at least one of the texts itself is refused."""
        return bool(self.details["retryable"])


class ModelUnavailable(ModelFailed):
    """No embedding model can be had on this machine."""

    def __init__(self, message: str, *, hint: str):
        super().__init__(message, retryable=False, hint=hint)


class Embedder(Protocol):
    """Turns texts into vectors, never on the event loop."""

    model: str
    """The name that is stored beside every vector."""
    dims: int

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order; no texts give shape (0, dims). Raises ModelFailed, and then gives none."""
        ...

    async def close(self) -> None:
        """Free the model; later calls of `embed` fail."""
        ...
