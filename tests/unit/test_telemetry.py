"""Telemetry tells what happened to a memory and never what is in it, and costs nothing when nobody listens."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families

import tests.spans
from memoryd_telemetry import names
from memoryd_telemetry.logs import get_logger, setup_logs
from memoryd_telemetry.metrics import GAUGE_SERIES_MAX, count_moves, measure, prometheus_name
from memoryd_telemetry.propagation import context_of, inject, link_to
from memoryd_telemetry.tracing import ATTRIBUTE_CHARS_MAX, LINKS_MAX, error_type, linked_span, operation

spans = tests.spans.spans
Collector = tests.spans.Collector

Lines = Callable[[], list[dict[str, Any]]]

CANARY = "Ada-prefers-tea-7f3a"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BROKEN = [
    "", "x", "00", "00-0-0-00", TRACEPARENT[:-1], TRACEPARENT + "-extra", TRACEPARENT.upper(), "ff" + TRACEPARENT[2:],
    f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", TRACEPARENT + "\0",
    "\ud800" * 55, "٠" * 55, TRACEPARENT + "\n" + TRACEPARENT, f"{TRACEPARENT}-{' ' * 1_000_000}\n\nx",
]  # fmt: skip


class MissingError(Exception):
    """An error with a code, like memoryd's own."""

    code: ClassVar[str] = "not_found"


def fail(error: Exception) -> None:
    """Raise `error` as code below memoryd would: with a cause that quotes the same text."""
    raise error from KeyError(CANARY)


# --- spans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "name"), names.OPERATIONS.items())
def test_a_verb_is_a_span_named_by_the_convention(spans: list[ReadableSpan], verb: str, name: str) -> None:
    with operation(verb, attributes={names.RECORD_COUNT: 3}):
        assert inject()
    (span,) = spans
    assert span.name == name
    assert dict(span.attributes or {}) == {names.OPERATION_NAME: name, names.VERB: verb, names.RECORD_COUNT: 3}
    assert span.status.status_code is StatusCode.UNSET


def test_a_verb_that_a_client_invents_does_not_become_a_name(spans: list[ReadableSpan]) -> None:
    with operation(CANARY):
        assert inject()
    assert spans[0].name == "memoryd.other"
    assert CANARY not in spans[0].to_json()


def test_the_daemon_goes_on_with_the_trace_of_the_client(spans: list[ReadableSpan]) -> None:
    with operation("store", kind=SpanKind.CLIENT):
        sent = inject()
    with operation("store", parent=sent, kind=SpanKind.SERVER):
        assert inject() != sent
    client, server = spans
    assert server.parent is not None
    assert client.context is not None
    assert server.parent.span_id == client.context.span_id
    assert server.parent.is_remote
    assert inject() == ""


def test_a_batch_of_journal_entries_is_a_trace_of_its_own_that_links_to_each_write(spans: list[ReadableSpan]) -> None:
    written = []
    for _ in range(3):
        with operation("store"):
            written.append(inject())
    with operation("recall"), linked_span(names.ARCHIVE, [*written, written[0], *BROKEN], {names.BATCH_SIZE: 3}):
        assert inject()
    batch = spans[3]
    assert (batch.name, batch.kind, batch.parent) == (names.ARCHIVE, SpanKind.CONSUMER, None)
    assert [link.context.span_id for link in batch.links] == [s.context.span_id for s in spans[:3] if s.context]
    assert len({s.context.trace_id for s in spans if s.context}) == 5


def test_links_are_bounded_and_what_was_left_out_is_counted(spans: list[ReadableSpan]) -> None:
    many = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 601)]
    with linked_span(names.EMBED, many):
        assert inject()
    assert len(spans[0].links) == LINKS_MAX
    assert (spans[0].attributes or {})[names.LINKS_DROPPED] == 600 - LINKS_MAX


@pytest.mark.parametrize("work", [operation("get"), linked_span(names.EMBED, [TRACEPARENT])])
def test_a_failure_is_recorded_by_its_type_and_never_by_its_message(spans: list[ReadableSpan], work: Any) -> None:
    with pytest.raises(ValueError, match=CANARY), work:
        fail(ValueError(CANARY))
    (span,) = spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes or {})[names.ERROR_TYPE] == "ValueError"
    assert not span.events
    assert CANARY not in span.to_json()


def test_an_error_is_known_by_the_code_of_its_class_and_not_by_what_an_instance_carries() -> None:
    loose = ValueError()
    loose.code = CANARY  # type: ignore[attr-defined]
    assert [error_type(e) for e in (MissingError(CANARY), loose, OSError(), asyncio.CancelledError())] == [
        "not_found", "ValueError", "OSError", "CancelledError",
    ]  # fmt: skip


async def test_a_cancelled_operation_ends_its_span_and_stays_cancelled(spans: list[ReadableSpan]) -> None:
    async def wait() -> None:
        with operation("recall"):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (spans[0].attributes or {})[names.ERROR_TYPE] == "CancelledError"


@pytest.mark.parametrize("broken", BROKEN, ids=lambda text: f"{len(text)}-{text[:12]!a}")
def test_a_broken_traceparent_is_no_parent_and_no_link(spans: list[ReadableSpan], broken: str) -> None:
    started = time.process_time()
    assert link_to(broken) == []
    with operation("get", parent=broken):
        assert inject()
    assert spans[0].parent is None
    assert time.process_time() - started < 1, "a hostile string must not cost a regular expression's worst case"


@given(st.text(st.characters(exclude_categories=())))
def test_no_string_makes_propagation_raise(text: str) -> None:
    link_to(text)
    context_of(text)


def test_trace_flags_that_are_not_known_yet_are_accepted() -> None:
    (link,) = link_to(TRACEPARENT[:-2] + "03")
    assert trace.format_span_id(link.context.span_id) == "b7ad6b7169203331"


def test_the_store_id_is_stable_and_does_not_show_the_scope() -> None:
    ids = {names.store_id(*scope) for scope in (("acme", "ada"), ("acmea", "da"), ("acme", "\ud800"))}
    assert len(ids) == 3
    assert names.store_id("acme", "ada") in ids
    assert not any("ada" in one or "acme" in one for one in ids)


# --- metrics --------------------------------------------------------------------------------------------------------


def test_the_table_of_metrics_is_complete_and_each_can_be_measured() -> None:
    constants = [value for value in vars(names).values() if isinstance(value, names.Metric)]
    assert sorted(m.name for m in constants) == sorted(m.name for m in names.METRICS)
    assert len({m.name for m in names.METRICS}) == len(names.METRICS)
    for metric in names.METRICS:
        measure(metric, 2)


@pytest.mark.parametrize("reason", ["aged", "it is 7 years old", "Aged", "a" * 33, "", "ada's"])
def test_a_reason_of_moves_is_a_word_or_other(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mover's sentence, with numbers in it, would be a new series each time."""
    told: list[Any] = []
    monkeypatch.setattr("memoryd_telemetry.metrics.measure", lambda *given: told.append(given))
    count_moves("short", "long", reason, 3)
    expected = reason if reason == "aged" else "other"
    assert told == [
        (names.TIER_MOVES, 3, {names.MOVED_FROM: "short", names.MOVED_TO: "long", names.REASON: expected})
    ]


def test_prometheus_has_every_metric_under_the_name_in_the_table_and_gauges_keep_their_value() -> None:
    """Also when several fetch: an SDK's own gauge is gone after the first one. A gauge has a bounded number of series."""
    code = """
        from memoryd_telemetry import metrics, names
        end = metrics.setup_metrics("memoryd-test", fetched=True)
        for metric in names.METRICS:
            metrics.measure(metric, 2, {names.OUTCOME: "ok"})
        for number in range(1000):
            metrics.measure(names.REQUESTS_BACKLOG, number, {names.OUTCOME: str(number)})
        metrics.exposition()
        print(metrics.exposition().decode())
        end()
    """
    families = list(text_string_to_metric_families(run(code).stdout))
    shown = {one.name + ("_total" if one.type == "counter" else ""): one for one in families}
    assert {prometheus_name(metric) for metric in names.METRICS} == shown.keys() - {"target_info", "target"}
    for metric in names.METRICS:
        family = shown[prometheus_name(metric)]
        assert family.type == metric.kind
        assert family.samples[0].labels["memoryd_outcome"] == "ok"
    assert len(shown[prometheus_name(names.REQUESTS_BACKLOG)].samples) == GAUGE_SERIES_MAX


def test_nothing_is_collected_for_prometheus_unless_somebody_asks_for_it() -> None:
    code = """
        from memoryd_telemetry import metrics
        metrics.setup_metrics("memoryd-test")()
        print(metrics.exposition())
    """
    assert run(code).stdout.strip() == "None"


# --- other processes: what is sent, and what happens when nobody takes it --------------------------------------------


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own: a process can set its providers once."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


WORK = f"""
    from memoryd_telemetry import logs, metrics, names, tracing
    logs.setup_logs("DEBUG", "test")
    log = logs.get_logger("memoryd.test")
    ends = [tracing.setup_tracing("memoryd-test"), metrics.setup_metrics("memoryd-test")]
    for number in range(3):
        try:
            with tracing.operation("store", attributes={{names.RECORD_COUNT: number}}):
                log.info("working", number=number)
                if number == 2:
                    raise RuntimeError("{CANARY}")
        except RuntimeError:
            log.exception("failed")
    metrics.measure(names.REQUESTS_BACKLOG, 7)
    for end in ends:
        end()
"""


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_spans_and_metrics_reach_a_collector_and_hold_no_text(compression: str) -> None:
    with Collector() as collector:
        done = run(WORK, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    assert [span.name for span in collector.spans] == ["upsert_memory"] * 3
    who = {pair.key: pair.value.string_value for pair in collector.resources[0].resource.attributes}
    assert who["service.name"] == "memoryd-test"
    assert {"service.version", "service.instance.id"} <= who.keys()
    counts = {
        next(pair.value.string_value for pair in point.attributes if pair.key == names.OUTCOME): point.as_int
        for point in collector.metrics[names.OPERATION_COUNT.name].sum.data_points
    }
    assert counts == {"ok": 2, "RuntimeError": 1}
    duration = collector.metrics[names.OPERATION_DURATION.name]
    assert duration.unit == "s"
    assert tuple(duration.histogram.data_points[0].explicit_bounds) == names.SECONDS
    assert collector.metrics[names.REQUESTS_BACKLOG.name].gauge.data_points[0].as_int == 7
    assert collector.encodings == {"gzip" if compression == "gzip" else ""}
    assert CANARY not in done.stdout + done.stderr
    assert all(CANARY.encode() not in body for body in collector.bodies)


def test_a_jaeger_that_takes_only_traces_gets_only_traces() -> None:
    with Collector() as collector:
        run(WORK, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.endpoint + "/v1/traces")
    assert len(collector.spans) == 3
    assert collector.metrics == {}


COMMAND = f"""
    import asyncio, sys
    if "absent" in sys.argv:
        sys.modules["opentelemetry.instrumentation.redis"] = None
    from memoryd_telemetry import logs, tracing
    logs.setup_logs("INFO", "test")
    end = tracing.setup_tracing("memoryd-test", stores="stores" in sys.argv)
    print("opentelemetry.instrumentation" in sys.modules)
    from memoryd.hot.client import open_redis
    async def work():
        async with open_redis("redis://127.0.0.1:1", tries=0) as redis:
            await redis.set("{CANARY}", "{CANARY}")
    try:
        with tracing.operation("store"):
            asyncio.run(work())
    except ConnectionError:
        pass
    except Exception as error:
        assert "Connect" in type(error).__name__
    end()
"""


@pytest.mark.parametrize(
    ("how", "names_sent", "says"),
    [
        ("", ["upsert_memory"], ""),
        ("stores", ["upsert_memory", "redis SET"], ""),
        ("stores absent", ["upsert_memory"], "commands are not traced"),
    ],
)
def test_commands_are_traced_where_that_is_asked_for(how: str, names_sent: list[str], says: str) -> None:
    """Otherwise what does it is not even imported; and where it is not installed, the rest goes on."""
    code = textwrap.dedent(COMMAND).replace("sys.argv", repr(how.split()))
    with Collector() as collector:
        done = run(code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    assert [span.name for span in collector.spans] == names_sent
    assert done.stdout.strip() == str("stores" in how)
    assert says in done.stderr
    assert all(CANARY.encode() not in body for body in collector.bodies)
    failed = [one for span in collector.spans[1:] for one in span.attributes if one.key == names.ERROR_TYPE]
    assert [one.value.string_value for one in failed] == ["ConnectionError"] * len(names_sent[1:])


@pytest.mark.parametrize(("switch", "longest"), [("", ATTRIBUTE_CHARS_MAX), ("true", 2000)])
def test_attributes_are_short_unless_text_is_asked_for(switch: str, longest: int) -> None:
    """A memory's text is longer than any id, and half of its JSON is none."""
    code = """
        from memoryd_telemetry import names, tracing
        end = tracing.setup_tracing("memoryd-test")
        with tracing.operation("get", attributes={names.RECORDS: "x" * 2000}):
            pass
        end()
    """
    with Collector() as collector:
        run(code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=switch)
    [span] = collector.spans
    assert [len(one.value.string_value) for one in span.attributes if one.key == names.RECORDS] == [longest]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize("port", ["silent_port", "closed_port"])
def test_an_absent_collector_delays_neither_the_work_nor_the_exit(port: str, request: pytest.FixtureRequest) -> None:
    code = """
        import time
        started = time.perf_counter()
        from memoryd_telemetry import tracing
        end = tracing.setup_tracing("memoryd-test")
        for _ in range(1000):
            with tracing.operation("get") as span:
                assert span.is_recording()
        worked = time.perf_counter()
        end()
        print(worked - started, time.perf_counter() - worked)
    """
    started = time.perf_counter()
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "600"}
    done = run(code, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{request.getfixturevalue(port)}", **patient)
    elapsed = time.perf_counter() - started
    work, end = map(float, done.stdout.split())
    # Waiting for the collector would take the exporter's ten minutes; a busy machine takes some seconds by itself.
    assert end < 60
    assert work + end < 60
    assert elapsed - work - end < 60, "nothing else may wait at the exit"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({}, ""),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000"}, "ValueError from the settings in OTEL_*"),
        ({"OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_no_setting_keeps_the_daemon_from_starting(setting: dict[str, str], says: str) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} if setting else {}
    assert says in run(WORK, **endpoint, **setting).stderr


def test_a_host_that_traces_keeps_its_own_provider() -> None:
    code = """
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        own = TracerProvider(), MeterProvider()
        trace.set_tracer_provider(own[0]), metrics.set_meter_provider(own[1])
        from memoryd_telemetry.metrics import setup_metrics
        from memoryd_telemetry.tracing import setup_tracing
        setup_tracing("memoryd")(), setup_metrics("memoryd")()
        assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == own
    """
    assert run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9").stderr == ""


def test_the_client_needs_only_the_api_and_says_so_when_more_is_asked_for() -> None:
    code = """
        import sys
        for absent in ("opentelemetry.sdk", "opentelemetry.exporter", "structlog"):
            sys.modules[absent] = None
        from memoryd_telemetry import logs, metrics, names, propagation, tracing
        ends = tracing.setup_tracing("agent"), metrics.setup_metrics("agent")
        with tracing.operation("store", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
            print(propagation.inject())
        [end() for end in ends]
    """
    done = run(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.strip() == TRACEPARENT, "the agent's trace passes through a client that records nothing"
    assert done.stderr.count("SDK is not installed") == 2


# --- logs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Set the logs up, twice, and give what reads the lines written."""
    levels = {name: logging.getLogger(name).level for name in ("", "memoryd", "opentelemetry.exporter")}
    handlers = logging.getLogger().handlers
    setup_logs("DEBUG", "test")
    setup_logs("INFO", "test")
    (handler,) = [each for each in logging.getLogger().handlers if each.name == "memoryd"]
    assert isinstance(handler, logging.StreamHandler)
    stderr = io.StringIO()
    handler.setStream(stderr)  # pytest replaces sys.stderr between a fixture and its test
    yield lambda: [json.loads(line) for line in stderr.getvalue().splitlines()]
    logging.getLogger().handlers = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_line_is_json_with_its_time_level_and_trace(lines: Lines, spans: list[ReadableSpan]) -> None:
    log = get_logger("memoryd.test")
    log.debug("not this")
    log.info("started", port=6379, odd="\ud800\u202e")
    with operation("get"):
        log.warning("slow")
    plain, traced = lines()
    assert {**plain, "timestamp": ""} == {
        "event": "started", "level": "info", "logger": "memoryd.test", "service": "test", "timestamp": "",
        "port": 6379, "odd": "\ud800\u202e",
    }  # fmt: skip
    assert plain["timestamp"].endswith("Z")
    assert spans[0].context is not None
    assert traced["trace_id"] == trace.format_trace_id(spans[0].context.trace_id)
    assert traced["span_id"] == trace.format_span_id(spans[0].context.span_id)


def test_an_exception_in_a_log_is_its_type_and_place(lines: Lines) -> None:
    log = get_logger("memoryd.test")
    try:
        fail(MissingError(CANARY))
    except MissingError as error:
        log.exception("caught", error=error)
        log.warning("caught", exc_info=error)
        log.warning("caught", exc_info=sys.exc_info(), parts=[error, b"x", {"deep": error}])
    told = lines()
    assert [line["exc_type"] for line in told] == ["not_found"] * 3
    assert all(line["exc_at"].startswith("unit/test_telemetry.py:") for line in told)
    assert all(line["exc_at"].endswith(" in fail") for line in told)
    assert told[2]["parts"] == ["MissingError", "bytes", {"deep": "MissingError"}]
    assert CANARY not in json.dumps(told)


def test_a_library_is_heard_from_warning_on_without_the_values_it_speaks_of(lines: Lines) -> None:
    library = logging.getLogger("some.library")
    library.info("not this")
    try:
        fail(OSError(CANARY))
    except OSError:
        library.exception("could not send %s\n%s", CANARY, "more", stack_info=True)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("could not send %s", "error", "some.library")
    assert line["exc_type"] == "OSError"
    assert CANARY not in json.dumps(line)


def test_a_task_that_dies_alone_is_named_without_its_message(lines: Lines) -> None:
    async def die() -> None:
        raise ValueError(CANARY)

    async def forget() -> None:
        task = asyncio.create_task(die())
        await asyncio.sleep(0)
        del task

    asyncio.run(forget())
    told = lines()
    assert [(line["event"], line["exc_type"]) for line in told] == [
        ("Task exception was never retrieved", "ValueError")
    ]
    assert CANARY not in json.dumps(told)


def test_a_logger_works_without_a_set_up_and_is_as_silent_about_text(caplog: pytest.LogCaptureFixture) -> None:
    try:
        fail(ValueError(CANARY))
    except ValueError as error:
        get_logger("tests.alone").exception("caught", error=error)
    assert "'event': 'caught'" in caplog.text
    assert CANARY not in caplog.text
