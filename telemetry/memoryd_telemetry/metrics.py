"""Metrics: `measure(names.EMBED_FAILURES)`. Without a set-up it costs next to nothing and goes nowhere.

They are pushed over OTLP, fetched by Prometheus (`exposition`), read for sinks of our own (`kept_metrics`), several of these, or
none. What is measured of stores is looked at in intervals by those who know the stores; nothing is asked when somebody fetches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.util.types import Attributes

from memoryd_telemetry import names, otlp
from memoryd_telemetry.names import SCOPE, Metric
from memoryd_telemetry.readings import KeptMetrics

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

GAUGE_SERIES_MAX = 64  # of one gauge: our own words make a handful; a mistake must not fill a time series database
CHARS_OF_TOKEN = 4  # of English and the usual tokenizers; counting them truly would cost more than a store
REASON = re.compile(r"[a-z][a-z0-9_]{0,31}")

_fetched: CollectorRegistry | None = None
_kept: KeptMetrics | None = None


def setup_metrics(service_name: str, *, fetched: bool = False, kept: bool = False) -> Callable[[], None]:
    """Send metrics over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT (or its metrics form) is set, every minute.

    The answer sends the last values and ends it, in 1 s at most. OTEL_METRICS_EXPORTER=none switches that off, as for a
    Jaeger that takes only traces. `fetched`: they are had by `exposition`, too; `kept`: by `kept_metrics`. A meter provider
    that the host process has set is left as it is.
    """
    return otlp.start(
        lambda: _begin(service_name, fetched=fetched, kept=kept), wanted=fetched or kept or otlp.wanted("metrics")
    )


def exposition() -> bytes | None:
    """All metrics in Prometheus's text format; None when nobody has asked for that at the set-up."""
    if _fetched is None:
        return None
    from prometheus_client import generate_latest

    return generate_latest(_fetched)


def kept_metrics() -> KeptMetrics | None:
    """The metrics of this process as they stand, for our own sinks; None when nobody has asked for that at the set-up."""
    return _kept


def keep_metrics(provider: MeterProvider) -> KeptMetrics:
    """Have the metrics of a provider from now on, as `kept_metrics`."""
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    global _kept  # noqa: PLW0603 - like the meter provider, there is one of a process
    reader = InMemoryMetricReader()
    provider.add_metric_reader(reader)
    _kept = KeptMetrics(reader)
    return _kept


def _begin(service_name: str, *, fetched: bool, kept: bool) -> Callable[[], None]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    # The API has no public name for "nobody has set one yet"; an SDK provider of the host's is what must be respected.
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return lambda: None
    readers: list[MetricReader] = []
    if otlp.wanted("metrics"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if fetched:
        readers.append(_for_prometheus())
    provider = MeterProvider(readers, resource=otlp.resource(service_name), shutdown_on_exit=False)
    if kept:
        keep_metrics(provider)
    metrics.set_meter_provider(provider)
    return provider.shutdown


def _for_prometheus() -> Any:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry

    global _fetched  # noqa: PLW0603 - like the meter provider, there is one of a process
    _fetched = CollectorRegistry()
    return PrometheusMetricReader(scope_info_enabled=False, registry=_fetched)


def measure(metric: Metric, value: float = 1, attributes: Attributes = None) -> None:
    """Add `value` to a counter, record it in a histogram, or set a gauge to it. Attributes hold our own words only."""
    _recorder(metric)(value, attributes)


def count_moves(moved_from: str, moved_to: str, reason: str, count: int = 1) -> None:
    """Count memories that were given another tier. For every mover, whyever it moves.

    `reason` is one of the mover's own few words in lower case (`aged`, `pressure`), the same for the same reason; anything
    else counts as `other`, so that no sentence and no number becomes a time series.
    """
    why = reason if REASON.fullmatch(reason) else names.OTHER
    measure(
        names.TIER_MOVES, count, {names.MOVED_FROM: moved_from, names.MOVED_TO: moved_to, names.REASON: why}
    )


def count_tokens(verb: str, characters: int) -> None:
    """Count about how many tokens of text came in (`store`) or went out (`recall`)."""
    if characters:
        measure(names.TOKENS, -(-characters // CHARS_OF_TOKEN), {names.VERB: verb})


def prometheus_name(metric: Metric) -> str:
    """What Prometheus calls a metric; a histogram's series are this with _bucket, _sum and _count."""
    unit = {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    name = metric.name.replace(".", "_")
    return name + ("" if name.endswith(unit) else unit) + ("_total" if metric.kind == "counter" else "")


class _Gauge:
    """The last value of each series: an SDK's own gauge forgets it as soon as one reader has had it."""

    def __init__(self) -> None:
        self._last: dict[frozenset[tuple[str, Any]], Observation] = {}

    def set(self, value: float, attributes: Attributes) -> None:
        series = frozenset((attributes or {}).items())
        if series in self._last or len(self._last) < GAUGE_SERIES_MAX:
            self._last[series] = Observation(value, attributes)

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        return list(self._last.values())


@cache
def _recorder(metric: Metric) -> Callable[[Any, Attributes], None]:
    # An instrument made before a provider is set is the API's proxy: it begins to record when one is.
    meter = metrics.get_meter(SCOPE)
    about = (metric.name, metric.unit, metric.meaning)
    if metric.kind == "counter":
        return meter.create_counter(*about).add
    if metric.kind == "gauge":
        gauge = _Gauge()
        meter.create_observable_gauge(metric.name, [gauge.observe], metric.unit, metric.meaning)
        return gauge.set
    return meter.create_histogram(*about, explicit_bucket_boundaries_advisory=metric.boundaries or None).record
