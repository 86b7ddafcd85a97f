"""All benches, and what each is asked at the sizes at which they are run together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SIZES = ("smoke", "quick", "full")


@dataclass(frozen=True)
class Bench:
    """A module of this package. `smoke` shows that it runs and measures nothing, `quick` takes about a minute, `full` is what its
    pages tell of."""

    name: str
    smoke: str
    quick: str = ""
    full: str = ""
    data: str = ""
    """Whose data it needs, where it cannot do without."""

    def arguments(self, size: str, data: Path | None = None) -> list[str]:
        """Its command line at a size."""
        return [*([str(data)] if self.data and data else []), *shlex.split(getattr(self, size))]


LOCOMO, LONGMEMEVAL = "LoCoMo", "LongMemEval"

BENCHES: Sequence[Bench] = (
    Bench(
        "store", quick="--stores 600 --seconds 1", full="--stores 4000 --seconds 10",
        smoke="--rounds 1 --stores 8 --rates 50 --seconds 0.1",
    ),
    Bench(
        "visible", quick="--seconds 2 --embedder auto", full="--seconds 10 --embedder auto",
        smoke="--rounds 1 --seconds 0.1 --meaning-rate 50 --write-rate 50 --edit-rate 50",
    ),
    Bench(
        "sync", quick="--memories 1000 --changes 1000", full="--memories 20000 --changes 10000",
        smoke="--rounds 1 --memories 20 --changes 10",
    ),
    Bench("peers_speed", quick="--rounds 5", smoke="--rounds 1 --stores 8 --batches 2 --recalls 8 --embedders free"),
    Bench(
        "peers_recall", quick="--sizes 10000 --recalls 200", full="--sizes 10000,100000",
        smoke="--sizes 200 --each 100 --rounds 1 --recalls 4 --first 4",
    ),
    Bench(
        "recall_latency", quick="--sizes 10000", full="--sizes 10000,100000",
        smoke="--sizes 400 --rounds 1 --embedder none",
    ),
    Bench(
        "journey", quick="--memories 500 --recalls 100",
        smoke="--memories 8 --clients 2 --recalls 4 --edits 2 --embedder hashed",
    ),
    Bench("sessions", quick="--long 500 --rounds 100", smoke="--short 2 --long 4 --rounds 2 --appends 2 --embedder none"),
    Bench("tracing", quick="--rounds 5", smoke="--rounds 1 --operations 8 --way all"),
    Bench(
        "scale", quick="--sizes 2000,20000", full="--sizes 10000,100000,1000000",
        smoke="--sizes 100,200 --gets 8 --recalls 2 --stores 2",
    ),
    Bench(
        "moves", quick="--memories 3000 --moved 1000 --rounds 2", full="--memories 200000 --moved 5000",
        smoke="--memories 60 --moved 10 --rounds 1 --due 0.1 --idle-seconds 0.5",
    ),
    Bench("soak", quick="--seconds 60", full="--seconds 600", smoke="--seconds 1 --clients 1 --kept 2"),
    Bench("rebuild", quick="--memories 2000", smoke="--memories 20 --writers 1 --without-verify --embedder hashed"),
    Bench("hnsw", quick="--documents 2000", smoke="--documents 50"),
    Bench("agent_day", smoke="--sessions 1 --words-only"),
    Bench("recall", data=LOCOMO, full="--distractors 50000", smoke="--words-only --distractors 10"),
    Bench("fit_recall", data=LOCOMO, smoke="--words-only"),
    Bench("vectors", data=LOCOMO, smoke=""),
    Bench("tiers", data=LOCOMO, quick="--conversation 0", smoke="--words-only --settle-seconds 0"),
    Bench("compression", data=LOCOMO, smoke="--words-only --settle-seconds 0"),
    Bench("longmemeval", data=LONGMEMEVAL, quick="--questions 50", smoke="--words-only"),
)  # fmt: skip
