"""Checks of the Redis server: whether it can hold memories, and whether it keeps them."""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import ResponseError

from memoryd.doctor.patient import Finding, Patient
from memoryd.errors import HotUnavailable
from memoryd.hot.client import hot_errors
from memoryd.limits import COMPACT_FIELD_BYTES, DOCTOR_CLOCK_SECONDS, GRAPH_BLOCK_BYTES, REDIS_MEMORY_PERCENT_MAX
from memoryd_schemas.redis_server import MODULES, text

VERSION_MIN = (7, 2)  # WAITAOF, which `durability=fsync` stands on
MEMORY_PERCENT_MAX = 80  # below the 90 % from which writes are refused: time to do something
CLIENTS_PERCENT_MAX = 80


async def redis_answers(patient: Patient) -> Finding | None:
    """Whether Redis answers at all."""
    try:
        with hot_errors("ask"):
            await patient.redis.echo("?")  # not PING: who cannot write its file refuses that
    except HotUnavailable as error:
        return Finding(
            f"Redis does not answer at MEMORYD_REDIS_URL ({error.message})", "nothing works",
            'memoryd up starts one; redis-cli -u "$MEMORYD_REDIS_URL" ping',
        )  # fmt: skip
    return None


async def redis_version(patient: Patient) -> Finding | None:
    """Whether it is new enough."""
    version = str((await patient.info())["redis_version"])
    if tuple(map(int, version.split(".")[:2])) >= VERSION_MIN:
        return None
    least = ".".join(map(str, VERSION_MIN))
    return Finding(
        f"Redis is {version}, older than {least}", "a write with durability=fsync fails: WAITAOF is missing",
        "run Redis Stack 7.4 or Redis 8; `memoryd up` starts one",
    )  # fmt: skip


async def redis_modules(patient: Patient) -> Finding | None:
    """Whether search, JSON, Bloom filters and time series are loaded."""
    with hot_errors("list the modules"):
        loaded = {text(one.get(b"name", one.get("name", b""))) for one in await patient.redis.module_list()}
    missing = [title for name, title in MODULES.items() if name not in loaded]
    if not missing:
        return None
    return Finding(
        f"Redis has not loaded {', '.join(missing)}", "no daemon starts on it",
        "run Redis Stack 7.4 or Redis 8, which carry all of them; `memoryd up` starts one",
    )  # fmt: skip


async def redis_is_primary(patient: Patient) -> Finding | None:
    """Whether it takes writes."""
    if (await patient.info())["role"] == "master":
        return None
    return Finding(
        "MEMORYD_REDIS_URL leads to a replica", "every write fails",
        "redis-cli REPLICAOF NO ONE, or name the primary in MEMORYD_REDIS_URL",
    )  # fmt: skip


async def redis_database(patient: Patient) -> Finding | None:
    """Whether the connection is to database 0, the only one with search indexes."""
    with hot_errors("look at the connection"):
        database = (await patient.redis.client_info())["db"]
    if database == 0:
        return None
    return Finding(
        f"MEMORYD_REDIS_URL names database {database}", "no daemon starts: Redis has search indexes on database 0 only",
        "end the URL in MEMORYD_REDIS_URL with /0, or with nothing",
    )  # fmt: skip


async def eviction_policy(patient: Patient) -> Finding | None:
    """Whether Redis may throw memories away."""
    policy = str((await patient.info())["maxmemory_policy"])
    if policy == "noeviction" or policy.startswith("volatile-"):
        return None
    return Finding(
        f"Redis evicts with {policy}", "under memory pressure journals and memories that are not archived yet are lost",
        "redis-cli CONFIG SET maxmemory-policy noeviction (and the same line in redis.conf)",
    )  # fmt: skip


async def memory_headroom(patient: Patient) -> Finding | None:
    """How much of its memory is left."""
    info = await patient.info()
    limit = int(info["maxmemory"]) or int(info["total_system_memory"])
    percent = 100 * int(info["used_memory"]) / limit
    if percent <= MEMORY_PERCENT_MAX:
        return None
    whose = "maxmemory" if int(info["maxmemory"]) else "the machine's memory"
    return Finding(
        f"Redis uses {percent:.0f} % of {whose}", f"from {REDIS_MEMORY_PERCENT_MAX} % of maxmemory on, new memories are refused",
        "memoryd compress --older-than 30d, or redis-cli CONFIG SET maxmemory BYTES",
    )  # fmt: skip


async def append_only_file(patient: Patient) -> Finding | None:
    """Whether Redis writes down what it acknowledges."""
    if int((await patient.info())["aof_enabled"]):
        return None
    return Finding(
        "Redis keeps no append-only file", "what is not archived yet is lost when Redis ends; durability=fsync fails",
        "redis-cli CONFIG SET appendonly yes (and the same line in redis.conf)",
    )  # fmt: skip


async def fsync_policy(patient: Patient) -> Finding | None:
    """How soon the append-only file reaches the disk."""
    if await patient.configured("appendfsync") != "no":
        return None
    return Finding(
        "Redis leaves it to the system when its file reaches the disk (appendfsync no)",
        "a loss of power takes the last half minute; durability=fsync waits in vain",
        "redis-cli CONFIG SET appendfsync everysec (and the same line in redis.conf)",
    )


async def append_only_errors(patient: Patient) -> Finding | None:
    """Whether its last writes to the disk worked."""
    info = await patient.info()
    failed = [what for what in ("aof_last_write_status", "aof_last_bgrewrite_status") if info.get(what, "ok") != "ok"]
    if not failed:
        return None
    return Finding(
        f"Redis could not write its files ({', '.join(failed)})", "Redis refuses writes, or loses them at its end",
        "make room on the disk of redis-cli CONFIG GET dir, then redis-cli BGREWRITEAOF",
    )  # fmt: skip


async def stream_nodes(patient: Patient) -> Finding | None:
    """Whether an entry that a forget deletes leaves its bytes in the stream."""
    if await patient.configured("stream-node-max-entries") in ("1", None):
        return None
    return Finding(
        "Redis keeps several entries in a node of a stream (stream-node-max-entries)",
        "the bytes of a forgotten memory's journal entry stay in Redis's memory until its neighbours go",
        "redis-cli CONFIG SET stream-node-max-entries 1 (and the same line in redis.conf)",
    )


async def compact_records(patient: Patient) -> Finding | None:
    """Whether a memory's record takes no more room than it has to."""
    value = await patient.configured("hash-max-listpack-value")
    if value is None or int(value) >= COMPACT_FIELD_BYTES:
        return None
    return Finding(
        f"Redis keeps records with a field of more than {value} bytes as hash tables (hash-max-listpack-value)",
        "each memory takes half as much again in Redis's memory as it has to, outside of the indexes",
        f"redis-cli CONFIG SET hash-max-listpack-value {COMPACT_FIELD_BYTES} (and the same line in redis.conf)",
    )


async def graph_blocks(patient: Patient) -> Finding | None:
    """Whether an index makes room for vectors in steps that fit a small store."""
    client: Any = patient.redis
    with hot_errors("look at Redis's configuration"):
        try:
            found = dict(await client.execute_command("FT.CONFIG", "GET", "VSS_MAX_RESIZE"))
        except ResponseError:
            return None
    value = next(iter(found.values()), None)
    if value is None or 0 < int(value) <= GRAPH_BLOCK_BYTES:
        return None
    return Finding(
        "Redis makes room for 1,024 vectors at a time in an index (VSS_MAX_RESIZE)",
        "up to 2 MB of an index are empty places: much of a small store, or of one whose memories are mostly of the tier long",
        f"loadmodule …/redisearch.so VSS_MAX_RESIZE {GRAPH_BLOCK_BYTES} in redis.conf (Redis 8: search-vss-max-resize "
        f"{GRAPH_BLOCK_BYTES}), then start Redis again",
    )


async def client_connections(patient: Patient) -> Finding | None:
    """Whether Redis has room for more clients."""
    info = await patient.info()
    used, most = int(info["connected_clients"]), int(info["maxclients"])
    if 100 * used <= CLIENTS_PERCENT_MAX * most:
        return None
    return Finding(
        f"{used} of {most} connections of Redis are taken", "the next agents and daemons cannot connect",
        f"redis-cli CONFIG SET maxclients {2 * most}, and look who they are: redis-cli CLIENT LIST",
    )  # fmt: skip


async def redis_clock(patient: Patient) -> Finding | None:
    """Whether its clock goes with ours."""
    client: Any = patient.redis
    with hot_errors("ask for the time"):
        seconds, microseconds = await client.time()
    return clock_finding("Redis", seconds + microseconds / 1e6 - time.time())


def clock_finding(whose: str, skew: float) -> Finding | None:
    """What a clock that goes wrong leads to."""
    if abs(skew) <= DOCTOR_CLOCK_SECONDS:
        return None
    return Finding(
        f"the clock of {whose} is {skew:+.0f} s off this machine's",
        "ages and lag are told wrong, and the times of memories of different daemons do not compare",
        "chronyc makestep, or timedatectl set-ntp true, on the machine whose clock is wrong",
    )


CHECKS = (
    redis_version, redis_modules, redis_is_primary, eviction_policy, memory_headroom, append_only_file,
    fsync_policy, append_only_errors, stream_nodes, compact_records, graph_blocks, client_connections, redis_clock,
)  # fmt: skip
