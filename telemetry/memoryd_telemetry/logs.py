"""Logs: one JSON line an event on stderr, with the trace's id. An exception is its type and its place, not its message.

Our loggers end in the standard library's, so that a host process, or a test, may send the records where it likes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from memoryd_telemetry.kept import KeptLines
from memoryd_telemetry.tracing import error_type

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import Processor

OUR_PACKAGES = ("memoryd", "memoryd_schemas", "memoryd_sync", "memoryd_telemetry")
LIBRARY_CHARS_MAX = 200  # of a library's line: enough to know it by
_HANDLER = "memoryd"

Fields = MutableMapping[str, Any]

_kept: KeptLines | None = None


def get_logger(name: str) -> BoundLogger:
    """The logger of a module: `log.info("stable event name", field=value)`. Fields must not hold memory text."""
    from structlog import processors, stdlib, wrap_logger

    about: list[Processor] = [stdlib.filter_by_level, stdlib.add_logger_name, stdlib.add_log_level]
    stamp = processors.TimeStamper(fmt="iso", utc=True)
    logger: BoundLogger = wrap_logger(
        logging.getLogger(name),
        processors=[*about, stamp, add_trace, strip_exception, strip_objects, hand_over],
        wrapper_class=stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def setup_logs(level: str, service: str, *, kept: bool = False) -> None:
    """Write our events from `level` on, and libraries' from WARNING on, to stderr. A second call replaces the first.

    `kept`: they are had from `kept_lines`, too.
    """
    global _kept  # noqa: PLW0603 - like the root logger, there is one of a process
    formatter = _formatter(service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    _kept = KeptLines(formatter) if kept else None
    handlers: list[logging.Handler] = [handler, *([_kept] if _kept else [])]
    for one in handlers:
        one.set_name(_HANDLER)
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if other.name != _HANDLER] + handlers
    root.setLevel(logging.WARNING)
    # A collector that is away: one line for each batch that is lost, not one for each retry.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(level)


def kept_lines() -> KeptLines | None:
    """The lines of this process that wait to be taken away; None when nobody has asked for that at the set-up."""
    return _kept


def _formatter(service: str) -> logging.Formatter:
    from structlog import processors, stdlib

    def add_service(_: Any, __: str, fields: Fields) -> Fields:
        return {"service": service, **fields}

    stamp = processors.TimeStamper(fmt="iso", utc=True)
    about: list[Processor] = [stdlib.add_logger_name, stdlib.add_log_level, stamp]
    return stdlib.ProcessorFormatter(
        foreign_pre_chain=[*about, add_trace, strip_exception, strip_library_line],
        processors=[stdlib.ProcessorFormatter.remove_processors_meta, add_service, processors.JSONRenderer()],
        use_get_message=False,  # see strip_library_line
    )


def hand_over(logger: logging.Logger, method: str, fields: Fields) -> tuple[tuple[Fields], dict[str, Any]]:
    """Pass the event to the standard library's logger, which must not look for the exception itself."""
    from structlog.stdlib import ProcessorFormatter

    event, options = ProcessorFormatter.wrap_for_formatter(logger, method, fields)
    return event, {**options, "exc_info": False}  # its `exception` would else add message and stack trace again


def add_trace(_: Any, __: str, fields: Fields) -> Fields:
    """Name the current span, so that a line leads to its trace."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = trace.format_trace_id(span.trace_id)
        fields["span_id"] = trace.format_span_id(span.span_id)
    return fields


def strip_exception(_: Any, __: str, fields: Fields) -> Fields:
    """Put an exception's type and place where its message and stack trace would be: they may quote a memory."""
    given = fields.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if given is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        fields.update(exc_type=error_type(error), exc_at=place(error.__traceback__))
    return fields


def place(traceback: TracebackType | None) -> str:
    """Where an exception was raised, as `folder/file.py:line in function`."""
    if traceback is None:
        return "unknown"
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{traceback.tb_lineno} in {code.co_name}"


def strip_library_line(_: Any, __: str, fields: Fields) -> Fields:
    """Keep the first line of a library's message, its values not filled in: commands and objects may quote a memory."""
    fields["event"] = fields["event"].partition("\n")[0][:LIBRARY_CHARS_MAX]
    fields.pop("stack_info", None)
    return fields


def strip_objects(_: Any, __: str, fields: Fields) -> Fields:
    """Put an object's type where the object would be: what it prints as may quote a memory."""
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if isinstance(key, str)}
    return type(value).__name__
