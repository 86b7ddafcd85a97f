"""Spans: one for each verb, one for each batch of journal entries; what failed by its type, never by its message."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.util.types import Attributes

from memoryd_telemetry import names, otlp
from memoryd_telemetry.kept import KeptSpans
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import context_of, link_to

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

LINKS_MAX = 128  # the SDK keeps no more of one span
QUEUE_SPANS_MAX = 4096  # about 8 MB; beyond it spans are dropped, never memories delayed
ATTRIBUTE_CHARS_MAX = 256  # ids and names are shorter

_kept: KeptSpans | None = None


def setup_tracing(service_name: str, *, kept: bool = False) -> Callable[[], None]:
    """Send spans over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT (or its traces form) is set.

    The answer sends what is left and ends it, in 1 s at most. A collector that is away costs spans and nothing else.
    `kept`: finished spans are had from `kept_spans`, too. A tracer provider that the host process has set is left as it is.
    """
    return otlp.start(lambda: _begin(service_name, kept=kept), wanted=kept or otlp.wanted("traces"))


def kept_spans() -> KeptSpans | None:
    """The finished spans of this process that wait to be taken away; None when nobody has asked for that at the set-up."""
    return _kept


def _begin(service_name: str, *, kept: bool) -> Callable[[], None]:
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return lambda: None
    limits = SpanLimits(max_span_attribute_length=ATTRIBUTE_CHARS_MAX, max_links=LINKS_MAX)
    # shutdown_on_exit would wait 30 s for an absent collector after our own bounded end.
    provider = TracerProvider(resource=otlp.resource(service_name), span_limits=limits, shutdown_on_exit=False)
    if otlp.wanted("traces"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=QUEUE_SPANS_MAX))
    if kept:
        keep_spans(provider, service_name)
    trace.set_tracer_provider(provider)
    return provider.shutdown


def keep_spans(provider: TracerProvider, service_name: str) -> KeptSpans:
    """Have the spans of a provider kept from now on, as `kept_spans`."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Keeper(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            keeping.put(span)

    global _kept  # noqa: PLW0603 - like the tracer provider, there is one of a process
    keeping = _kept = KeptSpans(service_name)
    provider.add_span_processor(Keeper())
    return keeping


@contextmanager
def operation(
    verb: str, *, attributes: Attributes = None, parent: str = "", kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """The span of one verb, named by the GenAI memory convention, and its count and duration.

    `parent` is the sender's traceparent; without one the span belongs to the current trace. `kind` is CLIENT in the
    client, which counts nothing (the daemon counts each operation once), SERVER where a request is served.
    """
    verb = verb if verb in names.OPERATIONS else names.OTHER
    name = names.OPERATIONS[verb]
    known = {names.OPERATION_NAME: name, names.VERB: verb, **(attributes or {})}
    with _span(name, known, context=context_of(parent), kind=kind) as span:
        started, outcome = time.perf_counter(), names.OK
        try:
            yield span
        except BaseException as error:
            outcome = error_type(error)
            raise
        finally:
            if kind is not SpanKind.CLIENT:
                _count(verb, outcome, time.perf_counter() - started)


@contextmanager
def linked_span(name: str, traceparents: Sequence[str], attributes: Attributes = None) -> Iterator[Span]:
    """A trace of its own for work on journal entries, with a link to each write (LINKS_MAX at most) that caused it."""
    links = [link for traceparent in dict.fromkeys(traceparents) for link in link_to(traceparent)]
    with _span(name, attributes, context=Context(), kind=SpanKind.CONSUMER, links=links[:LINKS_MAX]) as span:
        if len(links) > LINKS_MAX:
            span.set_attribute(names.LINKS_DROPPED, len(links) - LINKS_MAX)
        yield span


def error_type(error: BaseException) -> str:
    """What kind of failure `error` is: its class's `code` where it has one, else the class's name."""
    # Of the class only: what an instance carries may come from a memory.
    code = getattr(type(error), "code", None)
    return code if isinstance(code, str) else type(error).__name__


@contextmanager
def _span(
    name: str, attributes: Attributes, *, context: Context, kind: SpanKind, links: Sequence[Link] = ()
) -> Iterator[Span]:
    tracer = trace.get_tracer(names.SCOPE)
    # The SDK would record messages and stack traces, and an exception's message may quote a memory.
    with tracer.start_as_current_span(
        name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute(names.ERROR_TYPE, error_type(error))
            span.set_status(StatusCode.ERROR)
            raise


def _count(verb: str, outcome: str, seconds: float) -> None:
    attributes = {names.VERB: verb, names.OUTCOME: outcome}
    measure(names.OPERATION_COUNT, 1, attributes)
    measure(names.OPERATION_DURATION, seconds, attributes)
