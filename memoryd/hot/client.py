"""Connections to Redis, sized and timed on purpose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from memoryd.errors import ConfigError, HotUnavailable, HotUnprepared, MemorydError, Overloaded
from memoryd.hot.connection import Pool, quick
from memoryd.limits import REDIS_ANSWER_SECONDS


def open_redis(url: str, *, connections: int = 64, tries: int = 3) -> Redis:
    """A client for short commands. Its pool waits for a free connection rather than opening more than `connections`.

    With 0 `tries` nothing is sent again when a connection breaks: for what would count twice.
    """
    pool = Pool.from_url(
        url, max_connections=connections, timeout=10, socket_connect_timeout=5, socket_timeout=REDIS_ANSWER_SECONDS,
        retry=_retry(tries), **_password(),
    )  # fmt: skip
    pool.connection_class = quick(pool.connection_class)
    return Redis.from_pool(pool)


def open_blocking_redis(url: str) -> Redis:
    """A client for reads that wait (XREADGROUP BLOCK, pub/sub): a socket timeout would cut them."""
    pool = ConnectionPool.from_url(url, socket_timeout=None, socket_connect_timeout=5, **_password())
    return Redis.from_pool(pool)


def _retry(tries: int) -> Retry:
    """Quick tries: after a restart of Redis every idle connection of the pool is stale, and finds that out once.

    Commands may be repeated: every write of memoryd has its effect once. One that does not answer in time is not asked
    again: that would take as long again.
    """
    return Retry(ExponentialBackoff(cap=0.2, base=0.01), tries, supported_errors=(RedisConnectionError,))


def _password() -> dict[str, str]:
    """The password from MEMORYD_REDIS_PASSWORD_FILE, where a container's secret lies; one in the URL goes first."""
    path = os.environ.get("MEMORYD_REDIS_PASSWORD_FILE")
    if not path:
        return {}
    try:
        return {"password": Path(path).read_text().strip()}
    except OSError as error:
        raise ConfigError(f"MEMORYD_REDIS_PASSWORD_FILE cannot be read: {error.strerror}") from error


async def run_of(redis: Redis) -> str:
    """Names the run of this Redis: another one after a restart, which may have lost what was written last."""
    with hot_errors("look at Redis"):
        return str((await redis.info("server"))["run_id"])


_UNPREPARED = re.compile("NOGROUP|[Nn]o such index|Unknown Index name")


@contextmanager
def hot_errors(doing: str) -> Iterator[None]:
    """Turns Redis's errors into ours, saying what was being done. A Redis error's own text may quote arguments."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise HotUnavailable(f"{doing}: Redis does not answer ({type(error).__name__})") from error
    except RuntimeError as error:
        # uvloop's word for a connection that the server has closed a moment before we write to it.
        if "handler is closed" not in str(error):
            raise
        raise HotUnavailable(f"{doing}: Redis has closed the connection") from error
    except OutOfMemoryError as error:
        raise Overloaded(
            f"{doing}: Redis has reached its maxmemory and took nothing", retry_after_seconds=30
        ) from error
    except ReadOnlyError as error:
        raise HotUnavailable(f"{doing}: this Redis is a replica and takes no writes") from error
    except ResponseError as error:
        # A pipeline puts the command with its arguments before what Redis said, and that into a tuple.
        said = str(error).rpartition("of pipeline caused error: ")[2].lstrip("(\"'")
        if _UNPREPARED.search(said):
            raise HotUnprepared(f"{doing}: Redis has lost memoryd's groups or indexes") from error
        if said.startswith(("MISCONF", "NOREPLICAS")):
            raise HotUnavailable(
                f"{doing}: Redis takes no writes ({said.split()[0]})",
                hint="MISCONF: it cannot write to its disk; NOREPLICAS: it has fewer replicas than min-replicas-to-write",
            ) from error
        if said.startswith(("LOADING", "UNBLOCKED", "BUSY", "MASTERDOWN", "CLUSTERDOWN")):
            raise HotUnavailable(f"{doing}: Redis is not ready ({said.split()[0]})") from error
        raise MemorydError(f"{doing}: Redis refused the command ({type(error).__name__})") from error
    except RedisError as error:
        raise MemorydError(f"{doing}: {type(error).__name__}") from error


def entry_order(entry_id: str) -> tuple[int, int]:
    """A stream id as numbers that compare in stream order."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
