"""Spans of our own tracer are, for everybody who takes them, what the SDK's would be; and they cost less."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from memoryd_telemetry import names
from memoryd_telemetry.packing import packed, request
from memoryd_telemetry.propagation import context_of, current_span, make_current
from memoryd_telemetry.recording import Recording
from tests.spans import Finished

SECOND = 10**9
REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = REMOTE[:-1] + "0"
CAUSE = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))


class Counting:
    """Gives ids one after the other."""

    def __init__(self) -> None:
        self._last = 0

    def generate_span_id(self) -> int:
        self._last += 1
        return self._last

    generate_trace_id = generate_span_id

    def is_trace_id_random(self) -> bool:
        return True


def ours(**given: Any) -> TracerProvider:
    return Recording(chars_max=20, shutdown_on_exit=False, **given)


def theirs(**given: Any) -> TracerProvider:
    return TracerProvider(span_limits=SpanLimits(max_span_attribute_length=20), shutdown_on_exit=False, **given)


def finished(provider: TracerProvider) -> list[ReadableSpan]:
    """The spans that end from now on."""
    kept = Finished()
    provider.add_span_processor(kept)
    return kept.spans


def sent(spans: list[ReadableSpan]) -> bytes:
    """What a collector is sent of them."""
    return request([packed(one) for one in spans], spans[0].resource)


def work(tracer: trace.Tracer) -> None:
    """All that memoryd does with spans."""
    attributes: dict[str, Any] = {"verb": "store", "share": 0.5, "ok": True, "ids": ("a", "b"), "long": "kumquat " * 5, "count": 3}
    verb = tracer.start_span("verb", context_of(REMOTE), SpanKind.SERVER, attributes, start_time=SECOND)
    with trace.use_span(verb):
        verb.set_attributes({"count": 4, "buckets": ["0a"]})
        inner = tracer.start_span("part", start_time=2 * SECOND)
        inner.update_name("renamed")
        inner.set_attribute("error.type", "not_found")
        inner.set_status(StatusCode.ERROR)
        inner.end(3 * SECOND)
        inner.set_attribute("late", "not told")
        inner.end(5 * SECOND)
    verb.end(4 * SECOND)
    batch = tracer.start_span("batch", trace.set_span_in_context(trace.INVALID_SPAN), SpanKind.CONSUMER, start_time=SECOND)
    batch.add_link(CAUSE)
    batch.add_link(trace.INVALID_SPAN_CONTEXT)
    batch.end(2 * SECOND)


def test_an_exporter_sees_no_difference() -> None:
    told = []
    for provider in (ours, theirs):
        one = provider(resource=Resource({"service.name": "memoryd"}), id_generator=Counting())
        spans = finished(one)
        work(one.get_tracer(names.SCOPE))
        told += [encode_spans(spans), ExportTraceServiceRequest.FromString(sent(spans))]
    assert [span.name for span in told[0].resource_spans[0].scope_spans[0].spans] == ["renamed", "verb", "batch"]
    assert all(one == told[0] for one in told)


@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=200),
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=300), st.booleans(), st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False), st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
        ),
        max_size=4,
    ),
    st.sampled_from(["", "a=1", "a=1,b=2"]),
)  # fmt: skip
def test_whatever_an_attribute_is_it_is_packed_as_the_exporter_itself_would(attributes: dict[str, Any], state: str) -> None:
    provider = Recording(chars_max=1_000, resource=Resource({}), shutdown_on_exit=False)
    spans = finished(provider)
    parent = SpanContext(7, 8, True, TraceFlags(1), TraceState.from_header([state]))
    around = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    provider.get_tracer(names.SCOPE).start_span("verb", around, attributes=attributes).end()
    assert ExportTraceServiceRequest.FromString(sent(spans)) == encode_spans(spans)


@pytest.mark.parametrize(
    ("sampler", "parent", "recorded"),
    [
        (None, "", True), (None, REMOTE, True), (None, UNSAMPLED, False), (ALWAYS_OFF, REMOTE, False),
        (ParentBased(TraceIdRatioBased(0.0)), "", False), (ParentBased(TraceIdRatioBased(0.0)), REMOTE, True),
    ],
)  # fmt: skip
def test_the_sampler_decides_what_begins_and_all_inside_goes_with_it(sampler: Any, parent: str, recorded: bool) -> None:
    for provider in (ours, theirs):
        one = provider(sampler=sampler)
        spans = finished(one)
        tracer = one.get_tracer(names.SCOPE)
        with tracer.start_as_current_span("verb", context_of(parent)) as verb, tracer.start_as_current_span("part") as part:
            assert (verb.is_recording(), part.is_recording()) == (recorded, recorded)
            assert part.get_span_context().trace_id == verb.get_span_context().trace_id
        assert [span.name for span in spans] == (["part", "verb"] if recorded else [])


def test_no_event_and_no_description_is_told_whoever_gives_one() -> None:
    provider = ours()
    spans = finished(provider)
    with provider.get_tracer(names.SCOPE).start_as_current_span("verb") as verb:
        verb.add_event("kumquat")
        verb.record_exception(ValueError("kumquat"))
        verb.set_status(trace.Status(StatusCode.ERROR, "kumquat"))
    assert "kumquat" not in spans[0].to_json()
    assert not spans[0].status.is_ok


def test_tracers_of_others_make_the_sdks_spans_inside_of_ours() -> None:
    provider = ours()
    spans = finished(provider)
    own, other = provider.get_tracer(names.SCOPE), provider.get_tracer("a model")
    with own.start_as_current_span("verb") as verb, other.start_as_current_span("infer") as infer:
        infer.add_event("loaded")
        own.start_span("part").end()
    assert [(one.name, len(one.events)) for one in spans] == [("part", 0), ("infer", 1), ("verb", 0)]
    resources = ExportTraceServiceRequest.FromString(sent(spans)).resource_spans
    scopes = {one.scope.name: one.spans for each in resources for one in each.scope_spans}
    assert {name: [one.name for one in some] for name, some in scopes.items()} == {
        names.SCOPE: ["part", "verb"], "a model": ["infer"],
    }  # fmt: skip
    assert {one.context.trace_id for one in spans if one.context} == {verb.get_span_context().trace_id}


def test_the_current_span_is_opentelemetrys_and_what_else_is_in_the_context_stays() -> None:
    assert current_span() is trace.get_current_span() is trace.INVALID_SPAN
    around = context.attach(context.set_value("theirs", "baggage"))
    span = trace.NonRecordingSpan(CAUSE)
    token = make_current(span)
    assert current_span() is trace.get_current_span() is span
    assert context.get_value("theirs") == "baggage"
    context.detach(token)
    assert current_span() is trace.INVALID_SPAN
    context.detach(around)


def test_what_a_span_is_sent_as_is_what_it_was_when_it_ended() -> None:
    provider = ours(resource=Resource({}))
    spans = finished(provider)
    span = provider.get_tracer(names.SCOPE).start_span("verb", attributes={"ids": ["a"]})
    span.end()
    before = packed(spans[0])
    span.set_attributes({"late": 1})
    span.set_attribute("late", 1)
    span.set_status(StatusCode.ERROR)
    assert packed(spans[0]) == before
    assert isinstance(before, bytes)
