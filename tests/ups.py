"""`memoryd up` as a process of its own, with everything that it starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.commands import COMMAND, clean_environment

START_SECONDS = 120  # two servers and two Pythons on a busy machine


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
        return await asyncio.wait_for(self.process.wait(), START_SECONDS)

    async def stdout(self) -> bytes:
        """What it has printed since the one line."""
        assert self.process.stdout
        return await self.process.stdout.read()


@asynccontextmanager
async def up(cache: Path, data: Path, *options: str, **settings: str) -> AsyncIterator[Up]:
    """Runs it on free ports, with its own servers and without a model."""
    environment = clean_environment() | {"MEMORYD_EMBEDDER": "none", "MEMORYD_CACHE_DIR": str(cache)} | settings
    words = ("up", "--json", "--data", str(data), "--redis-port", "0", "--mongo-port", "0", *options)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
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
    return [pid for pid, path in lines.items() if alive(pid) and str(data).encode() in read(path)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
