"""Spans of memoryd's own tracer: plain notes at a fraction of the price, which every exporter takes as the SDK's.

Each operation is recorded, whatever share of them is kept: what fails or is slow is known at its end only. So what matters is the
price of a span that nobody will see. The SDK's guards its attributes with two locks, checks their types and copies them; ours are
given by our own code, in few places, with values of our own. Other tracers of the process get the SDK's spans.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes, AttributeValue

from memoryd_telemetry import names
from memoryd_telemetry.propagation import current_span

SCOPE = InstrumentationScope(names.SCOPE)
_UNSET, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_FLAGS = [TraceFlags(bits) for bits in range((TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID) + 1)]


class Recording(TracerProvider):
    """The SDK's provider, with a tracer of our own for our own spans. String attributes are cut at `chars_max`."""

    def __init__(self, *, chars_max: int, **given: Any) -> None:
        super().__init__(**given)
        self._chars_max = chars_max

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        tracer = super().get_tracer(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        if instrumenting_module_name == names.SCOPE and isinstance(tracer, SdkTracer):
            return _Tracer(tracer, self._chars_max)
        return tracer


class _Tracer(trace.Tracer):
    def __init__(self, sdk: SdkTracer, chars_max: int) -> None:
        self.sdk, self.chars_max = sdk, chars_max

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        around = current_span() if context is None else trace.get_current_span(context)
        start = start_time or time.time_ns()
        if type(around) is Noted:  # what is inside of recorded work is recorded, whatever the sampler
            span = Noted(self, name, kind, start, self.sdk.id_generator.generate_span_id(), around.first, around, around.part)
            around.has_inside = True
        else:
            parent = around.get_span_context()
            own = self._first(context, parent, name, kind, attributes, links)
            if not own.trace_flags.sampled:
                return NonRecordingSpan(own)
            span = Noted(self, name, kind, start, own.span_id, own, parent if parent.is_valid else None, Part(own.span_id))
            if parent.is_valid and not parent.is_remote:  # it may belong to the part of another tracer's span
                self.sdk.span_processor.on_start(span, context)  # type: ignore[arg-type]  # it has all that ours look at
        for one in links or ():
            span.add_link(one.context)
        if attributes:
            span.notes.update(attributes)
        return span

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, end_on_exit: bool = True, **kwargs: Any) -> Iterator[trace.Span]:  # type: ignore[override]
        with trace.use_span(self.start_span(name, *args, **kwargs), end_on_exit, False, False) as span:
            yield span

    def _first(
        self, context: Context | None, parent: SpanContext, name: str, kind: SpanKind, attributes: Attributes, links: Any
    ) -> SpanContext:
        """What the SDK does for a span that begins something in this process: its sampler decides."""
        sdk, known = self.sdk, parent.is_valid
        state: TraceState | None = parent.trace_state
        trace_id = parent.trace_id if known else sdk.id_generator.generate_trace_id()
        random = parent.trace_flags.random_trace_id if known else sdk.id_generator.is_trace_id_random()
        if sdk.sampler is DEFAULT_ON:  # the usual one looks at nothing else, and takes half of a span's time for it
            sampled = not known or parent.trace_flags.sampled
        else:
            chosen = sdk.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            sampled, state = chosen.decision is Decision.RECORD_AND_SAMPLE, chosen.trace_state
        flags = _FLAGS[TraceFlags.SAMPLED * sampled | TraceFlags.RANDOM_TRACE_ID * random]
        return SpanContext(trace_id, sdk.id_generator.generate_span_id(), False, flags, state)


@dataclass(eq=False, slots=True)
class Part:
    """What one process does in one trace, from the span that others have caused down. `Tail` decides on it when that has ended."""

    first: int
    """The id of that span."""
    ended: list[ReadableSpan] = field(default_factory=list)
    failed: bool = False
    kept: bool | None = None
    """What was decided; None until its first span has ended."""


class Noted(trace.Span, ReadableSpan):
    """A span: what is noted of it while it is recorded, and what exporters read when it has ended. It has no events, and of a
    failure no description: both quote what an exception says.

    Nothing is made before somebody asks for it. What a span does comes seldom, between much else, so that each function and
    object that it needs has to be fetched by the processor: it costs several times what it costs in a loop.
    """

    _end_time: int | None = None
    _events = ()
    _instrumentation_info = None
    _instrumentation_scope = SCOPE
    is_remote = False
    has_inside = False
    """Whether others have begun inside of it."""
    failed = False
    """Whether its status says so."""
    causes: list[Link] | None = None

    def __init__(
        self, tracer: _Tracer, name: str, kind: SpanKind, start: int, span_id: int, first: SpanContext,
        above: SpanContext | Noted | None, part: Part,
    ) -> None:  # fmt: skip
        """`first`: of the first span of the part. `above`: its parent."""
        self._tracer, self._name, self._kind, self._start_time = tracer, name, kind, start
        self.span_id, self.first, self.above, self.part = span_id, first, above, part
        self.notes: dict[str, AttributeValue] = {}
        """Its attributes as they were given."""

    def get_span_context(self) -> SpanContext:
        first = self.first
        if first.span_id == self.span_id:
            return first
        return SpanContext(first.trace_id, self.span_id, False, first.trace_flags, first.trace_state)

    @property
    def _context(self) -> SpanContext:  # type: ignore[override]
        return self.get_span_context()

    @property
    def _parent(self) -> SpanContext | None:  # type: ignore[override]
        return self.above.get_span_context() if isinstance(self.above, Noted) else self.above

    @property
    def _attributes(self) -> dict[str, AttributeValue]:  # type: ignore[override]
        return {key: self._short(value) for key, value in self.notes.items()}

    @property
    def _links(self) -> Sequence[Link]:  # type: ignore[override]
        return self.causes or ()

    @property
    def _status(self) -> Status:  # type: ignore[override]
        return _FAILED if self.failed else _UNSET

    @property
    def _resource(self) -> Resource:  # type: ignore[override]
        return self._tracer.sdk.resource

    @property
    def chars_max(self) -> int:
        """Where string attributes are cut."""
        return self._tracer.chars_max

    def _short(self, value: Any) -> Any:
        if isinstance(value, str):
            return value[: self.chars_max]
        return tuple(value) if isinstance(value, list) else value

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self._end_time is None:
            self.notes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self._end_time is None:
            self.notes.update(attributes)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        if self._end_time is None and context.is_valid:
            self.causes = self.causes or []
            self.causes.append(Link(context))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        code = status.status_code if isinstance(status, Status) else status
        if self._end_time is None and code is StatusCode.ERROR:
            self.failed = True

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Nothing is told of it."""

    def record_exception(
        self, exception: BaseException, attributes: Attributes = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Nor of this: who records work says what kind of failure it was."""

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._tracer.sdk.span_processor.on_end(self)
