"""Spans: one for each verb, one for each batch of journal entries; what failed by its type, never by its message."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from memoryd_telemetry import names, otlp
from memoryd_telemetry.kept import KeptSpans
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.propagation import context_of, current_span, link_to, make_current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

LINKS_MAX = 500  # as many entries as the largest batch has: each write of it is linked, at about 30 bytes
ATTRIBUTE_CHARS_MAX = 256  # ids and names are shorter; text, where it is asked for, has limits of its own

P = ParamSpec("P")
T = TypeVar("T")

_tracer = trace.get_tracer(names.SCOPE)  # of the provider that is set until the first span
_kept: KeptSpans | None = None
_commands = False
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """Of which operations spans are kept: a share of all, every one that failed, and every one that took so long."""

    share: float = 1.0
    slow_milliseconds: float = 500.0


def setup_tracing(
    service_name: str, *, kept: bool = False, sampling: Sampling | None = None, stores: bool = False
) -> Callable[[], None]:
    """Send spans over OTLP/HTTP where OTEL_EXPORTER_OTLP_ENDPOINT (or its traces form) is set.

    The answer sends what is left and ends it, in 1 s at most. A collector that is away costs spans and nothing else.
    `kept`: finished spans are had from `kept_spans`, too. `stores`: each command to Redis and MongoDB of a client that is
    opened later is a span, too. A tracer provider that the host process has set is left as it is.
    """
    return otlp.start(
        lambda: _begin(service_name, sampling or Sampling(), kept=kept, stores=stores), wanted=kept or otlp.wanted("traces")
    )


def kept_spans() -> KeptSpans | None:
    """The finished spans of this process that wait to be taken away; None when nobody has asked for that at the set-up."""
    return _kept


def _begin(service_name: str, sampling: Sampling, *, kept: bool, stores: bool) -> Callable[[], None]:
    from memoryd_telemetry import text
    from memoryd_telemetry.recording import Recording
    from memoryd_telemetry.tail import Tail

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return lambda: None
    longest = text.RECORDS_CHARS_MAX if text.wanted() else ATTRIBUTE_CHARS_MAX
    # shutdown_on_exit would wait 30 s for an absent collector after our own bounded end.
    provider = Recording(chars_max=longest, resource=otlp.resource(service_name), shutdown_on_exit=False)
    behind: list[SpanProcessor] = []
    if otlp.wanted("traces"):
        from memoryd_telemetry.packing import Exporter, packed
        from memoryd_telemetry.sending import Sending

        behind.append(Sending(Exporter(provider.resource), packed))
    if kept:
        behind.append(_keeper(service_name))
    provider.add_span_processor(Tail(behind, sample=sampling.share, slow_milliseconds=sampling.slow_milliseconds))
    trace.set_tracer_provider(provider)
    global _tracer  # noqa: PLW0603 - the one before asks for it in each span
    _tracer = provider.get_tracer(names.SCOPE)
    if stores:
        _trace_stores()
    return provider.shutdown


def _trace_stores() -> None:
    try:
        from memoryd_telemetry.stores import trace_stores

        trace_stores()
    except ImportError:
        _log.warning("commands are not traced: OpenTelemetry's instrumentations are not installed (memoryd[daemon] brings them)")


def keep_spans(provider: TracerProvider, service_name: str) -> KeptSpans:
    """Have the spans of a provider kept from now on, as `kept_spans`."""
    provider.add_span_processor(_keeper(service_name))
    assert _kept is not None
    return _kept


def _keeper(service_name: str) -> SpanProcessor:
    from opentelemetry.sdk.trace import SpanProcessor

    class Keeper(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            keeping.put(span)

    global _kept  # noqa: PLW0603 - like the tracer provider, there is one of a process
    keeping = _kept = KeptSpans(service_name)
    return Keeper()


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
    with _Within(name, known, context=context_of(parent), kind=kind) as span:
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
def linked_span(
    name: str, traceparents: Sequence[str], attributes: Attributes = None, *, began: int | None = None
) -> Iterator[Span]:
    """A trace of its own for work on journal entries, with a link to each write (LINKS_MAX at most) that caused it.

    `began`: when the work began, in nanoseconds since 1970, where that was before it was known to be any.
    """
    with _Within(name, attributes, context=Context(), kind=SpanKind.CONSUMER, began=began) as span:
        add_links(traceparents)
        yield span


@contextmanager
def linked_spans(name: str, works: Sequence[tuple[Sequence[str], Attributes]]) -> Iterator[list[Span]]:
    """The same for several works that are done together: of each its causes and its attributes. None is the current span."""
    spans = [_tracer.start_span(name, Context(), SpanKind.CONSUMER, attributes) for _, attributes in works]
    for span, (traceparents, _) in zip(spans, works, strict=True):
        if span.is_recording():
            _link(span, traceparents)
    try:
        yield spans
    except BaseException as error:
        for span in spans:
            _fail(span, error)
        raise
    finally:
        for span in spans:
            span.end()


def received(traceparents: Sequence[str], attributes: Attributes = None) -> None:
    """Tells that notifications have come, as a trace of its own that links to what caused them. Of what nobody traced, nothing."""
    causes = [one for one in traceparents if one]
    if causes:
        with linked_span(names.RECEIVE, causes, attributes):
            pass


def add_links(traceparents: Sequence[str]) -> None:
    """Links the current span, which has none yet, to the writes that caused it, where that is known after its beginning."""
    if span := recorded():
        _link(span, traceparents)


def _link(span: Span, traceparents: Sequence[str]) -> None:
    links = [link for traceparent in dict.fromkeys(traceparents) for link in link_to(traceparent)]
    for one in links[:LINKS_MAX]:
        span.add_link(one.context)
    if len(links) > LINKS_MAX:
        span.set_attribute(names.LINKS_DROPPED, len(links) - LINKS_MAX)


def inner(name: str, attributes: Attributes = None) -> AbstractContextManager[Span]:
    """A part of what the current span does. Where that is not recorded, neither is this, and next to nothing is spent.

    Never one for each of many memories: a span costs what a memory costs.
    """
    return nullcontext(INVALID_SPAN) if recorded() is None else _Within(name, attributes)


def inside(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Has all that a coroutine function does be an `inner` part. What is to be told of it, the function tells `recorded()`."""

    def of(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def traced(*args: P.args, **kwargs: P.kwargs) -> T:
            if recorded() is None:
                return await function(*args, **kwargs)
            with _Within(name):
                return await function(*args, **kwargs)

        return traced

    return of


@contextmanager
def untraced() -> Iterator[None]:
    """What is done inside is part of no span: what brings spans to a store would make one by each, and never end."""
    token = attach(Context())
    try:
        yield
    finally:
        detach(token)


def recorded() -> Span | None:
    """The current span where it is recorded: what is told to nobody need not be counted either."""
    span = current_span()
    return span if span.is_recording() else None


def tell_commands() -> None:
    """Commands to the stores are spans from now on."""
    global _commands  # noqa: PLW0603 - the instrumentations are of the process, too
    _commands = True


def commands_told() -> bool:
    """Whether a command that is sent now is told as a part of the current span. Then several works do not share one."""
    return _commands and recorded() is not None


def tell(attributes: Mapping[str, AttributeValue]) -> None:
    """Attributes of the current span, where their values are at hand."""
    current_span().set_attributes(attributes)


def error_type(error: BaseException) -> str:
    """What kind of failure `error` is: its class's `code` where it has one, else the class's name."""
    # Of the class only: what an instance carries may come from a memory.
    code = getattr(type(error), "code", None)
    return code if isinstance(code, str) else type(error).__name__


class _Within(AbstractContextManager[Span]):
    """A new span, the current one for the block. As a generator it would cost half as much again as the span itself."""

    def __init__(
        self, name: str, attributes: Attributes = None, *, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL,
        began: int | None = None,
    ) -> None:  # fmt: skip
        self._span = _tracer.start_span(name, context, kind, attributes, start_time=began)

    def __enter__(self) -> Span:
        self._token = make_current(self._span)
        return self._span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None:
            _fail(self._span, error)
        detach(self._token)
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    # Its type only: `record_exception` would tell its message, which may quote a memory.
    span.set_attribute(names.ERROR_TYPE, error_type(error))
    span.set_status(StatusCode.ERROR)


def _count(verb: str, outcome: str, seconds: float) -> None:
    attributes = {names.VERB: verb, names.OUTCOME: outcome}
    measure(names.OPERATION_COUNT, 1, attributes)
    measure(names.OPERATION_DURATION, seconds, attributes)
