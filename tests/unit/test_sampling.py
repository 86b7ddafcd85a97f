"""Spans are chosen when an operation has ended, whole: a share of all, and everything that failed, was slow, or was caused."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode, format_trace_id

import memoryd_telemetry.sending
import memoryd_telemetry.tail
from memoryd_telemetry import names
from memoryd_telemetry.propagation import context_of
from memoryd_telemetry.recording import Recording
from memoryd_telemetry.sending import Sending
from memoryd_telemetry.stores import _Closed
from memoryd_telemetry.tail import Tail

SECOND = 10**9


class Kept(SpanProcessor):
    """What was given on."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.spans]


def sampling(share: float, slow_milliseconds: float = 3_600_000, *, scope: str = names.SCOPE) -> tuple[trace.Tracer, Kept]:
    """A tracer that keeps so much: ours, or another's of the same provider."""
    provider, kept = Recording(chars_max=256, shutdown_on_exit=False), Kept()
    provider.add_span_processor(Tail([kept], sample=share, slow_milliseconds=slow_milliseconds))
    return provider.get_tracer(scope), kept


def test_a_share_is_chosen_by_the_traces_id_so_that_every_process_chooses_the_same() -> None:
    tracer, kept = sampling(0.1)
    other, kept_there = sampling(0.1)
    for _ in range(2_000):
        with tracer.start_as_current_span("client") as span:
            ours = span.get_span_context()
        carrier = f"00-{format_trace_id(ours.trace_id)}-{ours.span_id:016x}-01"
        with other.start_as_current_span("server", context_of(carrier)):
            pass
    assert 130 < len(kept.spans) < 270  # 200 ± 5 deviations
    chosen = [one.context.trace_id for one in kept.spans if one.context]
    assert [one.context.trace_id for one in kept_there.spans if one.context] == chosen


def test_what_failed_anywhere_inside_is_kept_whole_first_span_first() -> None:
    tracer, kept = sampling(0.0)
    for fails in (False, True):
        with tracer.start_as_current_span("verb"):
            with tracer.start_as_current_span("part") as part, tracer.start_as_current_span("inmost"):
                if fails:
                    part.set_status(Status(StatusCode.ERROR))
            assert kept.spans == [], "whoever is killed now leaves no span without its parent"
    assert kept.names == ["verb", "inmost", "part"]


def test_spans_of_ours_and_of_others_inside_of_each_other_are_one_part() -> None:
    for outer, inmost in ((names.SCOPE, "a library"), ("a library", names.SCOPE)):
        provider, kept = Recording(chars_max=256, shutdown_on_exit=False), Kept()
        provider.add_span_processor(Tail([kept], sample=0.0, slow_milliseconds=3_600_000))
        begun = [provider.get_tracer(scope).start_as_current_span for scope in (outer, inmost, outer)]
        for fails in (False, True):
            with begun[0]("verb"), begun[1]("part"), begun[2]("inmost") as span:
                if fails:
                    span.set_status(Status(StatusCode.ERROR))
            assert kept.names == (["verb", "inmost", "part"] if fails else [])


def test_what_begins_inside_of_a_command_is_of_its_operation() -> None:
    tracer, kept = sampling(0.0)
    with tracer.start_as_current_span("verb"):
        command = _Closed(tracer.start_span("redis HSET"), "redis")
        with trace.use_span(command, end_on_exit=True):
            tracer.start_span("inmost").end()
            command.failed("kumquat")
    assert kept.names == ["verb", "inmost", "redis HSET"]


def test_what_was_slow_is_kept() -> None:
    tracer, kept = sampling(0.0, slow_milliseconds=500)
    for milliseconds in (499, 500):
        tracer.start_span(f"{milliseconds}", start_time=SECOND).end(SECOND + milliseconds * 1_000_000)
    assert kept.names == ["500"]


def test_the_work_that_a_chosen_operation_has_caused_is_kept_with_it() -> None:
    tracer, kept = sampling(0.5)
    chosen, other = (
        trace.SpanContext(trace_id, 1, is_remote=True, trace_flags=trace.TraceFlags(1)) for trace_id in (1, (1 << 64) - 1)
    )
    links = [trace.Link(other), trace.Link(chosen)]
    for _ in range(40):
        tracer.start_span("caused", trace.set_span_in_context(trace.INVALID_SPAN), links=links).end()
    assert len(kept.spans) == 40


def test_what_ends_after_its_operation_follows_it() -> None:
    for share in (0.0, 1.0):
        tracer, kept = sampling(share)
        with tracer.start_as_current_span("verb") as verb:
            late = tracer.start_span("late", trace.set_span_in_context(verb))
        late.end()
        assert kept.names == (["verb", "late"] if share else [])


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[dict[str, str]] = []
    monkeypatch.setattr(memoryd_telemetry.tail, "measure", lambda _metric, _count, told: dropped.append(told))
    monkeypatch.setattr(memoryd_telemetry.tail, "SPANS_OF_PART_MAX", 3)
    tracer, kept = sampling(1.0)
    with tracer.start_as_current_span("verb"):
        for _ in range(5):
            tracer.start_span("part").end()
    assert kept.names == ["verb", "part", "part", "part"]
    assert dropped == [{names.OUTCOME: "part"}] * 2

    kept.spans.clear()
    with tracer.start_as_current_span("verb"), tracer.start_as_current_span("part"):
        for _ in range(5):
            tracer.start_span("command").end()
    assert kept.names == ["verb", "command", "command", "command", "part"], "no command without what it is inside of"

    kept.spans.clear()
    monkeypatch.setattr(memoryd_telemetry.tail, "OPEN_SPANS_MAX", 1)
    theirs, kept = sampling(1.0, scope="a library")
    with theirs.start_as_current_span("first"), theirs.start_as_current_span("beyond"):
        pass
    assert kept.names == ["beyond", "first"]


class Collector(SpanExporter):
    """One that takes nothing, in one way or another."""

    def __init__(self, answer: SpanExportResult | Exception) -> None:
        self._answer = answer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("answer", [SpanExportResult.SUCCESS, SpanExportResult.FAILURE, RuntimeError("kumquat")])
def test_spans_that_no_collector_took_are_counted(
    answer: SpanExportResult | Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[tuple[int, str]] = []
    monkeypatch.setattr(
        memoryd_telemetry.sending, "measure", lambda _metric, count, told: dropped.append((count, told[names.OUTCOME]))
    )
    monkeypatch.setattr(memoryd_telemetry.sending, "QUEUE_SPANS_MAX", 5)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    provider = TracerProvider(shutdown_on_exit=False)
    sending = Sending(Collector(answer))
    provider.add_span_processor(sending)
    for _ in range(2):
        for _ in range(7):
            provider.get_tracer("test").start_span("x").end()
        sending.force_flush()
    with contextlib.suppress(Exception):
        provider.shutdown()
    refused = sum(count for count, why in dropped if why == "collector")
    assert sum(count for count, why in dropped if why == "collector_queue") == 4
    assert refused == (0 if answer is SpanExportResult.SUCCESS else 10)
    assert "kumquat" not in caplog.text


def test_a_span_that_cannot_be_packed_is_counted_and_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[tuple[int, str]] = []
    monkeypatch.setattr(
        memoryd_telemetry.sending, "measure", lambda _metric, count, told: dropped.append((count, told[names.OUTCOME]))
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Sending(Collector(SpanExportResult.SUCCESS), lambda _: 1 / 0))
    with provider.get_tracer("test").start_as_current_span("x"):
        pass
    provider.shutdown()
    assert dropped == [(1, "collector")]
