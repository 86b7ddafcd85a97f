"""A finished span as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from memoryd_telemetry import names as telemetry


class Span(msgspec.Struct, frozen=True):
    """Who did what when, and because of what; never what a memory says."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    """Nanoseconds since 1970."""
    end: int
    links: Sequence[tuple[str, str]] = ()
    """Trace and span of what caused it, of work on the journal."""
    error: str = ""
    """The error's type; empty when it went well."""
    attributes: dict[str, Any] = {}

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6

    @property
    def linked(self) -> set[str]:
        """The spans that its links name."""
        return {span_id for _, span_id in self.links}

    @property
    def memories(self) -> set[str]:
        """The ids of the memories that it names."""
        one = self.attributes.get(telemetry.RECORD_ID)
        return {*self.attributes.get(telemetry.RECORD_IDS, ()), *([one] if one else [])}
