"""Moves between tiers: copy → verify → delete, each step harmless when it is done again.

The copy is a version of its own in the journal (`moved`), and the archiver's work. The record stays where it is, readable
and found, with its new tier written on it, until the archive is *seen* to have it whole and the journal holds nothing of it
any more. So a move that was cut off anywhere is found by its tier, and ended by the next daemon that looks (`sweep`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from memoryd.archive.store import Archive
from memoryd.durability import not_archived, outwaited
from memoryd.hot.records import Records, brought_back
from memoryd.hot.search import Search
from memoryd.limits import MOVE_WAIT_SECONDS
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import count_moves, measure

BATCH = 200  # atomic steps of one round trip: some milliseconds of Redis, between which it serves others


class Mover:
    """Moves memories of one Redis. `model` is the embedding model's name; empty without one."""

    def __init__(self, records: Records, search: Search, archive: Archive, *, model: str) -> None:
        self._records = records
        self._search = search
        self._archive = archive
        self._model = model

    async def archive(self, memories: Sequence[Memory], *, traceparent: str = "") -> int:
        """Gives memories to the archive, and waits a moment for it to have them; how many have left Redis by then.

        One that was changed since, or waits for its vector, stays.
        """
        left = 0
        for some in _some(memories):
            written = await self._records.move(
                some, Tier.ARCHIVE, with_vector=bool(self._model), traceparent=traceparent
            )
            for tier, count in Counter(
                one.tier for one, step in zip(some, written, strict=True) if step.outcome == "moved"
            ).items():
                count_moves(tier, Tier.ARCHIVE, "compressed", count)
            moving = {one.id: step for one, step in zip(some, written, strict=True) if step.outcome in ("moved", "already")}
            late = await not_archived(
                self._records.redis, self._records.keys, {key: one for key, one in moving.items() if one.entry}
            )
            there = [one for one in some if one.id in moving.keys() - set(late)]
            left += len(there) - len(await outwaited(_by_id(there), self._put_away, MOVE_WAIT_SECONDS))
        return left

    async def sweep(self) -> int:
        """Ends moves that were begun and not ended, whoever's; how many."""
        there = await self._records.read(await self._search.in_tier(Tier.ARCHIVE, BATCH))
        return len(there) - len(await self._put_away(_by_id(there)))

    async def _put_away(self, memories: Mapping[str, Memory]) -> Mapping[str, Memory]:
        """Removes those that the archive has whole; those that have to wait for that."""
        archived = await self._archive.records(list(memories))
        hot = await self._here(list(memories.values()))
        seen = [hot[one] for one in memories if one in hot and one in archived and same(hot[one], archived[one])]
        outcomes = dict(zip((one.id for one in seen), await self._records.put_away(seen), strict=True))
        for outcome, count in Counter(outcomes.values()).items():
            measure(telemetry.MOVES, count, {telemetry.OUTCOME: outcome})
        return {one: hot[one] for one in memories if one in hot and outcomes.get(one, "waiting") == "waiting"}

    async def _here(self, memories: Sequence[Memory]) -> dict[str, Memory]:
        """Those that are here, and on their way to the archive, as they are now."""
        by_project: dict[Scope, list[str]] = {}
        for one in memories:
            by_project.setdefault(Scope(one.tenant, one.project), []).append(one.id)
        found: dict[str, Memory] = {}
        for project, ids in by_project.items():
            found |= await self._records.get_many(project, ids)
        return {key: one for key, one in found.items() if one.tier is Tier.ARCHIVE}

    async def restore(self, memories: Sequence[Memory], *, traceparent: str = "") -> int:
        """Brings archived memories back to Redis, where they get their vectors anew; how many were away."""
        hot = await self._here(memories)
        archived = await self._archive.records([one.id for one in memories])
        steps = await self._records.move(
            list(hot.values()), Tier.SHORT, with_vector=False, traceparent=traceparent
        )
        cold = [one for key, one in archived.items() if key not in hot and one.memory.tier is Tier.ARCHIVE]
        outcomes = await self._records.project_many([brought_back(one, self._model) for one in cold]) if cold else []
        restored = sum(one.outcome == "moved" for one in steps) + outcomes.count("applied")
        if restored:
            count_moves(Tier.ARCHIVE, Tier.SHORT, "expanded", restored)
        return restored


def same(hot: Memory, archived: Record) -> bool:
    """Whether the archive has a memory as Redis has it: everything that somebody said, and a vector where there is one."""
    there = archived.memory
    ours = {
        "access_count": there.access_count, "last_accessed": there.last_accessed, "follows": there.follows,
        "context": there.context,
    }  # fmt: skip
    return msgspec.structs.replace(hot, **ours) == there and (archived.vector is not None) == (not hot.pending)


def _by_id(memories: Sequence[Memory]) -> dict[str, Memory]:
    return {one.id: one for one in memories}


def _some(memories: Sequence[Memory]) -> Iterator[Sequence[Memory]]:
    return (memories[start : start + BATCH] for start in range(0, len(memories), BATCH))


