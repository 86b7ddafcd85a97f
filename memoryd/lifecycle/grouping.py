"""Which memories have one summary: of one agent and session, without a long pause between them, about one thing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from memoryd.limits import SUMMARY_GROUP_MAX
from memoryd.model.memory import Memory
from memoryd.model.terms import terms

PAUSE = timedelta(hours=6)  # a night, or another day: what follows it is something else
SIDE = 4  # memories on each side of a cut that are compared, and the least that a cut leaves on a side


def grouped(memories: Sequence[Memory], vectors: Mapping[str, bytes]) -> list[list[Memory]]:
    """The memories in groups, each in the order in which it happened."""
    places: dict[tuple[str, str], list[Memory]] = {}
    for one in sorted(memories, key=lambda one: (one.valid_from, one.created_at, one.id)):
        places.setdefault((one.agent_id, one.session_id), []).append(one)
    return [part for many in places.values() for run in _runs(many) for part in _cut(run, vectors)]


def _runs(memories: Sequence[Memory]) -> list[list[Memory]]:
    runs = [[memories[0]]]
    for before, one in pairwise(memories):
        if one.valid_from - before.valid_from > PAUSE:
            runs.append([])
        runs[-1].append(one)
    return runs


def _cut(run: list[Memory], vectors: Mapping[str, bytes]) -> list[list[Memory]]:
    """A run that is too long for one summary is cut where the subject changes most, and so on."""
    if len(run) <= SUMMARY_GROUP_MAX:
        return [run]
    places = range(SIDE, len(run) - SIDE + 1)
    middle = len(run) / 2
    where = min(places, key=lambda place: (_alike(run[place - SIDE : place], run[place : place + SIDE], vectors),
                                           abs(place - middle)))  # fmt: skip
    return [*_cut(run[:where], vectors), *_cut(run[where:], vectors)]


def _alike(before: Sequence[Memory], after: Sequence[Memory], vectors: Mapping[str, bytes]) -> float:
    """How alike the two sides of a cut are: by their vectors where all have one, else by their words."""
    rows = [[vectors.get(one.id) for one in side] for side in (before, after)]
    if all(row and len(row) == len(rows[0][0] or b"") for side in rows for row in side):
        import numpy as np

        sides = [np.mean([np.frombuffer(row or b"", dtype="<f4") for row in side], axis=0) for side in rows]
        lengths = float(np.linalg.norm(sides[0]) * np.linalg.norm(sides[1]))
        return float(sides[0] @ sides[1]) / lengths if lengths else 0.0
    words = [{term for one in side for term in terms(one.content)} for side in (before, after)]
    return len(words[0] & words[1]) / max(1, len(words[0] | words[1]))
