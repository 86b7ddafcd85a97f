"""How the texts of a call are split into runs of a local model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memoryd import limits


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
