"""A Redis with search, JSON, Bloom filters and time series, on this machine's loopback."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from memoryd.limits import COMPACT_FIELD_BYTES
from memoryd.local.ports import free_port, wait_until_free
from memoryd.local.processes import Process, open_log
from memoryd.local.program import Program

START_SECONDS = 60.0  # an empty one needs 0.3 s; the rest is for reading a large append-only file
CHECK_SECONDS = 600.0  # reads the file once, as fast as the disk
# One command of each module, and WAITAOF (Redis 7.2) for `durability=fsync`.
NEEDED_COMMANDS = ("FT.SEARCH", "JSON.SET", "BF.ADD", "TS.ADD", "WAITAOF")


class RedisServer(Process):
    """A Redis that keeps what it has acknowledged: writes go to its append-only file, and nothing is ever evicted.

    Port 0 takes a free port and keeps it over restarts.
    """

    def __init__(self, program: Program, data: Path, log: Path, port: int = 0) -> None:
        self.data = data
        self.port = port or free_port()
        super().__init__("Redis", (*program.command, *_options(data, self.port)), log)

    @property
    def url(self) -> str:
        """Where clients find it; the same after a restart."""
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and return when it has read its data. Raises ServersUnavailable, also when the port is in use."""
        await wait_until_free(self.port, "Redis", "--redis-port", "MEMORYD_REDIS_URL")
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._end_whole)
        await super().start()

    async def wait_until_ready(self) -> None:
        """Return when it answers."""
        async with self._client() as client:
            await self._wait_for(lambda: self._answers(client), START_SECONDS)

    def _end_whole(self) -> None:
        """Cuts a transaction that a loss of power has cut off the end of the file, from its beginning.

        Redis (7.4.1) drops it, too, but cuts the file only after its last whole command: what is written then goes on from there,
        and the start after the next carries out the half that was dropped before (docs/decisions/0021).
        """
        files = sorted((self.data / "appendonlydir").glob("*.incr.aof"), key=lambda one: int(one.name.split(".")[-3]))
        server = Path(self.command[0])
        if files and server.name == "redis-server":  # which is `redis-check-aof` when it is called so
            with open_log(self.log) as log, contextlib.suppress(OSError, subprocess.TimeoutExpired):
                # What it cannot mend, Redis will name when it starts.
                subprocess.run(  # noqa: S603 - the server that we start anyway
                    ["redis-check-aof", "--fix", files[-1]],  # noqa: S607
                    executable=server, input=b"y\n", stdout=log, stderr=log, timeout=CHECK_SECONDS, check=False,
                )  # fmt: skip

    async def missing_commands(self) -> list[str]:
        """Which of NEEDED_COMMANDS it does not have."""
        async with self._client() as client:
            known = {str(name).upper() for name in await client.command_list()}
        return [command for command in NEEDED_COMMANDS if command not in known]

    async def _answers(self, client: Redis) -> bool:
        try:
            await client.ping()  # fails while the data is being read
            info = await client.info("server")
        except RedisError:
            return False
        # Another Redis may have taken the port in the meantime; ours is then about to end.
        return bool(info["process_id"] == self.pid)

    def _client(self) -> Redis:
        # Without redis-py's own ten retries: whoever waits here asks again anyway, and sees that the process has ended.
        return Redis(
            host="127.0.0.1", port=self.port, socket_timeout=2, retry=Retry(NoBackoff(), 0), decode_responses=True
        )


def _options(data: Path, port: int) -> tuple[str, ...]:
    return (
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(data), "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
        *("--aof-load-truncated", "yes"),  # a half-written last command was never acknowledged
        *("--save", ""),  # the append-only file is the truth; snapshots beside it would only cost
        # A deleted stream entry keeps its bytes, in memory and in a rewritten file, until all entries of its node are gone.
        *("--stream-node-max-entries", "1"),
        # As a list a record is a third smaller than as a hash table, and as fast.
        *("--hash-max-listpack-value", str(COMPACT_FIELD_BYTES)),
        *("--maxmemory-policy", "noeviction"),  # any other policy would evict journals and memories not yet archived
    )
