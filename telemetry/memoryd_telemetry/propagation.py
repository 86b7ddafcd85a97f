"""How a trace goes on: in this process by the current span, across a stream by one W3C `traceparent` in the message.

Whatever a client puts there is harmless.
"""

from __future__ import annotations

import re
from contextvars import Token
from typing import cast

from opentelemetry import context, trace

# W3C's form, whatever propagators the host process has configured: it is part of our protocol. Later versions may end in more.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
[_SPAN] = trace.set_span_in_context(trace.INVALID_SPAN, context.Context())  # under which key of a context a span is
TRACEPARENT_CHARS_MAX = 128  # version 00 has 55; nobody's rubbish is read to its end


def current_span() -> trace.Span:
    """What OpenTelemetry's `get_current_span` gives, in half the time; it is asked for several times in each span."""
    return cast(trace.Span, context.get_current().get(_SPAN, trace.INVALID_SPAN))


def make_current(span: trace.Span) -> Token[context.Context]:
    """Makes `span` the current one, until what this gives is given to OpenTelemetry's `detach`."""
    return context.attach(context.Context({**context.get_current(), _SPAN: span}))


def inject() -> str:
    """The `traceparent` of the current span, or "" where there is none."""
    return traceparent_of(current_span())


def traceparent_of(one: trace.Span) -> str:
    """The `traceparent` of a span, or "" where it is none."""
    span = one.get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else ""


def context_of(traceparent: str) -> context.Context:
    """The current context with the sender's span as parent; unchanged where `traceparent` names none."""
    current, sender = context.get_current(), _sender(traceparent)
    return trace.set_span_in_context(trace.NonRecordingSpan(sender), current) if sender.is_valid else current


def link_to(traceparent: str) -> list[trace.Link]:
    """A link to the sender's span, in a list; an empty list where `traceparent` names none."""
    sender = _sender(traceparent)
    return [trace.Link(sender)] if sender.is_valid else []


def _sender(traceparent: str) -> trace.SpanContext:
    """The sender's span; an invalid one where `traceparent` names none."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent and len(traceparent) <= TRACEPARENT_CHARS_MAX else None
    if found is None or (found[1] == "00" and found[5]):
        return trace.INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = (int(one, 16) for one in found.group(2, 3, 4))
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
