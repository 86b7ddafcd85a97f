"""An answer that does not say the same thing ten times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def diverse(scores: Sequence[float], alike: NDArray[np.float64], diversity: float) -> tuple[list[int], list[float]]:
    """The places of the scores in a new order, and how alike each is to the likest of those before it.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each next one has the greatest
    (1 - diversity) × its score − diversity × its likeness to what was chosen before. Scores are stretched to 0 to 1, which is
    where likeness lies. Ties go to the better place.
    """
    worth = np.asarray(scores, dtype=float)
    span = np.ptp(worth) if len(worth) else 0.0
    worth = (worth - worth.min()) / span if span > 0 else np.zeros(len(worth))
    likest, left, order, told = np.zeros(len(worth)), np.ones(len(worth), dtype=bool), [], []
    for _ in range(len(worth)):
        gain = np.where(left, (1 - diversity) * worth - diversity * likest, -np.inf).round(9)
        at = int(np.argmax(gain))
        order.append(at)
        told.append(round(float(likest[at]), 6))
        left[at] = False
        likest = np.maximum(likest, alike[at])
    return order, told


def likeness(vectors: Sequence[bytes | None], terms: Sequence[str]) -> NDArray[np.float64]:
    """How alike each two memories are, 0 to 1: the cosine of their vectors; the share of words that they have in common,
    where one has no vector yet (or one of another model, which its length gives away)."""
    sets = [frozenset(one.split()) for one in terms]
    table = np.array([[_shared(one, other) for other in sets] for one in sets]).reshape(len(sets), len(sets))
    sizes = Counter(len(one) for one in vectors if one)
    known = [at for at, one in enumerate(vectors) if one and len(one) == sizes.most_common(1)[0][0]]
    if known:
        rows = np.stack([np.frombuffer(vectors[at] or b"", dtype="<f4") for at in known]).astype(float)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        table[np.ix_(known, known)] = np.clip(rows @ rows.T, 0.0, 1.0).round(6)
    return table


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def by_session(sessions: Sequence[tuple[str, ...]], most: int) -> list[int]:
    """Places session by session, in the order in which the sessions come first: of each the first `most`."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, session in enumerate(sessions):
        groups.setdefault(session, []).append(at)
    return [at for group in groups.values() for at in group[:most]]
