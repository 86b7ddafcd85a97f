"""Finished spans on their way to a place of our own: a bounded queue between the SDK and who takes them away.

Putting one there costs some microseconds and never waits: when nobody takes them, the newest are dropped and counted.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE_MAX = 4096  # about 2 MB; half a second of a busy daemon


class KeptSpans:
    """What the SDK's span processor gives, as JSON of our own: ids, times, names and our attributes."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._spans: deque[str] = deque()
        self._lock = threading.Lock()

    def put(self, span: ReadableSpan) -> None:
        """Keeps a finished span of ours; one of a library is not ours to keep."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE or span.context is None:
            return
        if len(self._spans) >= QUEUE_MAX:
            measure(names.SPANS_DROPPED, 1, {names.OUTCOME: "queue"})
            return
        self._spans.append(_encoded(span, self._service))

    def take(self, count: int) -> list[str]:
        """The oldest ones; they are the caller's then."""
        with self._lock:
            return [self._spans.popleft() for _ in range(min(count, len(self._spans)))]


def _encoded(span: ReadableSpan, service: str) -> str:
    assert span.context is not None
    attributes: dict[str, Any] = dict(span.attributes or {})
    return json.dumps({
        "service": service, "name": span.name, "trace_id": trace.format_trace_id(span.context.trace_id),
        "span_id": trace.format_span_id(span.context.span_id),
        "parent_id": trace.format_span_id(span.parent.span_id) if span.parent else "",
        "links": [
            [trace.format_trace_id(one.context.trace_id), trace.format_span_id(one.context.span_id)] for one in span.links
        ],
        "start": span.start_time or 0, "end": span.end_time or 0,
        "error": str(attributes.get(names.ERROR_TYPE, "error")) if span.status.status_code is StatusCode.ERROR else "",
        "attributes": attributes,
    })  # fmt: skip
