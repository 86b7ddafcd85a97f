"""One holder at a time, by a lock that the kernel frees when the holder dies: it is never stale after `kill -9`."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from memoryd.errors import ServersUnavailable

POLL_SECONDS = 0.1


class Held(ServersUnavailable):
    """Another process holds the lock; `details["pid"]` says which."""


@asynccontextmanager
async def held(path: Path, *, wait_seconds: float) -> AsyncIterator[None]:
    """Hold the lock at `path` for the block. Raises Held when another process still has it after `wait_seconds`."""
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while (file := _try_to_hold(path)) is None:
        if asyncio.get_running_loop().time() >= deadline:
            raise Held(f"{path} is held by process {_holder(path)}", pid=_holder(path))
        await asyncio.sleep(POLL_SECONDS)
    with file:
        yield


def _try_to_hold(path: Path) -> IO[str] | None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _holder(path: Path) -> str:
    return path.read_text().strip() or "unknown"
