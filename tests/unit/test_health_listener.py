"""The listener for probes answers its few pages, and whatever else comes, it is neither stopped nor kept waiting by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import memoryd.health.listener
from memoryd.errors import ConfigError
from memoryd.health.listener import Answer, listening, live
from memoryd.limits import HEALTH_CONNECTIONS_MAX
from memoryd.local.ports import free_port
from tests.http import ask, fetch
from tests.waiting import eventually


async def slow() -> Answer:
    """A page that takes too long."""
    await asyncio.sleep(60)
    return Answer(b"")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where two pages are answered."""
    async with listening("127.0.0.1", free_port(), {"/live": live, "/slow": slow}, setting="PORT") as port:
        yield port


async def test_a_page_is_answered_by_its_path(port: int) -> None:
    assert (await fetch(port, "/live")).body == "live\n"
    assert (await fetch(port, "/live?from=probe")).status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404), (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404), (b"POST /live HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 405), (b"\xff\x00 \xfe\r\n\r\n", 405), (b"GET /\xff HTTP/1.1\r\n\r\n", 404),
        (b"GET /live HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    ],
)  # fmt: skip
async def test_what_is_no_such_request_is_refused(port: int, request_: bytes, status: int) -> None:
    """A long one may find the connection closed before it was sent whole."""
    assert (await ask(port, request_)).status in {status, 0 if status == 431 else status}
    assert (await fetch(port, "/live")).status == 200


async def test_nobody_keeps_a_connection_for_long_or_takes_all_of_them(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends nothing, and who asks for a page that does not come, are left; so the next one is answered again."""
    monkeypatch.setattr(memoryd.health.listener, "HEALTH_ANSWER_SECONDS", 2.0)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(HEALTH_CONNECTIONS_MAX)]
    assert (await fetch(port, "/live")).status in {503, 0}

    async def answered() -> bool:
        return (await fetch(port, "/live")).status == 200

    await eventually(answered, what="the silent ones are gone")
    assert (await fetch(port, "/slow")).status == 0
    for _, writer in silent:
        writer.close()


async def test_a_port_that_is_taken_is_a_wrong_setting_and_none_is_none(port: int) -> None:
    """A probe would ask another process there, and believe it."""
    with pytest.raises(ConfigError, match="PORT: cannot listen on"):
        async with listening("127.0.0.1", port, {}, setting="PORT"):
            pass
    async with listening("127.0.0.1", 0, {}, setting="PORT") as nowhere:
        assert nowhere == 0
