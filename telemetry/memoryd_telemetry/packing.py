"""Spans as the messages of OTLP: what the exporter's own packing makes of ours, without making each attribute anew.

Packing is done in the daemon's process and takes turns with its event loop, so it is what a trace costs there most. Most attributes
have one of few values (verbs, outcomes, stores), whose messages are kept and copied; what enumerations say is asked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext

from memoryd_telemetry.recording import Noted

KEPT_VALUES_MAX = 1024  # of attributes; a daemon has some hundred of them
KEPT_CHARS_MAX = 32  # words of ours are shorter, a memory's id and texts are longer and never come again
_LOCAL = int(otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE = _LOCAL | int(otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)


class Exporter(OTLPSpanExporter):
    """OTLP over HTTP with all of its settings, and our packing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._client.export(packed(spans).SerializeToString())
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def packed(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """All spans as one request; those that are not ours as the exporter's own packing has them."""
    ours = [one for one in spans if isinstance(one, Noted)]
    request = encode_spans([*ours[:1], *(one for one in spans if not isinstance(one, Noted))])
    if ours:
        into = request.resource_spans[0].scope_spans[0]  # ours came first, with their resource and scope
        into.spans[0].CopyFrom(_span(ours[0]))
        into.spans.extend(map(_span, ours[1:]))
    return request


def _span(one: Noted) -> otlp.Span:
    own, parent = one.get_span_context(), one.parent
    return otlp.Span(
        trace_id=own.trace_id.to_bytes(16, "big"),
        span_id=own.span_id.to_bytes(8, "big"),
        trace_state=own.trace_state.to_header(),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        name=one.name,
        kind=one.kind.value + 1,  # type: ignore[arg-type]  # OTLP's zero is "unspecified"
        start_time_unix_nano=one.start_time or 0,
        end_time_unix_nano=one.end_time or 0,
        attributes=[_attribute(key, value) for key, value in one.notes.items()],
        links=[_link(each.context) for each in one.links],
        status=otlp.Status(code=one.status.status_code.value),  # type: ignore[arg-type]
        flags=_flags(parent),
    )


def _link(cause: SpanContext) -> otlp.Span.Link:
    trace_id, span_id = cause.trace_id.to_bytes(16, "big"), cause.span_id.to_bytes(8, "big")
    return otlp.Span.Link(trace_id=trace_id, span_id=span_id, flags=_flags(cause))


def _flags(context: SpanContext | None) -> int:
    return _REMOTE if context and context.is_remote else _LOCAL


def _attribute(key: str, value: Any) -> KeyValue:
    few = len(value) <= KEPT_CHARS_MAX if isinstance(value, str) else isinstance(value, int)
    return _kept(key, value) if few else KeyValue(key=key, value=_value(value))


@lru_cache(KEPT_VALUES_MAX, typed=True)
def _kept(key: str, value: str | int) -> KeyValue:
    return KeyValue(key=key, value=_value(value))


def _value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case tuple():
            return AnyValue(array_value=ArrayValue(values=map(_value, value)))
    return AnyValue(string_value=value)
