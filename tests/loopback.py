"""An HTTP endpoint on loopback that answers as a test says: the one fake that stands in for a service of others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """What was asked; `body` is the JSON that came, None when none did."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Answer:
    """What is said to one call."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before it


def in_json(value: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(value).encode())


@contextmanager
def serving(answer: Callable[[Call], Answer]) -> Iterator[str]:
    """Serves for the length of the block, each call in a thread of its own; the URL, without a slash at its end."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = answer(Call(self.command, self.path, dict(self.headers), json.loads(raw) if raw else None))
            time.sleep(said.delay)
            try:
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said.body)
            except OSError:
                self.close_connection = True  # the caller did not wait

        do_GET = do_POST = do_PATCH = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
