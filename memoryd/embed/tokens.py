"""How many tokens a text has, for budgets: by the prepared model's own tokenizer, else by an estimate that says so.

The model that reads the window counts differently, by some percent in English; leave it that much room.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from memoryd.config import EmbedderKind, Settings
from memoryd.embed.prepare import find_prepared

BYTES_A_TOKEN = 3  # English has about four, most other scripts fewer: rather too many tokens than a budget exceeded


class Tokens(Protocol):
    """Counts tokens."""

    counted_by: str

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, in order."""
        ...


class Estimate:
    """Without a tokenizer: a token for every three bytes of UTF-8."""

    counted_by = f"estimate: {BYTES_A_TOKEN} bytes a token"

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, in order."""
        return [-(-len(text.encode()) // BYTES_A_TOKEN) for text in texts]


class ModelTokens:
    """The tokenizer of the embedding model, off the event loop."""

    def __init__(self, path: Path, model: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.counted_by = model

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, in order."""
        return await asyncio.to_thread(self._count, texts)

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


def open_tokens(settings: Settings) -> Tokens:
    """The prepared model's tokenizer where there is one."""
    local = settings.embedder not in (EmbedderKind.NONE, EmbedderKind.HTTP)
    if local and importlib.util.find_spec("tokenizers") and (prepared := find_prepared(settings)):
        return ModelTokens(prepared.path / "tokenizer.json", prepared.model)
    return Estimate()
