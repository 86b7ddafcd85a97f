"""Whether a Redis server can hold memories at all."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd_schemas.errors import SchemaError

MODULES = {"search": "RediSearch", "ReJSON": "RedisJSON", "bf": "RedisBloom", "timeseries": "RedisTimeSeries"}


async def check_server(client: Redis) -> None:
    """Raises SchemaError when a module is missing, when Redis may evict memories, or outside database 0."""
    await _check_modules(client)
    await _check_eviction(client)
    await _check_database(client)


async def _check_modules(client: Redis) -> None:
    loaded = {text(module.get(b"name", module.get("name", b""))) for module in await client.module_list()}
    missing = [f"{title} ({name})" for name, title in MODULES.items() if name not in loaded]
    if missing:
        raise SchemaError(
            f"this Redis has not loaded {', '.join(missing)}",
            hint="run Redis Stack 7.4 or Redis 8, which carry all of them; `memoryd up` starts one",
        )


async def _check_eviction(client: Redis) -> None:
    # INFO, because managed servers often forbid CONFIG GET.
    policy = (await client.info("memory"))["maxmemory_policy"]
    if policy != "noeviction" and not policy.startswith("volatile-"):
        raise SchemaError(
            f"this Redis evicts with '{policy}': under memory pressure it would drop journals and unarchived memories",
            hint="`redis-cli CONFIG SET maxmemory-policy noeviction`, and the same line in redis.conf",
        )


async def _check_database(client: Redis) -> None:
    database = (await client.client_info())["db"]
    if database != 0:
        raise SchemaError(
            f"the connection uses database {database}; Redis has search indexes on database 0 only",
            hint="end the URL in MEMORYD_REDIS_URL with /0, or with nothing",
        )


def text(value: bytes | str) -> str:
    """A reply as text, whether or not the client decodes."""
    return value.decode() if isinstance(value, bytes) else value
