"""`memoryd up` as a person runs it: one line says where everything is, the data stays, and nothing is left running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from memoryd import connect
from memoryd.config import Settings
from tests.ups import Up, alive, processes_on, read, up
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and only Linux ends orphans")
async def store(running: Up, content: str) -> str:
    """Stores through its Redis; the id."""
    async with connect(running.redis, tenant="acme") as memory:
        return (await memory.store(content, type="fact", durability="archived")).id


async def test_it_serves_keeps_its_data_and_drains(local_settings: Settings, tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0 and all its parts with it; the same data, and the memory is there again."""
    async with up(local_settings.cache_dir, tmp_path / "data") as running:
        kept = await store(running, "Ada prefers tea.")
        assert Path(running.data) == tmp_path / "data"
        assert len(running.pids) == 5  # itself, Redis, MongoDB, the daemon, sync
        assert await running.ends(signal.SIGTERM) == 0
        assert await running.stdout() == b""
        assert [pid for pid in running.pids if alive(pid)] == []
        assert processes_on(tmp_path) == []

    async with up(local_settings.cache_dir, tmp_path / "data") as running, connect(running.redis, tenant="acme") as memory:
        assert (await memory.get(kept)).content == "Ada prefers tea."
        stats = await memory.stats()
        assert (stats.memories, stats.archive.memories, stats.dead_letters) == (1, 1, 0)
        assert await running.ends(signal.SIGINT) == 0
        assert processes_on(tmp_path) == []


async def test_killed_it_takes_all_its_parts_along_and_starts_again(local_settings: Settings, tmp_path: Path) -> None:
    """`kill -9` gives nobody time to tidy up: no orphan keeps the data, and what was acknowledged is there."""
    async with up(local_settings.cache_dir, tmp_path / "data") as running:
        kept = await store(running, "Ada prefers tea.")
        async with connect(running.redis, tenant="acme") as memory:
            last = (await memory.store("Ada paints.", type="fact")).id
            assert await running.ends(signal.SIGKILL) == -signal.SIGKILL
        await eventually(lambda: not any(map(alive, running.pids)), what="its parts have ended too")
        await eventually(lambda: not processes_on(tmp_path), what="nobody is at the data")

    async with up(local_settings.cache_dir, tmp_path / "data") as running, connect(running.redis, tenant="acme") as memory:
        assert {(await memory.get(one)).content for one in (kept, last)} == {"Ada prefers tea.", "Ada paints."}
        assert await running.ends(signal.SIGTERM) == 0


async def test_when_a_part_dies_the_rest_is_drained_and_named(local_settings: Settings, tmp_path: Path) -> None:
    """Half a memoryd is none: it ends with exit code 5 and says which log to read."""
    async with up(local_settings.cache_dir, tmp_path / "data") as running:
        [daemon] = [pid for pid in running.pids if read(Path(f"/proc/{pid}/cmdline")).endswith(b"memoryd\0serve\0--workers\x001\0")]
        os.kill(daemon, signal.SIGKILL)
        assert running.process.stderr
        said = await asyncio.wait_for(running.process.stderr.read(), 120)
        assert await running.process.wait() == 5
        assert b"daemon ended by itself" in said
        assert b"daemon.log" in said
        assert [pid for pid in running.pids if alive(pid)] == []
