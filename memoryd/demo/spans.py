"""A receiver of traces for the demo's own use: OTLP over HTTP on loopback, as Jaeger or a collector would listen."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from memoryd.traces.span import Span

EXPORT_SECONDS = 0.2  # how often each process sends the spans that have ended


class Receiver:
    """Listens on a free port for the block and keeps the spans that come."""

    def __init__(self) -> None:
        self.seen: list[Span] = []

    @property
    def endpoint(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, body: bytes, encoding: str) -> None:
        """Keep what one POST brought: `body` is unpacked, `encoding` says how it came."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.seen.extend(_spans(resource))

    def of_trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace, in the order in which they began."""
        return sorted((span for span in self.seen if span.trace_id == trace_id), key=lambda span: span.start)

    def linked_to(self, spans: Sequence[Span]) -> list[Span]:
        """The spans of other traces that link to one of these."""
        ids = {span.span_id for span in spans}
        return sorted((span for span in self.seen if span.linked & ids), key=lambda span: span.start)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _spans(resource: ResourceSpans) -> Iterator[Span]:
    service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
    for scope in resource.scope_spans:
        for span in scope.spans:
            yield Span(
                service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                span.start_time_unix_nano, span.end_time_unix_nano,
                links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            )  # fmt: skip


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body, encoding = self.rfile.read(int(self.headers["content-length"])), self.headers.get("content-encoding", "")
            receiver.take(self.path, gzip.decompress(body) if encoding == "gzip" else body, encoding)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    return Handler
