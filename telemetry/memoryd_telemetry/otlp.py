"""What sending spans and sending metrics have in common: when it is on, who we say we are, and a bounded end."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

CLOSE_SECONDS_MAX = 1.0  # a collector that is there takes the rest in milliseconds; then the rest is dropped

_log = logging.getLogger(__name__)


def start(begin: Callable[[], Callable[[], None]], *, wanted: bool) -> Callable[[], None]:
    """Begin sending if it is `wanted`; the answer ends it, within CLOSE_SECONDS_MAX. Never raises.

    `begin` opens the sender and gives what closes it.
    """
    if not wanted:
        return _nothing
    try:
        close = begin()
    except ImportError:
        _log.warning("telemetry is not sent: the OpenTelemetry SDK is not installed (memoryd[daemon] brings it)")
        return _nothing
    except Exception as error:  # a wrong OTEL_* setting must not keep memories from being served
        _log.warning(f"telemetry is not sent: {type(error).__name__} from the settings in OTEL_*")
        return _nothing
    return lambda: _within(CLOSE_SECONDS_MAX, close)


def resource(service_name: str) -> Resource:
    """This process as a source of telemetry. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are respected."""
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or service_name,
            "service.version": _version(),
        }
    )


def wanted(signal: Literal["traces", "metrics"]) -> bool:
    """Whether an endpoint is set and `OTEL_<SIGNAL>_EXPORTER=none` does not switch this signal off."""
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return any(map(os.environ.get, endpoints)) and os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") != "none"


def _version() -> str:
    try:
        return version("memoryd")
    except PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed


def _within(seconds: float, close: Callable[[], None]) -> None:
    # The SDK waits up to 30 s for a collector that does not answer, and takes no other time from us.
    closing = threading.Thread(target=close, name="telemetry-close", daemon=True)
    closing.start()
    closing.join(seconds)


def _nothing() -> None:
    """Nothing was begun, so nothing has to end."""
