"""A loopback port that passes bytes on to a server, until it is told to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

CHUNK = 65536


@dataclass(eq=False)
class Link:
    """One connection: what the client holds, and what the server holds."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def close(self) -> None:
        """An orderly end on both sides."""
        for writer in (self.client, self.server):
            writer.close()

    def reset(self) -> None:
        """A TCP reset on both sides: what was on its way is gone."""
        for writer in (self.client, self.server):
            held = writer.get_extra_info("socket")
            if held is not None:
                with contextlib.suppress(OSError):
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def half_close(self) -> None:
        """The client hears nothing any more and is told so; what it says still arrives."""
        with contextlib.suppress(OSError, RuntimeError):
            self.client.write_eof()


class Proxy:
    """Stands before the server at `port`. `delay` holds every chunk; `deaf` lets nothing through, and nobody know."""

    def __init__(self, port: int, listen: int = 0) -> None:
        self.target = port
        self.port = listen
        self.delay = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._deaf_at = b""
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens, on a free port unless one was given."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends every connection and listens no more."""
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Passes everything on again."""
        self.delay, self._deaf_at = 0.0, b""
        self._open.set()

    @property
    def deaf(self) -> bool:
        """Whether nothing passes."""
        return not self._open.is_set()

    def go_deaf_at(self, word: bytes) -> None:
        """Goes deaf with the first chunk that has this in it."""
        self._deaf_at = word

    def go_deaf(self) -> None:
        """Nothing passes until `heal`: connections stand, and nobody answers."""
        self._open.clear()

    def each(
        self, act: Callable[[Link], None], some: Callable[[list[Link]], Iterable[Link]] = lambda all_: all_
    ) -> None:
        """Does something to the connections of now, or to some of them."""
        for link in list(some(list(self._links))):
            act(link)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or the laboratory ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        link = Link(writer, server_writer)
        self._links.add(link)
        try:
            pumps = [
                asyncio.ensure_future(self._pump(reader, server_writer)),
                asyncio.ensure_future(self._pump(server_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: written after a half-close
            while data := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if self._deaf_at and self._deaf_at in data:
                    self.go_deaf()
                await self._open.wait()
                writer.write(data)
                await writer.drain()
