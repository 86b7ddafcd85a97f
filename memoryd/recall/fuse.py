"""From candidates to ranked hits, each with the parts of its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memoryd.hot.search import Found

# Meaning and words weigh the same: on conversations neither alone finds what the other does.
WEIGHTS = {"meaning": 0.5, "words": 0.5}


@dataclass(frozen=True)
class Ranked:
    """A memory's place in a recall: its score is the weighted sum of `why`'s parts."""

    memory_id: str
    score: float
    why: dict[str, float]


def rank(candidates: Mapping[str, Found], *, weights: Mapping[str, float] = WEIGHTS) -> list[Ranked]:
    """All candidates, best first; ties by id, so that the same question gets the same order.

    Each signal is scaled to 0..1 over the candidates of this recall before it is weighted: cosine and BM25 have no
    common unit. A candidate that one search did not return gets that signal's floor, 0.
    """
    meaning = _scaled({key: found.similarity for key, found in candidates.items()})
    words = _scaled({key: found.words for key, found in candidates.items()})
    ranked = [
        _ranked(key, {"meaning": meaning.get(key, 0.0), "words": words.get(key, 0.0)}, weights) for key in candidates
    ]
    return sorted(ranked, key=lambda one: (-one.score, one.memory_id))


def _ranked(memory_id: str, signals: Mapping[str, float], weights: Mapping[str, float]) -> Ranked:
    parts = {name: round(weights[name] * value, 6) for name, value in signals.items()}
    return Ranked(memory_id, round(sum(parts.values()), 6), parts)


def _scaled(raw: Mapping[str, float | None]) -> dict[str, float]:
    """Min-max over the values that exist, the worst found still above those that were not found."""
    values = {key: value for key, value in raw.items() if value is not None}
    if not values:
        return {}
    low, high = min(values.values()), max(values.values())
    spread = high - low
    if spread == 0:
        return dict.fromkeys(values, 1.0)
    return {key: 0.1 + 0.9 * (value - low) / spread for key, value in values.items()}
