"""Spans as the messages of OTLP: what the exporter's own packing makes of ours, written at once as the bytes that are sent.

Packing is done in the daemon's process and takes turns with its event loop, so it is what a trace costs there most. Messages of
protobuf are a tag, a length and what is in it; most attributes have one of few values (verbs, outcomes, stores), and are written
once. Each number below is of `opentelemetry/proto/trace/v1/trace.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from memoryd_telemetry.recording import Noted

KEPT_VALUES_MAX = 1024  # of attributes; a daemon has some hundred of them
KEPT_CHARS_MAX = 32  # words of ours are shorter, a memory's id and texts are longer and never come again
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's kinds of fields
_LOCAL = int(otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE = _LOCAL | int(otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)


class Exporter(OTLPSpanExporter):
    """OTLP over HTTP with all of its settings, and our packing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._client.export(packed(spans))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def packed(spans: Sequence[ReadableSpan]) -> bytes:
    """All spans as an ExportTraceServiceRequest; those that are not ours as the exporter's own packing has them."""
    ours = [one for one in spans if isinstance(one, Noted)]
    others: bytes = encode_spans([one for one in spans if not isinstance(one, Noted)]).SerializeToString()
    if not ours:
        return others
    [resource] = encode_spans(ours[:1]).resource_spans
    [scope] = resource.scope_spans
    del resource.scope_spans[:], scope.spans[:]
    in_scope = scope.SerializeToString() + b"".join(_bytes(2, _span(one)) for one in ours)
    in_resource: bytes = resource.SerializeToString() + _bytes(2, in_scope)
    return others + _bytes(1, in_resource)


def _span(one: Noted) -> bytes:
    own, parent = one.get_span_context(), one.parent
    parts = [
        b"\x0a\x10", own.trace_id.to_bytes(16, "big"), b"\x12\x08", own.span_id.to_bytes(8, "big"),
        b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent else b"",
        _named(one.name, one.kind), _TIMES.pack(_START, one.start_time or 0, _END, one.end_time or 0),
    ]  # fmt: skip
    if own.trace_state:
        parts.append(_bytes(3, own.trace_state.to_header().encode()))
    parts += [_attribute(key, value) for key, value in one.notes.items()]
    parts += [_bytes(13, _link(each.context)) for each in one.links]
    parts += _OUTCOME[one.failed], _flags(16, parent)
    return b"".join(parts)


def _link(cause: SpanContext) -> bytes:
    return b"\x0a\x10" + cause.trace_id.to_bytes(16, "big") + b"\x12\x08" + cause.span_id.to_bytes(8, "big") + _flags(6, cause)


def _attribute(key: str, value: Any) -> bytes:
    few = len(value) <= KEPT_CHARS_MAX if isinstance(value, str) else isinstance(value, int)
    return _kept(key, value) if few else _written(key, value)


def _written(key: str, value: Any) -> bytes:
    return _bytes(9, _bytes(1, key.encode()) + _bytes(2, _value(value)))


_kept = lru_cache(KEPT_VALUES_MAX, typed=True)(_written)


def _value(value: Any) -> bytes:
    """An AnyValue."""
    match value:
        case str():
            return _bytes(1, value.encode("utf-8", "replace"))
        case bool():
            return _number(2, value)
        case int():
            return _number(3, value)
        case float():
            return _tag(4, _FIXED64) + struct.pack("<d", value)
        case tuple():
            return _bytes(5, b"".join(_bytes(1, _value(one)) for one in value))
    return _bytes(1, str(value).encode("utf-8", "replace"))


@lru_cache(KEPT_VALUES_MAX)
def _named(name: str, kind: SpanKind) -> bytes:
    return _bytes(5, name.encode()) + _number(6, kind.value + 1)  # OTLP's zero is "unspecified"


def _flags(field: int, context: SpanContext | None) -> bytes:
    return _FLAGS[field, bool(context and context.is_remote)]


# --- protobuf -----------------------------------------------------------------------------------------------------------
def _bytes(field: int, content: bytes) -> bytes:
    return _tag(field, _BYTES) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + _varint(value % 2**64)  # negative ones as they stand in 64 bits


@lru_cache
def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


@lru_cache(KEPT_VALUES_MAX)
def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the eighth."""
    sevens = []
    while value > 0x7F:
        sevens.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*sevens, value))


_TIMES = struct.Struct("<BQBQ")
_START, _END = 7 << 3 | _FIXED64, 8 << 3 | _FIXED64
_OUTCOME = {failed: _bytes(15, _number(3, StatusCode.ERROR.value) if failed else b"") for failed in (False, True)}
_FLAGS = {
    (field, remote): _tag(field, _FIXED32) + struct.pack("<I", _REMOTE if remote else _LOCAL)
    for field in (6, 16)
    for remote in (False, True)
}
