"""Vectors that cost next to nothing, and tell what is near: needs nothing but numpy, so that every peer's Python can read it."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Any

import numpy as np

DIMS = 384  # as many as the default model's
WORDS_KEPT = 16_384  # 25 MB of vectors


def of_words(text: str) -> Any:
    """Its words' vectors, summed, of unit length: texts that share words are near each other."""
    whole = np.sum([_of_word(word) for word in re.findall(r"\w+", text.lower()) or [text]], axis=0)
    return (whole / np.linalg.norm(whole)).astype(np.float32)


@lru_cache(WORDS_KEPT)
def _of_word(word: str) -> Any:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIMS)
