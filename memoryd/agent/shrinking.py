"""What has left full sessions that are still open gets summaries in the background, when the daemon is set to do so.

The messages are safe as memories by then. What a daemon does not get to before it dies, or has no room to note, is compressed
when the session is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from memoryd.errors import MemorydError
from memoryd.hot.changes import Request
from memoryd.lifecycle.compressing import Compressing
from memoryd.lifecycle.selection import Selection
from memoryd.limits import OVERFLOWS_WAITING_MAX
from memoryd.model.scope import Scope
from memoryd.retry import end
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.propagation import inject
from memoryd_telemetry.tracing import linked_span

log = get_logger("memoryd.sessions")

Left = tuple[Scope, Sequence[str], Request]


class Shrinking:
    """Compresses block after block of what has left sessions, oldest first."""

    def __init__(self, compressing: Compressing) -> None:
        self._compressing = compressing
        self._waiting: asyncio.Queue[Left] = asyncio.Queue(OVERFLOWS_WAITING_MAX)

    def note(self, scope: Scope, memory_ids: Sequence[str], request: Request) -> None:
        """These memories have been messages of this session, and left it together."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait((scope, memory_ids, request))

    async def run(self, stop: asyncio.Event) -> None:
        """Compresses until `stop` is set; a compression that is under way then is given up, and loses nothing."""
        work = asyncio.create_task(self._work(), name="compress what left sessions")
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await end(work)
        if not work.cancelled():
            work.result()

    async def _work(self) -> None:
        while True:
            scope, memory_ids, request = await self._waiting.get()
            try:
                with linked_span(telemetry.SHRINK, [request.traceparent], {telemetry.BATCH_SIZE: len(memory_ids)}):
                    mine = replace(request, traceparent=inject())
                    done = await self._compressing.compress(scope, Selection(ids=list(memory_ids)), request=mine)
            except MemorydError as error:
                log.warning("session.not_compressed", code=error.code, memories=len(memory_ids))
            else:
                log.info("session.shrunk", memories=done.memories, moved=done.moved, refused=done.refused)
