"""How much there is in Redis, whoever's: for the service's own gauges, never for a caller."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import HotUnprepared
from memoryd.hot.clauses import Clause
from memoryd.hot.client import hot_errors
from memoryd.hot.seen import SeenFilters
from memoryd.keys import Keys
from memoryd.limits import METRICS_COUNT_SECONDS_MAX, TIER_SAMPLE_MAX
from memoryd.model.memory import Tier

TIERS = (Tier.SHORT, Tier.LONG, Tier.ARCHIVE)


@dataclass(frozen=True)
class Sizes:
    """What one look has found."""

    by_tier: Mapping[Tier, int]
    """Memories; nothing of a tier that Redis had no time to count."""
    pending: int | None
    bytes: int
    dead_letters: int
    filters: Mapping[str, float]
    """How full the fullest Bloom filter is, of contents and of questions."""


async def sizes(redis: Redis, keys: Keys) -> Sizes:
    """Counts by the indexes, each count within a time limit of Redis's own. Raises HotUnavailable."""
    counted = [("tier", str(tier)) for tier in TIERS] + [("pending", "1")]
    client: Any = redis
    with hot_errors("look at the tiers"):
        async with client.pipeline(transaction=False) as pipe:
            for field, value in counted:
                for kind in names.KINDS:
                    pipe.execute_command(*_count(kind, field, value))
            pipe.info("memory")
            pipe.xlen(names.DEAD_LETTERS)
            *answers, memory, dead = await pipe.execute()
    found = [_total(answers[at : at + len(names.KINDS)]) for at in range(0, len(answers), len(names.KINDS))]
    fills = await SeenFilters(redis, keys).stats()
    return Sizes(
        by_tier={tier: count for tier, count in zip(TIERS, found, strict=False) if count is not None},
        pending=found[-1],
        bytes=int(memory["used_memory"]),
        dead_letters=int(dead),
        filters={name: one.fill for name, one in fills.items()},
    )


async def bytes_by_tier(redis: Redis) -> dict[str, int]:
    """About what the records of a tier take: as many as there are, each as large as some of them are on average.

    Nothing of a tier that Redis had no time to count, nor of any before the indexes are there. Raises HotUnavailable.
    """
    found: dict[str, int] = {}
    client: Any = redis
    with contextlib.suppress(HotUnprepared), hot_errors("measure the tiers"):
        for tier in (Tier.SHORT, Tier.LONG):
            async with client.pipeline(transaction=False) as pipe:
                for kind in names.KINDS:
                    pipe.execute_command(*_count(kind, "tier", str(tier), sample=TIER_SAMPLE_MAX))
                answers = await pipe.execute()
            if _total(answers) is not None:
                found[tier] = sum([await _bytes_of(client, one) for one in answers])
    return found


async def _bytes_of(client: Any, answer: Any) -> int:
    """What all records take of which an answer has counted all and brought some."""
    async with client.pipeline(transaction=False) as pipe:
        for row in answer[b"results"]:
            pipe.memory_usage(row[b"id"])
        some = [int(size) for size in await pipe.execute() if size]
    return round(int(answer[b"total_results"]) * sum(some) / len(some)) if some else 0


def _count(kind: str, field: str, value: str, *, sample: int = 0) -> list[Any]:
    clause = Clause()
    clause.tag(field, [value])
    return [
        "FT.SEARCH", names.index(kind), str(clause), *clause.arguments(METRICS_COUNT_SECONDS_MAX), "NOCONTENT", "LIMIT", 0, sample,
        "DIALECT", 2,
    ]  # fmt: skip


def _total(answers: list[Any]) -> int | None:
    """The sum over the kinds; None when one of them was cut short."""
    return None if any(one[b"warning"] for one in answers) else sum(int(one[b"total_results"]) for one in answers)
