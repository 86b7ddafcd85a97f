"""What the daemon tells about itself, for tests: finished spans of this process, and a collector for other processes.

A test module takes the fixture by `spans = tests.spans.spans`, or a conftest gives it to all.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider


class _Finished(SpanProcessor):
    """Keeps every finished span, in the order in which they ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


@cache
def _finished() -> _Finished:
    # A process can set its tracer provider once: all tests share it.
    finished, provider = _Finished(), trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    provider.add_span_processor(finished)
    return finished


@pytest.fixture
def spans() -> Iterator[list[ReadableSpan]]:
    """The spans that this test finishes: a list that grows while it runs."""
    finished = _finished().spans
    finished.clear()
    yield finished
    finished.clear()


class Collector:
    """An OTLP/HTTP receiver on a free port of loopback: `with Collector() as c: … c.endpoint … c.spans`."""

    def __init__(self) -> None:
        self.resources: list[ResourceSpans] = []
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.encodings: set[str] = set()
        self.bodies: list[bytes] = []

    def __enter__(self) -> Collector:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        """Keep what one POST brought."""
        self.bodies.append(body)
        if path == "/v1/traces":
            self.resources += ExportTraceServiceRequest.FromString(body).resource_spans
            self.spans = [span for r in self.resources for scope in r.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics |= {m.name: m for scope in resource.scope_metrics for m in scope.metrics}

    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request below
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                encoding = self.headers.get("content-encoding", "")
                collector.encodings.add(encoding)
                collector.take(self.path, gzip.decompress(body) if encoding == "gzip" else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing on stderr."""

        return Handler
