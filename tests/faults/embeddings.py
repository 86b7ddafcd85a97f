"""The one fake of the laboratory: an OpenAI-compatible embeddings endpoint whose vectors are hashes of the texts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tests.fakes import HashEmbedder

MODEL = "hash-embedder"
DIMS = 8


class Embeddings:
    """Serves `POST /embeddings` on loopback, one request a connection."""

    def __init__(self) -> None:
        self._embedder = HashEmbedder(DIMS)

    @property
    def url(self) -> str:
        """What MEMORYD_EMBED_URL is to be."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listens no more."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # a daemon that was killed while it asked
            body = await _body(reader)
            answer = json.dumps({"data": await self._vectors(json.loads(body)["input"])}).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + answer)
            await writer.drain()
        writer.close()

    async def _vectors(self, texts: list[str]) -> list[dict[str, Any]]:
        rows = await self._embedder.embed(texts)
        return [{"index": index, "embedding": row.tolist()} for index, row in enumerate(rows)]


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    [length] = [line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length:")]
    return await reader.readexactly(int(length))
