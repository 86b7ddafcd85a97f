"""A small HTTP listener for probes and scrapes: GET of a few fixed paths, one answer a connection, nothing else.

It runs on the event loop of the process that it tells about: a process that answers here is one that works.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from memoryd.errors import ConfigError
from memoryd.limits import HEALTH_ANSWER_SECONDS, HEALTH_CONNECTIONS_MAX, HEALTH_REQUEST_BYTES_MAX
from memoryd_telemetry.metrics import exposition

PLAIN = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a page says."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = PLAIN


Page = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def listening(host: str, port: int, pages: Mapping[str, Page], *, setting: str) -> AsyncIterator[int]:
    """Answers `pages` by their paths for the block, and gives the port; port 0 listens nowhere.

    Raises ConfigError that names `setting` when the port cannot be had: a probe would ask somebody else there.
    """
    if not port:
        yield 0
        return
    listener = _Listener(pages)
    try:
        server = await asyncio.start_server(listener.accept, host, port, limit=HEALTH_REQUEST_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"{setting}: cannot listen on {host}:{port} ({error.strerror})", hint="name a free port, or 0 to have none"
        ) from error
    try:
        yield port
    finally:
        server.close()
        await listener.close()


async def live() -> Answer:
    """/live: the process is there and its event loop turns."""
    return Answer(b"live\n")


async def metrics() -> Answer:
    """/metrics: everything that is measured, for Prometheus."""
    text = await asyncio.to_thread(exposition)
    if text is None:
        return Answer(b"metrics are not collected in this process\n", HTTPStatus.NOT_FOUND)
    return Answer(text, content_type=PROMETHEUS)


class _Listener:
    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one more connection."""
        task = asyncio.create_task(self._serve(reader, writer), name="health page")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Leaves whoever is still connected."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads one request and answers it, in a bounded time."""
        try:
            async with asyncio.timeout(HEALTH_ANSWER_SECONDS):
                if len(self._open) > HEALTH_CONNECTIONS_MAX:
                    answer = Answer(b"too many connections\n", HTTPStatus.SERVICE_UNAVAILABLE)
                else:
                    answer = await self._answer(reader)
                writer.write(_encoded(answer))
                await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # whoever asked has gone, or sends too slowly
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Answer(b"the request is too long\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return Answer(b"the request is not whole\n", HTTPStatus.BAD_REQUEST)
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        if method != b"GET":
            return Answer(b"only GET is answered here\n", HTTPStatus.METHOD_NOT_ALLOWED)
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
        page = self._pages.get(path)
        if page is None:
            return Answer(f"there is {', '.join(self._pages)}\n".encode(), HTTPStatus.NOT_FOUND)
        return await page()


def _encoded(answer: Answer) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + answer.body
