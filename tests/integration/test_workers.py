"""`--workers`: several daemons behind one command share the requests; one that dies is replaced, and all end together."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from memoryd import connect, keys
from memoryd.config import Settings
from memoryd.hot.client import open_redis
from memoryd.local.ports import free_port
from tests.integration.commands import COMMAND, clean_environment
from tests.ups import alive, processes_on, read, up
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and only Linux ends orphans")


def two_ports() -> int:
    """The first of two neighbours that are free."""
    while True:
        first = free_port()
        with socket.socket() as other:
            try:
                other.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            return first


def listening(port: int) -> socket.socket:
    """Somebody who has this port, until it is closed."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


async def daemons(redis: Redis) -> dict[int, str]:
    """Who reads requests: process id and name, as Redis knows them."""
    client: Any = redis
    [group] = await client.xinfo_groups(keys.REQUESTS)
    names = [one["name"].decode() for one in await client.xinfo_consumers(keys.REQUESTS, group["name"])]
    return {int(name.split("-")[-2]): name for name in names if alive(int(name.split("-")[-2]))}


async def answers(port: int) -> bool:
    """Whether somebody says on this port that it lives."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /live HTTP/1.1\r\nHost: here\r\n\r\n")
    said = await reader.read()
    writer.close()
    return said.endswith(b"live\n")


def part_of(folder: Path) -> list[Path]:
    """Processes that were told so, or whose parents were."""
    environments = (path for path in Path("/proc").glob("[0-9]*/environ") if alive(int(path.parent.name)))
    return [path for path in environments if f"PART_OF={folder}".encode() in read(path)]


async def test_two_workers_share_the_work_and_one_that_is_killed_is_replaced(local_settings: Settings, tmp_path: Path) -> None:
    """No store fails meanwhile; SIGTERM ends all of them, with exit code 0."""
    port = two_ports()
    async with up(local_settings.cache_dir, tmp_path / "data", "--workers", "2", MEMORYD_HEALTH_PORT=str(port)) as running:
        async with open_redis(running.redis) as redis, connect(running.redis, tenant="acme", timeout_seconds=120) as memory:

            async def two() -> dict[int, str] | None:
                found = await daemons(redis)
                return found if len(found) == 2 else None

            first = await eventually(two, what="two daemons serve")
            assert first.keys() <= set(running.pids)
            await eventually(lambda: answers(port), what="the first one's page is there")
            await eventually(lambda: answers(port + 1), what="the other one's page is there")
            kept = await asyncio.gather(*(memory.store(f"Ada saw bird {number}.") for number in range(20)))
            killed = min(first)
            os.kill(killed, signal.SIGKILL)
            kept += await asyncio.gather(*(memory.store(f"Ada heard bird {number}.") for number in range(20)))
            assert len({(await memory.get(one.id)).content for one in kept}) == 40
            second = await eventually(two, what="the dead one was replaced")
            assert len(second.keys() - first.keys()) == 1
            await eventually(lambda: answers(port), what="its port is answered again")
        assert await running.ends(signal.SIGTERM) == 0
        assert [pid for pid in (*running.pids, *second) if alive(pid)] == []
        assert processes_on(tmp_path) == []


async def test_workers_that_cannot_serve_end_the_command_and_say_why(tmp_path: Path) -> None:
    """Started again they would end again; and what was started is not left behind."""
    port = two_ports()
    with listening(port), listening(port + 1):
        settings = {"MEMORYD_HEALTH_PORT": str(port), "MEMORYD_EMBEDDER": "none", "PART_OF": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "serve", "--workers", "2", env=clean_environment() | settings, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 5
    assert b"MEMORYD_HEALTH_PORT: cannot listen" in said
    assert re.search(rb"worker [01] ended with exit code", said)
    assert not part_of(tmp_path)
