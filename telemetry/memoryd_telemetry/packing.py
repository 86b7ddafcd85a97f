"""Spans as the messages of OTLP: what the exporter's own packing makes of ours, written at once as the bytes that are sent.

A span is packed where it has ended: a moment later what it is made of is no longer in the processor's cache, and another thread
would take turns with the event loop for it. Messages of protobuf are a tag, a length and what is in it; most attributes have one of
few values (verbs, outcomes, stores), and are written once. Each number below is of `opentelemetry/proto/trace/v1/trace.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags

from memoryd_telemetry.recording import SCOPE, Noted

KEPT_VALUES_MAX = 1024  # of attributes; a daemon has some hundred of them
KEPT_CHARS_MAX = 32  # words of ours are shorter, a memory's id and texts are longer and never come again
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's kinds of fields
_LOCAL = int(otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_REMOTE = _LOCAL | int(otlp.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Packed(bytes):
    """A span of ours as a field of the message that it is sent in. A queue of spans takes it for one that was sampled."""

    context = _SAMPLED


def packed(span: ReadableSpan) -> Packed | ReadableSpan:
    """A span of ours as bytes, while all that it is made of is at hand; another's as it is."""
    return Packed(_bytes(2, _span(span))) if isinstance(span, Noted) else span


def request(spans: Sequence[Packed | ReadableSpan], resource: Resource) -> bytes:
    """All spans as an ExportTraceServiceRequest; those that are not ours as the exporter's own packing has them."""
    ours = [one for one in spans if isinstance(one, Packed)]
    others: bytes = encode_spans([one for one in spans if not isinstance(one, Packed)]).SerializeToString()
    if not ours:
        return others
    source, scope = _of_ours(resource)
    return others + _bytes(1, source + _bytes(2, scope + b"".join(ours)))


@lru_cache
def _of_ours(resource: Resource) -> tuple[bytes, bytes]:
    """What is said once of all spans of ours: who sends them, and the scope."""
    [source] = encode_spans([ReadableSpan("", _SAMPLED, resource=resource, instrumentation_scope=SCOPE)]).resource_spans
    [scope] = source.scope_spans
    del source.scope_spans[:], scope.spans[:]
    return source.SerializeToString(), scope.SerializeToString()


class Exporter(OTLPSpanExporter):
    """OTLP over HTTP with all of its settings, of spans that are `packed`."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource

    def export(self, spans: Sequence[Packed | ReadableSpan]) -> SpanExportResult:
        sent = self._client.export(request(spans, self._resource))
        return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE


def _span(one: Noted) -> bytes:
    first, above = one.first, one.above
    parts = [
        b"\x0a\x10", first.trace_id.to_bytes(16, "big"), b"\x12\x08", one.span_id.to_bytes(8, "big"),
        b"\x22\x08" + above.span_id.to_bytes(8, "big") if above else b"",
        _named(one.name, one.kind), _TIMES.pack(_START, one.start_time or 0, _END, one.end_time or 0),
        _ENDED[one.failed, bool(above and above.is_remote)],
    ]  # fmt: skip
    if first.trace_state:
        parts.append(_bytes(3, first.trace_state.to_header().encode()))
    for key, value in one.notes.items():
        if isinstance(value, str):
            told: Any = value[: one.chars_max]
            few = len(told) <= KEPT_CHARS_MAX
        elif isinstance(value, list | tuple):
            told = tuple(value)
            few = len(told) == 1 and isinstance(told[0], str) and len(told[0]) <= KEPT_CHARS_MAX
        else:
            told, few = value, isinstance(value, int)
        parts.append((_kept if few else _attribute)(key, told))
    parts += [_bytes(13, _link(each.context)) for each in one.causes or ()]
    return b"".join(parts)


def _link(cause: SpanContext) -> bytes:
    return (
        b"\x0a\x10" + cause.trace_id.to_bytes(16, "big") + b"\x12\x08" + cause.span_id.to_bytes(8, "big")
        + _FLAGS[6, cause.is_remote]
    )  # fmt: skip


def _attribute(key: str, value: Any) -> bytes:
    content = _value(value)
    return _before(key, len(content)) + content


_kept = lru_cache(KEPT_VALUES_MAX, typed=True)(_attribute)


@lru_cache(KEPT_VALUES_MAX)
def _before(key: str, length: int) -> bytes:
    """What an attribute is before a value of so many bytes."""
    before = _bytes(1, key.encode()) + _head(2, length)
    return _head(9, len(before) + length) + before


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
            return _bytes(5, b"".join([_bytes(1, _value(one)) for one in value]))
    return _bytes(1, str(value).encode("utf-8", "replace"))


@lru_cache(KEPT_VALUES_MAX)
def _named(name: str, kind: SpanKind) -> bytes:
    return _bytes(5, name.encode()) + _number(6, kind.value + 1)  # OTLP's zero is "unspecified"


# --- protobuf -----------------------------------------------------------------------------------------------------------
def _bytes(field: int, content: bytes) -> bytes:
    return _head(field, len(content)) + content


@lru_cache(KEPT_VALUES_MAX)
def _head(field: int, length: int) -> bytes:
    return _tag(field, _BYTES) + _varint(length)


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
_FLAGS = {
    (field, remote): _tag(field, _FIXED32) + struct.pack("<I", _REMOTE if remote else _LOCAL)
    for field in (6, 16)
    for remote in (False, True)
}
_ENDED = {
    (failed, remote): _bytes(15, _number(3, StatusCode.ERROR.value) if failed else b"") + _FLAGS[16, remote]
    for failed in (False, True)
    for remote in (False, True)
}
