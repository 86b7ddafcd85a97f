"""The default summariser: sentences of the memories themselves, kept word for word. It calls no model.

A sentence is worth what it says that the chosen ones have not said: its words, each weighted by in how many sentences it
occurs and not in all, and how near its memory is to the middle of them all (by the vectors that the memories have; without
any, the words decide alone). What is near to a chosen one is worth less, so that every topic gets its turn.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memoryd.model.speech import own_words, said
from memoryd.model.terms import tells_nothing, terms
from memoryd.summarize.protocol import Passage

MIDDLE = 0.6  # what nearness to the middle weighs beside new words
NEAR = 0.6  # what nearness to a chosen sentence takes away
SHORT_CHARS = 40  # a sentence of this length costs as much as one twice as long in part: greetings would win otherwise
SENTENCES_MAX = 2_000  # of one summary's passages: choosing looks at each for each chosen one
_SENTENCE = re.compile(r"[^\n]+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？]+|(?=\n)|$)")


@dataclass(frozen=True)
class _Sentence:
    passage: int
    text: str
    terms: frozenset[str]


class Extractive:
    """Chooses sentences until the room is full; in the order in which they were said."""

    name = "extractive"

    async def summarize(self, passages: Sequence[Passage], *, chars: int) -> str:
        """The telling sentences of the passages, a line each; the first that fits where none does."""
        return summary_of(passages, chars)

    async def close(self) -> None:
        """Nothing to free."""


def summary_of(passages: Sequence[Passage], chars: int) -> str:
    """The same, as a pure function."""
    sentences = _sentences(passages)
    if not sentences:
        return ""
    weights, places = _weights(sentences), _Places(passages)
    lines = [said(one.text, passages[one.passage].speaker) for one in sentences]
    chosen: list[int] = []
    covered: set[str] = set()
    waiting, room = list(range(len(sentences))), chars
    while waiting := [one for one in waiting if len(lines[one]) < room]:
        near = [sentences[one].passage for one in chosen]
        worth, back = max((_worth(sentences[one], weights, covered, places, near), -one) for one in waiting)
        if worth <= 0:
            break
        chosen.append(-back)
        waiting.remove(-back)
        covered |= sentences[-back].terms
        room -= len(lines[-back]) + 1
    return "\n".join(lines[one] for one in sorted(chosen))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, each as it stands there."""
    return [part for found in _SENTENCE.finditer(text) if (part := found[0].strip())]


def _sentences(passages: Sequence[Passage]) -> list[_Sentence]:
    found, seen = [], set()
    for number, passage in enumerate(passages):
        for text in sentences_of(own_words(passage.text, passage.speaker)):
            telling = frozenset(one for one in terms(text) if not tells_nothing(one))
            if telling and text not in seen:
                seen.add(text)
                found.append(_Sentence(number, text, telling))
    return found[:SENTENCES_MAX]


def _weights(sentences: Sequence[_Sentence]) -> dict[str, float]:
    """What each term weighs: more the more sentences have it, and nothing when all have it."""
    held = Counter(term for one in sentences for term in one.terms)
    count = len(sentences)
    return {term: (1 + math.log(number)) * math.log((count + 1) / number) for term, number in held.items()}


class _Places:
    """Where the passages lie by meaning, as far as they have vectors of one length."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        sizes = Counter(len(one.vector) for one in passages if one.vector)
        size = sizes.most_common(1)[0][0] if sizes else 0
        self._rows: dict[int, NDArray[np.float32]] = {
            number: np.frombuffer(one.vector, dtype="<f4")
            for number, one in enumerate(passages)
            if one.vector and len(one.vector) == size
        }
        middle = np.mean(list(self._rows.values()), axis=0) if self._rows else np.zeros(0, dtype=np.float32)
        length = float(np.linalg.norm(middle))
        self._middle = middle / length if length else middle

    def central(self, passage: int) -> float:
        row = self._rows.get(passage)
        return 0.0 if row is None else max(0.0, float(row @ self._middle))

    def alike(self, passage: int, other: int) -> float:
        here, there = self._rows.get(passage), self._rows.get(other)
        return 0.0 if here is None or there is None else max(0.0, float(here @ there))


def _worth(
    one: _Sentence, weights: Mapping[str, float], covered: Set[str], places: _Places, chosen: Sequence[int]
) -> float:
    """What a sentence adds to the chosen ones, which are of these passages."""
    new = sum(weights[term] for term in one.terms - covered) / math.sqrt(len(one.text) + SHORT_CHARS)
    near = max((places.alike(one.passage, other) for other in chosen), default=0.0)
    return new * (1 + MIDDLE * places.central(one.passage) - NEAR * near)
