"""Finished spans on their way to a collector: sent by a thread of their own, bounded, and counted where they are lost.

A collector that is away, slow or refuses costs spans, never time: what is sent does not wait for what is remembered.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure

QUEUE_SPANS_MAX = 4096  # about 1.3 MB; beyond it spans are dropped, never memories delayed
REQUEST_SPANS_MAX = 2048  # about 500 kB; a request takes a millisecond of the process, however many spans are in it


class _Counted(SpanExporter):
    """An exporter that tells how many spans have left the queue, and counts those that were taken by nobody."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.left = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        with suppress(Exception):  # its message may quote what it was to send; that it failed is what can be told
            result = self._exporter.export(spans)
        self.left += len(spans)
        if result is not SpanExportResult.SUCCESS:
            measure(names.SPANS_DROPPED, len(spans), {names.OUTCOME: "collector"})
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class Sending(BatchSpanProcessor):
    """Sends finished spans through an exporter, as what `pack` makes of them. The newest are dropped when too many wait."""

    def __init__(self, exporter: SpanExporter, pack: Callable[[ReadableSpan], Any] = lambda span: span) -> None:
        self._counted = _Counted(exporter)
        self._pack = pack
        self._put = 0
        size = None if OTEL_BSP_MAX_EXPORT_BATCH_SIZE in os.environ else REQUEST_SPANS_MAX  # None: it reads the variable
        # A queue that is never full: what is too much does not come.
        super().__init__(self._counted, max_queue_size=2 * QUEUE_SPANS_MAX, max_export_batch_size=size)

    def on_end(self, span: ReadableSpan) -> None:
        """Queues a span."""
        if self._put - self._counted.left >= QUEUE_SPANS_MAX:
            measure(names.SPANS_DROPPED, 1, {names.OUTCOME: "collector_queue"})
            return
        try:
            packed = self._pack(span)
        except Exception:  # of whatever is told: the work that it tells of goes on
            measure(names.SPANS_DROPPED, 1, {names.OUTCOME: "collector"})
            return
        self._put += 1
        super().on_end(packed)
