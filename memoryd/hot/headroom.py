"""How full Redis is: new writes are refused before Redis refuses everything."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd.hot.client import hot_errors


async def memory_use(redis: Redis) -> tuple[int, int]:
    """How many bytes Redis has used, as it counts for refusing writes, and how many it may; 0 for no maxmemory."""
    with hot_errors("look at Redis's memory"):
        info = await redis.info("memory")
    return int(info["used_memory"]) - int(info["mem_not_counted_for_evict"]), int(info["maxmemory"])


async def memory_share(redis: Redis) -> float:
    """How much of its maxmemory Redis has used, as it counts for refusing writes; 0 without a maxmemory."""
    used, limit = await memory_use(redis)
    return used / limit if limit else 0.0
