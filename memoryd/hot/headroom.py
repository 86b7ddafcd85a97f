"""How full Redis is: new writes are refused before Redis refuses everything."""

from __future__ import annotations

from redis.asyncio import Redis

from memoryd.hot.client import hot_errors


async def memory_share(redis: Redis) -> float:
    """How much of its maxmemory Redis has used, as it counts for refusing writes; 0 without a maxmemory."""
    with hot_errors("look at Redis's memory"):
        info = await redis.info("memory")
    limit = int(info["maxmemory"])
    return (int(info["used_memory"]) - int(info["mem_not_counted_for_evict"])) / limit if limit else 0.0
