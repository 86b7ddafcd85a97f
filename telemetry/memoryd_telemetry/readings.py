"""What our instruments have counted, as it stands now: read from the SDK, for sinks of our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from memoryd_telemetry import names

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Kind: TypeAlias = Literal["counter", "histogram", "gauge"]

@dataclass(frozen=True)
class Reading:
    """One series since the process began."""

    metric: str
    kind: Kind
    attributes: Mapping[str, str]
    value: float
    """The count so far, the last value of a gauge, the sum of what a histogram was given."""
    buckets: Sequence[int] = ()
    """How many values of a histogram lie up to each bound, not counting those up to the one before; then all above."""
    bounds: Sequence[float] = ()


class KeptMetrics:
    """The metrics of a process, whoever else reads them."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def look(self) -> list[Reading]:
        """Every series of ours. It asks nobody: what is measured of stores was measured before."""
        return list(_readings(self._reader.get_metrics_data()))


def _readings(data: Any) -> Iterator[Reading]:
    from opentelemetry.sdk.metrics.export import Histogram, Sum

    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    for metric in (metric for scope in scopes if scope.scope.name == names.SCOPE for metric in scope.metrics):
        for point in metric.data.data_points:
            attributes = {name: str(value) for name, value in sorted((point.attributes or {}).items())}
            if isinstance(metric.data, Histogram):
                buckets, bounds = tuple(point.bucket_counts), tuple(point.explicit_bounds)
                yield Reading(metric.name, "histogram", attributes, point.sum, buckets, bounds)
            else:
                kind: Kind = "counter" if isinstance(metric.data, Sum) else "gauge"
                yield Reading(metric.name, kind, attributes, point.value)
