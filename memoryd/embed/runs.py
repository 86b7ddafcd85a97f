"""How the texts of a call are split into runs of a local model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memoryd import limits
from memoryd.embed.late import Tokens

Ids = NDArray[np.int64]


def runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions grouped so that texts of like length share a run: a run is padded to its longest text."""
    run: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        padded = lengths[run[0]] * (len(run) + 1) if run else 0
        if run and (len(run) == limits.EMBED_RUN_TEXTS_MAX or padded > limits.EMBED_RUN_TOKENS_MAX):
            yield run
            run = []
        run.append(position)
    if run:
        yield run


def padded(tokens: Sequence[Tokens], pad_id: int) -> tuple[Ids, Ids, Ids]:
    """Ids of one run, what of them is no padding, and what the vectors are of."""
    shape = (len(tokens), max(len(text.ids) for text in tokens))
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask, own = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, text in enumerate(tokens):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
        own[row, text.start : text.end] = 1
    return ids, mask, own
