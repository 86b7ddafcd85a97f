"""Several daemons behind one command: each a process of its own on the same Redis, and started again when it dies.

They share the requests by Redis's consumer group, like daemons on several machines; nothing else joins them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from memoryd.errors import ServersUnavailable
from memoryd.limits import WORKER_PAUSE_SECONDS_MAX, WORKER_PAUSE_SECONDS_MIN, WORKER_STEADY_SECONDS
from memoryd.local.processes import STOP_SECONDS, dying_with_us
from memoryd.local.service import says_ready
from memoryd.retry import wait_for_stop
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.workers")

COMMAND = (sys.executable, "-m", "memoryd", "serve")


async def serve_with_workers(
    count: int, stop: asyncio.Event, *, health_port: int, ready: Callable[[], None] = lambda: None
) -> None:
    """Runs `count` daemons until `stop` is set, then has each finish what is in flight. `ready` is called when all serve.

    Worker n, from 0, answers probes on `health_port` + n; on none when that is 0. One that ends is started again, after a pause
    that grows while it dies young. Raises ServersUnavailable when one ends before it has ever served: it would again.
    """
    workers = [_Worker(number, _environment(number, health_port)) for number in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for one in workers:
            tasks.create_task(one.run(stop), name=f"worker {one.number}")
        await asyncio.gather(*(one.served.wait() for one in workers))
        if not stop.is_set():
            ready()


@dataclass
class _Worker:
    number: int
    environment: Mapping[str, str]
    served: asyncio.Event = field(default_factory=asyncio.Event)
    """Set for good once it has served, or need not any more."""

    async def run(self, stop: asyncio.Event) -> None:
        """Runs it, again and again."""
        pause = WORKER_PAUSE_SECONDS_MIN
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            code = await self._live(stop)
            if stop.is_set():
                break
            if not self.served.is_set():
                raise ServersUnavailable(
                    f"worker {self.number} ended with exit code {code} before it could serve", hint="its own words stand above"
                )
            if loop.time() - began >= WORKER_STEADY_SECONDS:
                pause = WORKER_PAUSE_SECONDS_MIN
            log.error("worker.ended", worker=self.number, exit_code=code, pause_seconds=pause)
            await wait_for_stop(stop, pause)
            pause = min(WORKER_PAUSE_SECONDS_MAX, pause * 2)
        self.served.set()

    async def _live(self, stop: asyncio.Event) -> int:
        """One life: from its start to its end, which `stop` brings about; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(COMMAND), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=self.environment,
            start_new_session=True,  # a signal to our group is for us to pass on
        )  # fmt: skip
        heard = asyncio.create_task(self._hear(process))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((heard, told), return_when=asyncio.FIRST_COMPLETED)
            if not heard.done():
                process.terminate()
                await asyncio.wait((heard,), timeout=STOP_SECONDS)
        finally:
            told.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            heard.cancel()
        return await process.wait()

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        """Reads what it says until it ends: that it is ready, and else nothing."""
        assert process.stdout is not None
        async for line in process.stdout:
            if says_ready(line.decode(errors="replace")):
                log.info("worker.ready", worker=self.number, pid=process.pid)
                self.served.set()


def _environment(number: int, health_port: int) -> dict[str, str]:
    port = {"MEMORYD_HEALTH_PORT": str(health_port + number)} if health_port else {}
    return {**os.environ, "PYTHONUNBUFFERED": "1", **port}
