"""`memoryd up` as a person runs it: one line says where everything is, the data stays, and nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from memoryd import connect
from memoryd.config import Settings
from tests.integration.commands import COMMAND, clean_environment
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and only Linux ends orphans")
START_SECONDS = 60  # two servers and two Pythons on a busy machine


@dataclass
class Up:
    """A running `memoryd up --json`, and all the processes that it has started."""

    process: asyncio.subprocess.Process
    redis: str
    mongo: str
    data: str
    pids: list[int]

    async def ends(self, number: signal.Signals) -> int:
        """Sends it a signal; its exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def stdout(self) -> bytes:
        """What it has printed since the one line."""
        assert self.process.stdout
        return await self.process.stdout.read()


@asynccontextmanager
async def up(settings: Settings, data: Path) -> AsyncIterator[Up]:
    """Runs it on free ports, with its own servers and without a model."""
    environment = clean_environment() | {"MEMORYD_EMBEDDER": "none", "MEMORYD_CACHE_DIR": str(settings.cache_dir)}
    words = ("up", "--json", "--data", str(data), "--redis-port", "0", "--mongo-port", "0")
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    pids = [process.pid]
    try:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        said = json.loads(line or b'{"ended": true}')
        pids += descendants(process.pid)
        assert said.keys() == {"redis", "mongo", "pid", "data"}
        assert said["pid"] == process.pid
        yield Up(process, said["redis"], said["mongo"], said["data"], pids)
    finally:
        for pid in filter(alive, pids):
            os.kill(pid, signal.SIGKILL)
        await process.wait()


def descendants(pid: int) -> list[int]:
    """Its children and theirs."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return children + [one for child in children for one in descendants(child)]


def alive(pid: int) -> bool:
    """Whether it runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes_on(data: Path) -> list[int]:
    """Every process whose command line names this folder."""
    lines = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [pid for pid, path in lines.items() if alive(pid) and str(data).encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def store(running: Up, content: str) -> str:
    """Stores through its Redis; the id."""
    async with connect(running.redis, tenant="acme") as memory:
        return (await memory.store(content, type="fact", durability="archived")).id


async def test_it_serves_keeps_its_data_and_drains(local_settings: Settings, tmp_path: Path) -> None:
    """SIGTERM ends it with exit code 0 and all its parts with it; the same data, and the memory is there again."""
    async with up(local_settings, tmp_path / "data") as running:
        kept = await store(running, "Ada prefers tea.")
        assert Path(running.data) == tmp_path / "data"
        assert len(running.pids) == 5  # itself, Redis, MongoDB, the daemon, sync
        assert await running.ends(signal.SIGTERM) == 0
        assert await running.stdout() == b""
        assert [pid for pid in running.pids if alive(pid)] == []
        assert processes_on(tmp_path) == []

    async with up(local_settings, tmp_path / "data") as running, connect(running.redis, tenant="acme") as memory:
        assert (await memory.get(kept)).content == "Ada prefers tea."
        stats = await memory.stats()
        assert (stats.memories, stats.archive.memories, stats.dead_letters) == (1, 1, 0)
        assert await running.ends(signal.SIGINT) == 0
        assert processes_on(tmp_path) == []


async def test_killed_it_takes_all_its_parts_along_and_starts_again(local_settings: Settings, tmp_path: Path) -> None:
    """`kill -9` gives nobody time to tidy up: no orphan keeps the data, and what was acknowledged is there."""
    async with up(local_settings, tmp_path / "data") as running:
        kept = await store(running, "Ada prefers tea.")
        async with connect(running.redis, tenant="acme") as memory:
            last = (await memory.store("Ada paints.", type="fact")).id
            assert await running.ends(signal.SIGKILL) == -signal.SIGKILL
        await eventually(lambda: not any(map(alive, running.pids)), what="its parts have ended too")
        assert processes_on(tmp_path) == []

    async with up(local_settings, tmp_path / "data") as running, connect(running.redis, tenant="acme") as memory:
        assert {(await memory.get(one)).content for one in (kept, last)} == {"Ada prefers tea.", "Ada paints."}
        assert await running.ends(signal.SIGTERM) == 0


async def test_when_a_part_dies_the_rest_is_drained_and_named(local_settings: Settings, tmp_path: Path) -> None:
    """Half a memoryd is none: it ends with exit code 5 and says which log to read."""
    async with up(local_settings, tmp_path / "data") as running:
        [daemon] = [pid for pid in running.pids if _read(Path(f"/proc/{pid}/cmdline")).endswith(b"memoryd\0serve\0")]
        os.kill(daemon, signal.SIGKILL)
        assert running.process.stderr
        said = await asyncio.wait_for(running.process.stderr.read(), 30)
        assert await running.process.wait() == 5
        assert b"daemon ended by itself" in said
        assert b"daemon.log" in said
        assert [pid for pid in running.pids if alive(pid)] == []
