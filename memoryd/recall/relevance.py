"""What a cross-encoder says of the best candidates, as one more signal of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from memoryd.model.results import Part, Ranked

WEIGHT = 3.0  # about what all signals of `conversation` weigh together: both have a say; chosen, not measured


def with_relevance(ranked: Sequence[Ranked], relevance: Mapping[str, float]) -> list[Ranked]:
    """The candidates in their new order: `relevance` (of the best of them) is standardised over those that have it, because
    each model has a scale of its own, and added to the score. What was not read counts as the worst that was.

    The sum, not the cross-encoder alone: it does not know who spoke, when, or what was said around it.
    """
    if not relevance:
        return list(ranked)
    values = np.array(list(relevance.values()))
    spread = float(values.std())
    standard = {one: (value - float(values.mean())) / spread if spread > 1e-9 else 0.0 for one, value in relevance.items()}
    worst = min(standard.values())
    return sorted((_with(one, relevance, standard, worst) for one in ranked), key=lambda one: (-one.score, one.memory_id))


def _with(one: Ranked, relevance: Mapping[str, float], standard: Mapping[str, float], worst: float) -> Ranked:
    contribution = round(WEIGHT * standard.get(one.memory_id, worst), 6)
    part = Part(round(relevance.get(one.memory_id, min(relevance.values())), 6), WEIGHT, contribution)
    return msgspec.structs.replace(one, score=round(one.score + contribution, 6), why={**one.why, "relevance": part})
