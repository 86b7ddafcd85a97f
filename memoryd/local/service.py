"""memoryd's own processes as children: the daemon and sync."""

from __future__ import annotations

import json

from memoryd.local.processes import Process

READY_SECONDS = 600.0  # the first start may fetch an embedding model of 90 MB over a slow line


class Service(Process):
    """A process that says `{"ready": true, …}` on a line of its own when it is. All that it says goes to its log."""

    async def wait_until_ready(self) -> None:
        """Return when it has said so."""
        await self._wait_for(self._said_ready, READY_SECONDS)

    async def _said_ready(self) -> bool:
        return any(map(says_ready, self._said()))

    def _said(self) -> list[str]:
        with self.log.open(errors="replace") as log:
            log.seek(self._log_start)
            return log.read().splitlines()


def says_ready(line: str) -> bool:
    """Whether this line of a service says that it serves."""
    try:
        said = json.loads(line)
    except ValueError:  # plain words, or a line that is still being written
        return False
    return isinstance(said, dict) and said.get("ready") is True
