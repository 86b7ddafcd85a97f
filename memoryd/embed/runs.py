"""How the texts of a call are split into runs of a local model, and become vectors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from memoryd import limits
from memoryd.embed.late import Tokens
from memoryd.embed.protocol import ModelFailed, Vectors
from memoryd.embed.vectors import unit

Ids = NDArray[np.int64]
Run = Callable[[Sequence[Tokens]], NDArray[np.float32]]
"""The mean of each window's own token vectors, a row each."""
Reading = Generator[None, None, Vectors]
"""Texts on their way through a model, with a pause after each run in which others may have theirs."""


def reading(texts: Sequence[Sequence[Tokens]], run: Run) -> Reading:
    """One unit vector a text (one at least), of the mean of all of its token vectors, whichever window they were read in.

    Raises ModelFailed for a text in which the tokenizer has found nothing.
    """
    windows = [one for text in texts for one in text]
    if not all(one.end > one.start for one in windows):
        raise ModelFailed("a text has no tokens for this model", retryable=False)
    split, parts = list(runs([len(one.ids) for one in windows])), []
    for positions in split:
        parts.append(run([windows[at] for at in positions]))
        yield
    means = np.concatenate(parts)[np.argsort(np.concatenate(split))]
    if len(windows) == len(texts):
        return unit(means)
    own = np.array([one.end - one.start for one in windows], dtype=np.float64)
    first = np.cumsum([0, *(len(text) for text in texts[:-1])])
    return unit(np.add.reduceat(means * own[:, None], first))  # a sum has the direction of its mean


def go_on(reading: Reading) -> Vectors | None:
    """The next run of a reading; the vectors after the last one."""
    try:
        next(reading)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    return None


def done(reading: Reading) -> Vectors:
    """What a reading gives, without a pause."""
    while (made := go_on(reading)) is None:
        continue
    return made


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
