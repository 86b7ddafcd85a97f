"""Finished spans, and log lines, on their way to a place of our own: a bounded queue between them and who takes them away.

Putting one there costs some microseconds and never waits: when nobody takes them, the newest are dropped and counted.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.names import Metric

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE_MAX = 4096  # about 2 MB; half a second of a busy daemon's spans, and more lines than a bad day has in a second
LINE_CHARS_MAX = 8192  # names, numbers and a place in the code


class Waiting:
    """Texts that wait, oldest first. May be used from several threads."""

    def __init__(self, dropped: Metric) -> None:
        self._dropped = dropped
        self._texts: deque[str] = deque()
        self._lock = threading.Lock()

    def put(self, text: str) -> None:
        """Drops it, and counts that, when too many wait."""
        if self.full:
            self.drop()
        else:
            self._texts.append(text)

    @property
    def full(self) -> bool:
        """Whether one more would be dropped."""
        return len(self._texts) >= QUEUE_MAX

    def drop(self) -> None:
        """Counts one that was not even made."""
        measure(self._dropped, 1, {names.OUTCOME: "queue"})

    def take(self, count: int) -> list[str]:
        """The oldest ones; they are the caller's then."""
        with self._lock:
            return [self._texts.popleft() for _ in range(min(count, len(self._texts)))]

    def put_back(self, texts: Sequence[str]) -> None:
        """What was taken and found no place; the newest are lost where there is none for them here either."""
        with self._lock:
            room = max(0, QUEUE_MAX - len(self._texts))
            self._texts.extendleft(reversed(texts[:room]))
        if len(texts) > room:
            measure(self._dropped, len(texts) - room, {names.OUTCOME: "queue"})


Told = Callable[[], Awaitable[None]]
"""Returns when the spans of what has been done until now are kept, or cannot be. Never raises."""


async def told_to_nobody() -> None:
    """Where no spans are kept."""


class KeptSpans:
    """What the SDK's span processor gives, as JSON of our own: ids, times, names and our attributes."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._waiting = Waiting(names.SPANS_DROPPED)
        self.take, self.put_back = self._waiting.take, self._waiting.put_back

    def put(self, span: ReadableSpan) -> None:
        """Keeps a finished span of ours; one of a library is not ours to keep."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE or span.context is None:
            return
        if self._waiting.full:
            self._waiting.drop()
        else:
            self._waiting.put(_encoded(span, self._service))


class KeptLines(logging.Handler):
    """Lines of the log, as they are written to stderr."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._waiting = Waiting(names.LOGS_DROPPED)
        self.take = self._waiting.take

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line, unless it is longer than any of ours."""
        line = "" if self._waiting.full else self.format(record)
        if 0 < len(line) <= LINE_CHARS_MAX:
            self._waiting.put(line)
        else:
            self._waiting.drop()


def _encoded(span: ReadableSpan, service: str) -> str:
    assert span.context is not None
    # Text is for a collector alone: a forget would have to find it here.
    attributes: dict[str, Any] = {name: value for name, value in (span.attributes or {}).items() if name not in names.TEXTS}
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
