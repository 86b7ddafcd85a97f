"""Redis's own files, written anew so that they hold nothing that Redis does not hold any more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.errors import BadRequest, MemorydError
from memoryd.hot.client import hot_errors
from memoryd.limits import AOF_REWRITE_SECONDS_MAX

LOOK_SECONDS = 0.05


async def check_rewritable(redis: Redis) -> None:
    """Raises BadRequest unless a rewrite leaves nothing of a forgotten memory in Redis's files.

    A deleted entry of a stream keeps its bytes, in memory and in the file, until all entries of its node are gone.
    """
    client: Any = redis
    try:
        with hot_errors("look at Redis's configuration"):
            found = await client.config_get("stream-node-max-entries", "save")
            info = await client.info("persistence")
    except MemorydError as error:
        raise BadRequest(f"rewrite_aof: {error.message}", field="rewrite_aof") from error
    if found.get("stream-node-max-entries") != "1":
        raise BadRequest(
            "rewrite_aof: this Redis keeps the bytes of deleted stream entries for a while, also in a rewritten file",
            hint="set stream-node-max-entries to 1 in redis.conf, as `memoryd up` does",
            field="rewrite_aof",
        )
    if not (info["aof_enabled"] or found.get("save")):
        raise BadRequest("rewrite_aof: this Redis writes no files", field="rewrite_aof")


async def rewrite(redis: Redis) -> list[str]:
    """Has Redis write its append-only file anew, and its snapshot where it keeps one; which of them were in time."""
    client: Any = redis
    deadline = time.monotonic() + AOF_REWRITE_SECONDS_MAX
    done: list[str] = []
    with hot_errors("rewrite Redis's files"):
        if (await client.info("persistence"))["aof_enabled"]:
            done += ["aof"] if await _anew(client, "BGREWRITEAOF", "aof_last_bgrewrite_status", deadline) else []
        if (await client.config_get("save"))["save"]:
            done += ["rdb"] if await _anew(client, "BGSAVE", "rdb_last_bgsave_status", deadline) else []
    return done


async def _anew(client: Any, command: str, status: str, deadline: float) -> bool:
    """Runs a background write that begins after now, and waits for its end; False when that is not in time."""
    while await _quiet(client, deadline):
        try:
            await client.execute_command(command)
        except ResponseError as error:
            if "progress" not in str(error) and "Another child process" not in str(error):
                raise
            continue  # somebody else was quicker; that write may have begun before now
        if not await _quiet(client, deadline):
            return False
        if (await client.info("persistence"))[status] != "ok":
            raise MemorydError(f"Redis could not finish {command}", hint="see Redis's log")
        return True
    return False


async def _quiet(client: Any, deadline: float) -> bool:
    """Waits until no background write runs or is scheduled; False when that is not in time."""
    while time.monotonic() < deadline:
        info = await client.info("persistence")
        if not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"] or info["rdb_bgsave_in_progress"]):
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False
