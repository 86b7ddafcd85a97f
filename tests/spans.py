"""What the daemon tells about itself, for tests: finished spans of this process, and a collector for other processes.

A test module takes the fixture by `spans = tests.spans.spans`, or a conftest gives it to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from memoryd.demo.spans import Receiver
from memoryd_telemetry.recording import Recording
from memoryd_telemetry.text import RECORDS_CHARS_MAX


class Finished(SpanProcessor):
    """Keeps every finished span, in the order in which they ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


@cache
def finished() -> Finished:
    """The spans of this process, from the first call on."""
    # A process can set its tracer provider once: all tests share it.
    kept, provider = Finished(), trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = Recording(chars_max=RECORDS_CHARS_MAX, shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    provider.add_span_processor(kept)
    return kept


@pytest.fixture
def spans() -> Iterator[list[ReadableSpan]]:
    """The spans that this test finishes: a list that grows while it runs."""
    spans = finished().spans
    spans.clear()
    yield spans
    spans.clear()


class Collector(Receiver):
    """An OTLP/HTTP receiver on a free port of loopback: `with Collector() as c: … c.endpoint … c.spans`."""

    def __init__(self) -> None:
        super().__init__()
        self.resources: list[ResourceSpans] = []
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.encodings: set[str] = set()
        self.bodies: list[bytes] = []

    def take(self, path: str, body: bytes, encoding: str) -> None:
        """Keep what one POST brought, whatever it is."""
        self.bodies.append(body)
        self.encodings.add(encoding)
        if path == "/v1/traces":
            resources = ExportTraceServiceRequest.FromString(body).resource_spans
            self.resources += resources
            self.spans += [span for r in resources for scope in r.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {m.name: m for scope in resource.scope_metrics for m in scope.metrics}
