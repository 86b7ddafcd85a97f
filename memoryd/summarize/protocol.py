"""What memoryd asks of a summariser, and how one says no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memoryd.errors import SummarizerFailed


@dataclass(frozen=True)
class Passage:
    """One text to be summarised: a memory, as its summary has to speak of it."""

    id: str
    text: str
    speaker: str = ""
    vector: bytes | None = None
    """Little-endian float32 of unit length, where the memory has one."""


class Failed(SummarizerFailed):
    """The summariser gave no summary."""

    def __init__(self, message: str, *, retryable: bool, hint: str | None = None):
        super().__init__(message, hint=hint, retryable=retryable)


class Summarizer(Protocol):
    """Turns passages into a text. What it gives is judged before anything is done with it (`summarize.gate`)."""

    name: str
    """What is noted beside a summary: which one has made it."""

    async def summarize(self, passages: Sequence[Passage], *, chars: int) -> str:
        """A text of about `chars` characters at most, of passages in their order. Raises Failed."""
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...
