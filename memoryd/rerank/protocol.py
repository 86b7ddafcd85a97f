"""What memoryd asks of a reranker, and how it says no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Failed(Exception):
    """There is no opinion. The message is ours, and quotes neither the question nor a memory."""


class Reranker(Protocol):
    """Says how well texts answer a question, never on the event loop."""

    name: str

    async def relevance(self, question: str, texts: Sequence[str]) -> list[float]:
        """A number for each text, in order: the higher the better, on the model's own scale. Raises Failed."""
        ...

    async def close(self) -> None:
        """Free the model; later calls fail."""
        ...
