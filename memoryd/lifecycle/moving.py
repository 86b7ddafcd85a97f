"""Moves between tiers: copy → verify → delete, each step harmless when it is done again.

The copy is a version of its own in the journal (`moved`), and the archiver's work. The record stays where it is, readable
and found, with its new tier written on it, until the archive is *seen* to have it whole and the journal holds nothing of it
any more. So a move that was cut off anywhere is found by its tier, and ended by the next daemon that looks (`sweep`; of the
tier `long`, which keeps a light record in Redis, `lifecycle.tiering`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from memoryd.archive.causes import link_to_writes
from memoryd.archive.store import Archive
from memoryd.durability import not_archived, outwaited
from memoryd.hot import lookups
from memoryd.hot.changes import Written, brought_back
from memoryd.hot.projecting import project_many
from memoryd.hot.records import Records
from memoryd.hot.tiers import HotTiers
from memoryd.keys import kind_of
from memoryd.limits import MOVE_WAIT_SECONDS
from memoryd.model.memory import Memory, Tier
from memoryd.model.record import Record
from memoryd.whole import Wholes
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import count_moves, measure
from memoryd_telemetry.tracing import inside, linked_span, tell

BATCH = 200  # of one look into both stores
LOOK_SECONDS = 0.5  # between two looks at what waits: each reads all of it in both stores


class Mover:
    """Moves memories of one Redis. `model` is the embedding model's name; empty without one."""

    def __init__(self, records: Records, archive: Archive, *, model: str) -> None:
        self._records = records
        self._archive = archive
        self._model = model
        self._tiers = HotTiers(records)
        self._wholes = Wholes(records, archive, lambda: model)

    # --- short and long -------------------------------------------------------------------------------------------

    async def to_long(self, memories: Sequence[Memory], *, traceparent: str = "") -> tuple[set[str], int]:
        """Gives memories to the tier `long`, and takes their contents out of Redis once the archive is seen to have them.

        The ids of those that have the tier by now, and of how many the content has left. One that was changed since, waits for
        its vector, or has something in the journal that is not archived, stays.
        """
        written = await self._move(memories, Tier.LONG, traceparent)
        moved = {one.id: one for one in memories if written[one.id].outcome in ("moved", "already")}
        await not_archived(
            self._records.redis, self._records.keys, {key: written[key] for key in moved if written[key].entry}
        )
        late = 0
        for some in _some(list(moved.values())):
            waiting = await self._lighten(_by_id(some))  # however long it takes on a busy machine
            late += len(await outwaited(waiting, self._lighten, MOVE_WAIT_SECONDS, pause_seconds_max=LOOK_SECONDS))
        return set(moved), len(moved) - late

    async def link_to_writes(self, memories: Sequence[Memory]) -> None:
        """Links the current span to what has written these memories last."""
        await link_to_writes(self._archive, [one.id for one in memories])

    async def lighten(self, memories: Sequence[Memory]) -> int:
        """Ends moves to `long` that were begun and not ended, whoever's; how many."""
        return sum([len(some) - len(await self._lighten(_by_id(some))) for some in _some(memories)])

    async def to_short(self, memories: Sequence[Memory], *, traceparent: str = "") -> set[str]:
        """Brings memories of the tier `long` back to `short`, with their contents; the ids of those that are there by now.

        Raises ArchiveUnavailable.
        """
        await self._wholes.bring([one for one in memories if one.light])
        written = await self._move(memories, Tier.SHORT, traceparent)
        return {key for key, one in written.items() if one.outcome in ("moved", "already")}

    async def bring(self, memories: Sequence[Memory]) -> int:
        """Gives light records their contents back, whatever their tier; how many. Raises ArchiveUnavailable."""
        return await self._wholes.bring(memories)

    async def _lighten(self, memories: Mapping[str, Memory]) -> Mapping[str, Memory]:
        """Takes out the contents of those that the archive has whole; those that have to wait for that."""
        archived = await self._archive.records(list(memories))
        hot = await self._here(list(memories.values()), Tier.LONG)
        seen = [archived[key] for key, one in hot.items() if key in archived and kept(one, archived[key])]
        outcomes = await self._tiers.lighten(seen)
        done = {one.memory.id for one, outcome in zip(seen, outcomes, strict=True) if outcome != "waiting"}
        return {key: one for key, one in hot.items() if key not in done and not one.light}

    async def _move(self, memories: Sequence[Memory], tier: Tier, traceparent: str) -> dict[str, Written]:
        """What the step of each did. One that turns out to be light gets its content first: a version is journaled whole."""
        written: dict[str, Written] = {}
        waiting = list(memories)
        for _ in range(2):
            for some in _some(waiting):
                vector = tier is Tier.LONG or (tier is Tier.ARCHIVE and bool(self._model))
                steps = await self._tiers.move(some, tier, with_vector=vector, traceparent=traceparent)
                written |= dict(zip((one.id for one in some), steps, strict=True))
            waiting = [one for one in waiting if written[one.id].outcome == "light"]
            if not waiting:
                break
            await self._wholes.bring(waiting)
        return written

    # --- archive --------------------------------------------------------------------------------------------------

    @inside(telemetry.MOVE)
    async def archive(self, memories: Sequence[Memory], *, reason: str = "compressed", traceparent: str = "") -> int:
        """Gives memories to the archive, and waits a moment for it to have them; how many have left Redis by then.

        One that was changed since, or waits for its vector, stays.
        """
        left = 0
        tell({telemetry.MOVED_TO: Tier.ARCHIVE, telemetry.BATCH_SIZE: len(memories)})
        for some in _some(memories):
            written = await self._move(some, Tier.ARCHIVE, traceparent)
            for tier, count in Counter(one.tier for one in some if written[one.id].outcome == "moved").items():
                count_moves(tier, Tier.ARCHIVE, reason, count)
            moving = {key: step for key, step in written.items() if step.outcome in ("moved", "already")}
            late = await not_archived(
                self._records.redis, self._records.keys, {key: one for key, one in moving.items() if one.entry}
            )
            there = [one for one in some if one.id in moving.keys() - set(late)]
            waiting = await outwaited(_by_id(there), self._put_away, MOVE_WAIT_SECONDS, pause_seconds_max=LOOK_SECONDS)
            left += len(there) - len(waiting)
        return left

    async def sweep(self) -> int:
        """Ends moves that were begun and not ended, whoever's; how many."""
        there = await self._records.read(await lookups.in_tier(self._records.redis, Tier.ARCHIVE, BATCH))
        if not there:
            return 0
        with linked_span(telemetry.MOVE, [], {telemetry.MOVED_TO: Tier.ARCHIVE, telemetry.BATCH_SIZE: len(there)}):
            await self.link_to_writes(there)
            return len(there) - len(await self._put_away(_by_id(there)))

    async def _put_away(self, memories: Mapping[str, Memory]) -> Mapping[str, Memory]:
        """Removes those that the archive has whole; those that have to wait for that."""
        archived = await self._archive.records(list(memories))
        hot = await self._here(list(memories.values()), Tier.ARCHIVE)
        seen = [hot[one] for one in memories if one in hot and one in archived and same(hot[one], archived[one])]
        outcomes = dict(zip((one.id for one in seen), await self._tiers.put_away(seen), strict=True))
        for outcome, count in Counter(outcomes.values()).items():
            measure(telemetry.MOVES, count, {telemetry.OUTCOME: outcome})
        return {one: hot[one] for one in memories if one in hot and outcomes.get(one, "waiting") == "waiting"}

    async def _here(self, memories: Sequence[Memory], tier: Tier) -> dict[str, Memory]:
        """Those that are here and of this tier, as they are now."""
        keys = [self._records.keys.memory(kind_of(one.memory_type), one.scope, one.id) for one in memories]
        found = {one.id: one for one in await self._records.read(keys)}
        return {key: one for key, one in found.items() if one.tier is tier}

    @inside(telemetry.MOVE)
    async def restore(self, memories: Sequence[Memory], *, reason: str = "expanded", traceparent: str = "") -> int:
        """Brings archived memories back to Redis, where they get their vectors anew; how many were away."""
        tell({telemetry.MOVED_TO: Tier.SHORT, telemetry.BATCH_SIZE: len(memories)})
        hot = await self._here(memories, Tier.ARCHIVE)
        archived = await self._archive.records([one.id for one in memories])
        steps = (await self._move(list(hot.values()), Tier.SHORT, traceparent)).values()
        cold = [one for key, one in archived.items() if key not in hot and one.memory.tier is Tier.ARCHIVE]
        outcomes = await project_many(self._records, [brought_back(one, self._model) for one in cold]) if cold else []
        restored = sum(one.outcome == "moved" for one in steps) + outcomes.count("applied")
        if restored:
            count_moves(Tier.ARCHIVE, Tier.SHORT, reason, restored)
        return restored


def kept(hot: Memory, archived: Record) -> bool:
    """Whether the archive has all of a memory that its light record lacks; that may be light already, but for its vector."""
    there = archived.memory
    if archived.vector is None or (hot.version, hot.content_hash) != (there.version, there.content_hash):
        return False
    return same(hot.filled(there) if hot.light else hot, archived)


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


