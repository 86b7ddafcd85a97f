"""Commands to Redis and MongoDB as spans, made by OpenTelemetry's own instrumentations, of which nothing leaks here.

Both would tell too much: arguments of a pipeline that failed (in the message, the stack trace and the status), whole documents
that a search found, statements, a span for each look at an empty queue; and too little: writes that MongoDB refused look like
success. So they get a tracer of ours instead of the SDK's. What it makes is a span only inside of recorded work, and all that
the instrumentations say to it passes `_Closed`, which knows what may be told: this is the only place that decides it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from memoryd_telemetry import names
from memoryd_telemetry.tracing import error_type, recorded, tell_commands

_COMMAND = re.compile(r"[A-Za-z][A-Za-z0-9._]{0,39}(?: [A-Za-z-]{1,20})?")  # HSET, FT.SEARCH, XGROUP CREATE, findAndModify
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,59}")  # MongoDB's names of errors, and Python's
_RENAMED = {"redis.search": "FT.SEARCH", "redis.create_index": "FT.CREATE"}
# What an instrumentation says, in the old words of the convention or in the new ones, and as what it is told. All else is not:
# statements, documents, what was searched for.
_TOLD: Final = {
    "db.system": names.DB_SYSTEM,
    names.DB_SYSTEM: names.DB_SYSTEM,
    "db.mongodb.collection": names.DB_COLLECTION,
    names.DB_COLLECTION: names.DB_COLLECTION,
    "db.redis.pipeline_length": names.DB_BATCH_SIZE,
    names.DB_BATCH_SIZE: names.DB_BATCH_SIZE,
    "net.peer.name": names.SERVER_ADDRESS,
    names.SERVER_ADDRESS: names.SERVER_ADDRESS,
    "net.peer.port": names.SERVER_PORT,
    names.SERVER_PORT: names.SERVER_PORT,
}
_DUPLICATE_KEY = 11000
_UNSENT = "redis"  # what a pipeline without a command is called, which Redis never sees


def trace_stores() -> None:
    """Has each command of clients that are opened from now on be a span, inside of work that is recorded."""
    from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    provider = _Provider()
    RedisInstrumentor().instrument(tracer_provider=provider, response_hook=_redis_answered)
    PymongoInstrumentor().instrument(
        tracer_provider=provider, response_hook=_mongo_answered, failed_hook=_mongo_failed, capture_statement=False
    )
    tell_commands()


class _Provider(trace.TracerProvider):
    """What the instrumentations take for the SDK's."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        return _Tracer("redis" if instrumenting_module_name.endswith("redis") else "mongodb")


class _Tracer(trace.Tracer):
    """Begins a span where work is recorded. Polls, probes and gauges belong to none; and a wait is one span, not one a look."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._tracer = trace.get_tracer(names.SCOPE)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.CLIENT,
        attributes: Attributes = None,
        links: Any = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        around = recorded()
        if around is None or getattr(around, "name", "") == names.WAIT or name == _UNSENT:
            return INVALID_SPAN
        return _Closed(self._tracer.start_span(f"{self._store} {self._command(name)}".rstrip(), kind=SpanKind.CLIENT), self._store)

    @contextmanager
    def start_as_current_span(self, name: str, *_: Any, **__: Any) -> Iterator[Span]:  # type: ignore[override]
        span = self.start_span(name)
        if not span.is_recording():
            yield span
            return
        with trace.use_span(span, end_on_exit=True):
            yield span

    def _command(self, name: str) -> str:
        """The command's name; empty where it is not one."""
        name = _RENAMED.get(name, name) if self._store == "redis" else name.rpartition(".")[2]
        return name if _COMMAND.fullmatch(name) else ""


class _Closed(Span):
    """A span that passes on what may be told, and nothing else. It has no `name` by which an instrumentation would add more."""

    name = ""

    def __init__(self, span: Span, store: str) -> None:
        self._span, self._store = span, store

    @property
    def part(self) -> Any:
        """What its span is a part of: so is what begins inside of it."""
        return getattr(self._span, "part", None)

    def failed(self, kind: str) -> None:
        """Notes what kind of failure it was."""
        self._span.set_attribute(names.ERROR_TYPE, kind if _CODE.fullmatch(kind) else "error")
        self._span.set_status(StatusCode.ERROR)

    def refused(self, code: int) -> None:
        """Notes that MongoDB has refused a write of those that it was sent."""
        self._span.set_attribute(names.DB_STATUS, str(code))

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        told = _TOLD.get(key)
        if told is None:
            return
        if told == names.DB_BATCH_SIZE:
            self._span.update_name(f"{self._store} PIPELINE")  # its name lists the commands, up to thousands
        self._span.set_attribute(told, value)

    def record_exception(
        self, exception: BaseException, attributes: Attributes = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        self.failed(error_type(exception))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._span.set_status(status.status_code if isinstance(status, Status) else status)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Nothing that an instrumentation calls an event is told."""

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Nor does a command have causes of its own."""

    def update_name(self, name: str) -> None:
        """Its name is decided here."""

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time)


def _redis_answered(span: Span, instance: Any, response: Any) -> None:
    """What a pipeline gives instead of raising is a failure, too."""
    if isinstance(span, _Closed) and isinstance(response, list):
        failure = next((one for one in response if isinstance(one, Exception)), None)
        if failure is not None:
            span.failed(error_type(failure))


def _mongo_answered(span: Span, event: Any) -> None:
    """A refused write comes in an answer that is "ok"."""
    if not isinstance(span, _Closed):
        return
    codes = [one.get("code", 0) for one in event.reply.get("writeErrors", ())]
    if unmajority := event.reply.get("writeConcernError"):
        span.refused(unmajority.get("code", 0))
        span.failed("WriteConcernError")
    if codes:
        # What is there is as new as what was sent: memoryd's own condition of a write says no in this way.
        graver = [code for code in codes if code != _DUPLICATE_KEY]
        span.refused((graver or codes)[0])
        if graver:
            span.failed("WriteError")


def _mongo_failed(span: Span, event: Any) -> None:
    """By the server's name for it, or the driver's class."""
    if isinstance(span, _Closed):
        span.failed(str(event.failure.get("codeName") or event.failure.get("errtype") or "error"))
