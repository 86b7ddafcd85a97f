"""Which finished spans are worth keeping: decided when a process's part of a trace has ended, for all of it together.

A part is an operation, or a follower's batch, with what it did inside. A share of all is kept, chosen by the trace's id, so
that every process chooses the same ones; of the others what failed, what was slow, and the work that a chosen one has caused.
Until then a part's spans wait here: nobody gets a span whose parent is not there, also when the process is killed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure

OPEN_SPANS_MAX = 8192  # that have begun: 32 times what a daemon has in flight at once. Beyond it each is decided alone
# That have ended: what forgets thousands of memories has some hundred. Beyond it those with nothing inside are dropped, and beyond
# twice as many all: what was kept already would have lost its parent.
SPANS_OF_PART_MAX = 512
_IDS = 1 << 64  # of a trace's id the lower half is random, as OpenTelemetry's own sampler has it


@dataclass(eq=False)
class _Part:
    """What one process does in one trace, from the span that others have caused down."""

    ended: list[ReadableSpan] = field(default_factory=list)
    around: set[int] = field(default_factory=set)
    """The ids of those of its spans that have others inside."""
    failed: bool = False
    kept: bool | None = None
    """What was decided; None until its first span has ended."""


class Tail(SpanProcessor):
    """Gives finished spans on to others, part by part, when they are worth it."""

    def __init__(self, behind: Sequence[SpanProcessor], *, sample: float, slow_milliseconds: float) -> None:
        self._behind = behind
        self._chosen_below = round(sample * _IDS)
        self._slow_nanoseconds = slow_milliseconds * 1e6
        self._open: dict[int, tuple[_Part, bool]] = {}  # by a span's id: its part, and whether it is the part's first
        self._lock = threading.Lock()  # spans may begin and end in other threads than their parents

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Notes to which part a span belongs."""
        if span.context is None or len(self._open) >= OPEN_SPANS_MAX:
            return
        known = self._open.get(span.parent.span_id) if span.parent and not span.parent.is_remote else None
        with self._lock:
            self._open[span.context.span_id] = (known[0], False) if known else (_Part(), True)
            if known and span.parent:
                known[0].around.add(span.parent.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Keeps a span until its part has ended, and gives the part on then; what ends later follows it."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with self._lock:
            known = self._open.pop(span.context.span_id, None)
            part, first = known if known else (_Part(), True)
            part.failed = part.failed or span.status.status_code is StatusCode.ERROR
            if first:
                part.kept = self._worth_keeping(span, part)
            going = self._going(part, span, first=first)
        for one in going:
            for processor in self._behind:
                processor.on_end(one)

    def _going(self, part: _Part, span: ReadableSpan, *, first: bool) -> list[ReadableSpan]:
        """What is to be given on now that this span has ended."""
        if part.kept is None:
            parent = span.context is not None and span.context.span_id in part.around
            if len(part.ended) < SPANS_OF_PART_MAX * (1 + parent):
                part.ended.append(span)
            else:
                measure(names.SPANS_DROPPED, 1, {names.OUTCOME: "part"})
            return []
        if not part.kept:
            part.ended.clear()
            return []
        if not first:
            return [span]
        going, part.ended = [span, *part.ended], []
        return going

    def _worth_keeping(self, first: ReadableSpan, part: _Part) -> bool:
        if part.failed or self._chosen(first):
            return True
        return (first.end_time or 0) - (first.start_time or 0) >= self._slow_nanoseconds

    def _chosen(self, span: ReadableSpan) -> bool:
        """Whether the trace is among the share, or one of those that have caused it."""
        assert span.context is not None
        causes = (span.context, *(one.context for one in span.links))
        return any(one.trace_id % _IDS < self._chosen_below for one in causes)

    def shutdown(self) -> None:
        """Ends what is behind."""
        for processor in self._behind:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Has what is behind send what it has."""
        flushed = [processor.force_flush(timeout_millis) for processor in self._behind]  # all of them, whatever one says
        return all(flushed)
