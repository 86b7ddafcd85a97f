"""Merging: memories that say nearly the same become one, which keeps every text as a version. See
docs/decisions/0018-merging-duplicates.md.

Of each group, in this order: the survivor takes the others' texts in, one update each, so that the newest is current and the
others are its history; each other one notes the survivor among its sources; then the others move to the archive (copy →
verify → delete, as every move). Whatever dies in between leaves every text readable, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from memoryd.engine import Engine
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.overlap import first_and_others
from memoryd.lifecycle.targets import project_of
from memoryd.limits import TAGS_MAX
from memoryd.model.memory import Changes, Durability, Memory, Wait
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, tell

MERGED = "merged"  # the reason of its moves


class Merging:
    """Merges over one Redis and the archive. `embeds`: memories get vectors here."""

    def __init__(self, engine: Engine, records: Records, mover: Mover, *, embeds: bool) -> None:
        self._engine = engine
        self._records = records
        self._mover = mover
        self._embeds = embeds

    @inside(telemetry.MERGE)
    async def merge(self, scope: Scope, group: Sequence[Memory], *, request: Request) -> int:
        """Makes the memories of a group one; how many of the others are in the archive only by now.

        Raises Conflict when one was changed since it was looked at, Forgotten, BadRequest, Overloaded, and what stops a write.
        """
        tell({telemetry.BATCH_SIZE: len(group)})
        survivor, others = first_and_others(group)
        await self._take_in(scope, survivor, others, request)
        for one in others:
            if survivor.id not in one.derived_from:
                changes = Changes(derived_from=[*one.derived_from, survivor.id])
                await self._update(scope, one, changes, request)
        here = await self._records.get_many(project_of(scope), [one.id for one in others])
        return await self._mover.archive(list(here.values()), reason=MERGED, traceparent=request.traceparent)

    async def _take_in(self, scope: Scope, survivor: Memory, others: Sequence[Memory], request: Request) -> None:
        """Writes the others' texts over the survivor's. The last write is waited for: until it is safe and found, the others
        stay where they are."""
        now = survivor
        for one in others:
            if given := _taken_in(now, one):
                last = one is others[-1]
                wait = Wait.SEARCHABLE if last and self._embeds and "content" in given else None
                durability = Durability.ARCHIVED if last else Durability.HOT
                version = await self._update(scope, now, Changes(**given), request, durability=durability, wait=wait)
                now = msgspec.structs.replace(now, version=version, content_hash=one.content_hash, **given)

    async def _update(self, scope: Scope, one: Memory, changes: Changes, request: Request, **how: Any) -> int:
        """Changes a memory if it is as it was seen; its version then. A repeat of the same change answers as the first did."""
        own = Request(f"{MERGED} {one.id} {one.version}", request.fingerprint, request.traceparent)
        return (await self._engine.update(scope, one.id, changes, if_version=one.version, request=own, **how)).version


def _taken_in(survivor: Memory, one: Memory) -> dict[str, Any]:
    """What of a memory the survivor does not have yet."""
    wanted = {
        "content": survivor.content if one.content_hash == survivor.content_hash else one.content,
        "derived_from": list(dict.fromkeys([*survivor.derived_from, one.id])),
        "importance": max(survivor.importance, one.importance),
        "tags": list(dict.fromkeys([*survivor.tags, *one.tags]))[:TAGS_MAX],
    }
    return {name: value for name, value in wanted.items() if value != getattr(survivor, name)}
