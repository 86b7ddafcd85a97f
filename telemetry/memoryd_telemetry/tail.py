"""Which finished spans are worth keeping: decided when a process's part of a trace has ended, for all of it together.

A part is an operation, or a follower's batch, with what it did inside. A share of all is kept, chosen by the trace's id, so
that every process chooses the same ones; of the others what failed, what was slow, and the work that a chosen one has caused.
Until then a part's spans wait here: nobody gets a span whose parent is not there, also when the process is killed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode, get_current_span

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.recording import Noted, Part

OPEN_SPANS_MAX = 8192  # of others' tracers that have begun, and may never end. Beyond it each is decided alone
# That have ended: what forgets thousands of memories has some hundred. Beyond it those with nothing inside are dropped, and beyond
# twice as many all: what was kept already would have lost its parent.
SPANS_OF_PART_MAX = 512
_IDS = 1 << 64  # of a trace's id the lower half is random, as OpenTelemetry's own sampler has it


class Tail(SpanProcessor):
    """Gives finished spans on to others, part by part, when they are worth it. A span of ours has its part with it."""

    def __init__(self, behind: Sequence[SpanProcessor], *, sample: float, slow_milliseconds: float) -> None:
        self._behind = behind
        self._chosen_below = round(sample * _IDS)
        self._slow_nanoseconds = slow_milliseconds * 1e6
        self._others: dict[int, Part] = {}  # of spans of others' tracers that have begun, by their ids
        self._lock = threading.Lock()  # spans may begin and end in other threads than their parents

    def on_start(self, span: Span | Noted, parent_context: Context | None = None) -> None:
        """Notes to which part a span belongs. One of ours inside of another of ours knows it already."""
        if span.context is None:
            return
        around = get_current_span(parent_context)
        if isinstance(around, Noted):
            around.has_inside = True
        with self._lock:
            inside: Part | None = getattr(around, "part", None) or self._others.get(around.get_span_context().span_id)
            if isinstance(span, Noted):
                span.part = inside or span.part
            elif len(self._others) < OPEN_SPANS_MAX:
                self._others[span.context.span_id] = inside or Part(span.context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Keeps a span until its part has ended, and gives the part on then; what ends later follows it."""
        if isinstance(span, Noted):
            part, failed, parent = span.part, span.failed, span.has_inside
            first = span.span_id == part.first
        else:
            own = span.context
            if own is None or not own.trace_flags.sampled:
                return
            part, failed, parent = self._part_of(own.span_id), span.status.status_code is StatusCode.ERROR, True
            first = own.span_id == part.first
        with self._lock:
            part.failed = part.failed or failed
            if first:
                part.kept = part.failed or self._worth_keeping(span)
            going = self._going(part, span, first, parent)
        for one in going:
            for processor in self._behind:
                processor.on_end(one)

    def _part_of(self, span_id: int) -> Part:
        part = self._others.pop(span_id, None)
        return part or Part(span_id)

    def _going(self, part: Part, span: ReadableSpan, first: bool, parent: bool) -> Sequence[ReadableSpan]:
        """What is to be given on now that this span has ended."""
        if part.kept is None:
            if len(part.ended) < SPANS_OF_PART_MAX * (1 + parent):
                part.ended.append(span)
            else:
                measure(names.SPANS_DROPPED, 1, {names.OUTCOME: "part"})
            return ()
        ended, part.ended = part.ended, []
        return [span, *ended] if part.kept else ()

    def _worth_keeping(self, first: ReadableSpan) -> bool:
        """Whether it was slow, or its trace is among the share, or one of those that have caused it."""
        assert first.context is not None
        if first.context.trace_id % _IDS < self._chosen_below:
            return True
        if (first.end_time or 0) - (first.start_time or 0) >= self._slow_nanoseconds:
            return True
        return any(one.context.trace_id % _IDS < self._chosen_below for one in first.links)

    def shutdown(self) -> None:
        """Ends what is behind."""
        for processor in self._behind:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Has what is behind send what it has."""
        flushed = [processor.force_flush(timeout_millis) for processor in self._behind]  # all of them, whatever one says
        return all(flushed)
