"""What the time since the last look has brought, series by series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from memoryd_telemetry.readings import KeptMetrics, Reading

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Measured(msgspec.Struct, frozen=True):
    """One series in one period."""

    metric: str
    labels: Mapping[str, str]
    """Our own words: verb, outcome, tier …"""
    values: Mapping[str, float]
    """`level` of a gauge; `increase` of a counter; of a histogram `count`, `sum` and the PERCENTILES of the period."""


class Periods:
    """Of one process, for one sink, which may look when it likes: each has what its own periods have brought."""

    def __init__(self, kept: KeptMetrics) -> None:
        self._kept = kept
        self._before: dict[tuple[str, frozenset[tuple[str, str]]], Reading] = {}

    def next(self) -> list[Measured]:
        """What has happened since the last call. A counter and a histogram to which nothing has happened say nothing."""
        return [measured for reading in self._kept.look() if (measured := self._since(reading)).values]

    def _since(self, reading: Reading) -> Measured:
        labels = {name.removeprefix("memoryd.").replace(".", "_"): value for name, value in reading.attributes.items()}
        series = (reading.metric, frozenset(labels.items()))
        before = self._before.get(series)
        self._before[series] = reading
        return Measured(reading.metric, labels, dict(_values(reading, before)))


def _values(now: Reading, before: Reading | None) -> Iterator[tuple[str, float]]:
    if now.kind == "gauge":
        yield "level", now.value
        return
    increase = now.value - (before.value if before else 0)
    if now.kind == "counter":
        if increase:
            yield "increase", increase
        return
    earlier = before.buckets if before else [0] * len(now.buckets)
    counts = [late - early for late, early in zip(now.buckets, earlier, strict=True)]
    if any(counts):
        yield "count", sum(counts)
        yield "sum", increase
        for name, share in PERCENTILES.items():
            yield name, quantile(share, counts, now.bounds)


def quantile(share: float, counts: Sequence[int], bounds: Sequence[float]) -> float:
    """The value below which a share of all lies, as far as buckets tell: those of one bucket are taken to be spread evenly
    over it, and those above the last bound to be the last bound."""
    rank, seen = share * sum(counts), 0
    for count, low, high in zip(counts, (0.0, *bounds), bounds, strict=False):
        if seen + count >= rank and count:
            return low + (high - low) * (rank - seen) / count
        seen += count
    return bounds[-1]
