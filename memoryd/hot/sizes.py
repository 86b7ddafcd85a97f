"""How much there is in Redis, whoever's: for the service's own gauges, never for a caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot.clauses import Clause
from memoryd.hot.client import hot_errors
from memoryd.hot.seen import SeenFilters
from memoryd.keys import Keys
from memoryd.limits import METRICS_COUNT_SECONDS_MAX
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


def _count(kind: str, field: str, value: str) -> list[Any]:
    clause = Clause()
    clause.tag(field, [value])
    return ["FT.SEARCH", names.index(kind), str(clause), *clause.arguments(METRICS_COUNT_SECONDS_MAX), "LIMIT", 0, 0, "DIALECT", 2]


def _total(answers: list[Any]) -> int | None:
    """The sum over the kinds; None when one of them was cut short."""
    return None if any(one[b"warning"] for one in answers) else sum(int(one[b"total_results"]) for one in answers)
