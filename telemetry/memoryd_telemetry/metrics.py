"""Metrics: `measure(names.EMBED_FAILURES)`. Without a set-up it costs next to nothing and goes nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from opentelemetry import metrics
from opentelemetry.util.types import Attributes

from memoryd_telemetry import otlp
from memoryd_telemetry.names import SCOPE, Metric


def setup_metrics(service_name: str) -> Callable[[], None]:
    """Send metrics over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT (or its metrics form) is set, every minute.

    The answer sends the last values and ends it, in 1 s at most. OTEL_METRICS_EXPORTER=none switches metrics off, as
    for a Jaeger that takes only traces. A meter provider that the host process has set is left as it is.
    """
    return otlp.start("metrics", lambda: _begin(service_name))


def _begin(service_name: str) -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    # The API has no public name for "nobody has set one yet"; an SDK provider of the host's is what must be respected.
    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return lambda: None
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider([reader], resource=otlp.resource(service_name), shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return provider.shutdown


def measure(metric: Metric, value: float = 1, attributes: Attributes = None) -> None:
    """Add `value` to a counter, record it in a histogram, or set a gauge to it."""
    _recorder(metric)(value, attributes)


@cache
def _recorder(metric: Metric) -> Callable[[Any, Attributes], None]:
    # An instrument made before a provider is set is the API's proxy: it begins to record when one is.
    meter = metrics.get_meter(SCOPE)
    about = (metric.name, metric.unit, metric.meaning)
    if metric.kind == "counter":
        return meter.create_counter(*about).add
    if metric.kind == "gauge":
        return meter.create_gauge(*about).set
    return meter.create_histogram(*about, explicit_bucket_boundaries_advisory=metric.boundaries or None).record
