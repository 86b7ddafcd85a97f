"""What memoryd asks of an embedding model, and how a model says no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from memoryd.errors import EmbedderFailed

Vectors = NDArray[np.float32]
"""Shape (n, dims), one row a text, every row finite and of unit length."""


@dataclass(frozen=True)
class InContext:
    """A text that is read between others; its vector is of its own words only, as they are meant there."""

    before: str
    own: str
    after: str = ""


Text = str | InContext


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


class ContextEmbedder(Embedder, Protocol):
    """One that also reads a text after others. A local model does; an endpoint over HTTP gives one vector a whole text."""

    reads_context: bool

    async def embed_in_context(self, texts: Sequence[InContext]) -> Vectors:
        """One unit vector a text, of its own words as they are meant there."""
        ...


def reads_context(embedder: Embedder) -> TypeGuard[ContextEmbedder]:
    """Whether it takes texts in context."""
    return bool(getattr(embedder, "reads_context", False))
