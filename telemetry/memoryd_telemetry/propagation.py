"""How a trace crosses a stream: one W3C `traceparent` in the message. Whatever a client puts there is harmless."""

from __future__ import annotations

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# W3C, whatever propagators the host process has configured: the field's form is part of our protocol.
_W3C = TraceContextTextMapPropagator()
_FIELD = "traceparent"
TRACEPARENT_CHARS_MAX = 128  # version 00 has 55; the parser's regular expression is quadratic on long rubbish


def inject() -> str:
    """The `traceparent` of the current span, or "" where there is none."""
    return traceparent_of(trace.get_current_span())


def traceparent_of(one: trace.Span) -> str:
    """The `traceparent` of a span, or "" where it is none."""
    span = one.get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else ""


def context_of(traceparent: str) -> context.Context:
    """The current context with the sender's span as parent; unchanged where `traceparent` names none."""
    current = context.get_current()
    if not traceparent or len(traceparent) > TRACEPARENT_CHARS_MAX:
        return current
    return _W3C.extract({_FIELD: traceparent}, context=current)


def link_to(traceparent: str) -> list[trace.Link]:
    """A link to the sender's span, in a list; an empty list where `traceparent` names none."""
    if not traceparent or len(traceparent) > TRACEPARENT_CHARS_MAX:
        return []
    span = trace.get_current_span(_W3C.extract({_FIELD: traceparent}, context=context.Context()))
    return [trace.Link(span.get_span_context())] if span.get_span_context().is_valid else []
