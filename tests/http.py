"""A plain HTTP request, for the pages that a process of memoryd has about itself."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Page:
    """What was answered."""

    status: int
    body: str

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of a name that have these labels; a page of metrics."""
        return sum(value for found, having, value in self.samples() if found == name and labels.items() <= having.items())

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        """Every series: name, labels, value."""
        families = text_string_to_metric_families(self.body)
        return [(one.name, dict(one.labels), one.value) for family in families for one in family.samples]


async def fetch(port: int, path: str) -> Page:
    """GET of a path on loopback."""
    return await ask(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


async def ask(port: int, request: bytes) -> Page:
    """Whatever is answered to these bytes; status 0 when that is nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = b""
    try:
        with contextlib.suppress(ConnectionError):  # a server that refuses may close before it has read everything
            writer.write(request)
            await writer.drain()
            raw = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    status: Any = head.split(b" ")[1] if head else 0
    return Page(int(status), body.decode())
