"""The snapshots of agents' states: each linked to the one before it by its hash, so that whoever changes or removes one is
found out, by place, before anything is restored from it.

A link is written only if its number is free. Of two who take one at once, the second takes the next number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memoryd.agent.states import TRIES_MAX, AgentStates
from memoryd.errors import BadRequest, ChainBroken, Conflict, NotFound, QuotaExceeded
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change
from memoryd.limits import LABEL_BYTES_MAX, SNAPSHOT_TTL_SECONDS, SNAPSHOTS_MAX
from memoryd.model.agent import (
    CHAIN,
    SAID,
    Restored,
    Snapshot,
    SnapshotPage,
    Verified,
    agent_place,
    agent_scope,
    broken,
    linked,
    snapshot_place,
    to_snapshot,
)
from memoryd.model.document import Document
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope, check_unicode

LINKS_READ = 100  # snapshots of one look: at most 7 MB
NOT_NAMED = "is not the one that the agent's state names as its newest"

Link = dict[str, Any]


class Chains:
    """The snapshots of one Redis and one archive."""

    def __init__(self, states: AgentStates) -> None:
        self._states = states
        self._store = states.store

    async def snapshot(self, scope: Scope, label: str, *, durability: Durability, request: Request) -> Snapshot:
        """Keeps the state as it is, as the next link. Raises NotFound, ChainBroken, QuotaExceeded."""
        scope = agent_scope(scope)
        if len(check_unicode("label", label).encode()) > LABEL_BYTES_MAX:
            raise BadRequest(f"label: is longer than {LABEL_BYTES_MAX} bytes", field="label")
        state = await self._states.document(scope)
        number, before = await self._newest(scope, state)
        while number < SNAPSHOTS_MAX:
            link = linked(scope, number + 1, before, state.body, label, self._store.clock.now())
            place = snapshot_place(scope, number + 1)
            change = Change(place, link, request, if_version=0, ttl_seconds=SNAPSHOT_TTL_SECONDS)
            step, fsynced = await self._store.put(change, fsync=durability is not Durability.HOT)
            if step.outcome == "written":
                kept = await self._by_id(scope, step.id) if step.replayed else link
                await self._remember(scope, kept, request)
                await self._states.confirm(step, fsynced, durability)
                return to_snapshot(kept)
            taken = (await self.links(scope, [number + 1])).get(number + 1)
            number, before = number + 1, str(taken["hash"]) if taken else ""
        raise QuotaExceeded(f"an agent has at most {SNAPSHOTS_MAX} snapshots", field="snapshots")

    async def history(self, scope: Scope, *, agent: str | None, before: int | None, limit: int) -> SnapshotPage:
        """The agent's snapshots, newest first, from the number below `before` on."""
        scope = agent_scope(scope, agent)
        newest = int((await self._states.document(scope)).body[CHAIN]["number"])
        last = newest if before is None else min(newest, before - 1)
        found = await self.links(scope, range(max(1, last - limit + 1), last + 1))
        shown = [to_snapshot(found[number]) for number in sorted(found, reverse=True)]
        return SnapshotPage(snapshots=shown, more=last - limit > 0)

    async def verify(self, scope: Scope, *, agent: str | None = None) -> Verified:
        """Follows the chain from its first link to its last, in both stores. Raises ChainBroken, ArchiveUnavailable."""
        scope = agent_scope(scope, agent)
        newest = (await self._states.document(scope)).body[CHAIN]
        count, before = int(newest["number"]), ""
        await self._store.caught_up(agent_place(scope))
        for first in range(1, count + 1, LINKS_READ):
            before = await self._follow(scope, range(first, min(first + LINKS_READ, count + 1)), before)
        if before != newest["hash"]:
            raise _broken(count, NOT_NAMED)
        return Verified(snapshots=count, hash=before)

    async def restore(
        self, scope: Scope, number: int, *, verify: bool, durability: Durability, request: Request
    ) -> Restored:
        """Makes the state what it was at a snapshot; what it is now becomes a snapshot first.

        With `verify` only from a chain that holds. Raises ChainBroken, NotFound.
        """
        scope = agent_scope(scope)
        if verify:
            await self.verify(scope)
        link = (await self.links(scope, [number])).get(number)
        if link is None or link["forgotten"]:
            raise NotFound(f"snapshot {number}: {'was forgotten' if link else 'there is none'}")
        label, part = f"before restoring {number}", _part(request, "undo")
        kept = await self.snapshot(scope, label, durability=Durability.HOT, request=part)
        said = to_snapshot(link).state
        await self._states.change(scope, {name: said[name] for name in SAID}, durability=durability, request=request)
        return Restored(state=await self._states.get(scope), undo=kept.number)

    async def links(self, scope: Scope, numbers: Sequence[int]) -> dict[int, Link]:
        """The links with these numbers, from wherever they are."""
        found = await self._hot_links(scope, numbers)
        if missing := [one for one in numbers if one not in found]:
            await self._store.caught_up(agent_place(scope))
            found |= await self._archived_links(scope, missing)
        return found

    async def _follow(self, scope: Scope, numbers: Sequence[int], before: str) -> str:
        """Follows some links; the last one's hash. Each must hold in the archive, and in Redis where it has a copy."""
        here, there = await self._hot_links(scope, numbers), await self._archived_links(scope, numbers)
        for number in numbers:
            copies = [there.get(number), *([here[number]] if number in here else [])]
            if what := next(filter(None, (broken(scope, number, before, one) for one in copies)), ""):
                raise _broken(number, what)
            before = str(there[number]["hash"])
        return before

    async def _hot_links(self, scope: Scope, numbers: Sequence[int]) -> dict[int, Link]:
        rows = await self._store.documents.get_many([snapshot_place(scope, one) for one in numbers]) if numbers else []
        return {number: one.body for number, one in zip(numbers, rows, strict=True) if one is not None}

    async def _archived_links(self, scope: Scope, numbers: Sequence[int]) -> dict[int, Link]:
        ids = {snapshot_place(scope, one).id: one for one in numbers}
        found = await self._store.archive.get_many("agent_states", list(ids))
        return {ids[one.place.id]: one.body for one in found}

    async def _by_id(self, scope: Scope, snapshot_id: str) -> Link:
        """A snapshot that this request has made before."""
        found = await self._store.get(replace(snapshot_place(scope, 0), id=snapshot_id), ttl_seconds=SNAPSHOT_TTL_SECONDS)
        if found is None:
            raise NotFound("the snapshot that this request has made is there no more")
        return found.body

    async def _newest(self, scope: Scope, state: Document) -> tuple[int, str]:
        """Number and hash of the newest link that the state names. Raises ChainBroken when that is another by now."""
        number, named = int(state.body[CHAIN]["number"]), str(state.body[CHAIN]["hash"])
        if not number:
            return 0, ""
        link = (await self.links(scope, [number])).get(number)
        if link is None or link["hash"] != named:
            raise _broken(number, NOT_NAMED if link else "is missing")
        return number, named

    async def _remember(self, scope: Scope, link: Link, request: Request) -> None:
        """Names the newest link in the state, unless a later one is named already."""
        chain = {"number": link["seq"], "hash": link["hash"]}
        for _ in range(TRIES_MAX):
            state = await self._states.document(scope)
            if int(state.body[CHAIN]["number"]) >= int(link["seq"]):
                return
            with contextlib.suppress(Conflict):
                part = _part(request, "chain")
                await self._states.change(scope, {CHAIN: chain}, if_version=state.version, request=part)
                return


def _broken(number: int, what: str) -> ChainBroken:
    return ChainBroken(f"snapshot {number} {what}", number=number, what=what)


def _part(request: Request, name: str) -> Request:
    return replace(request, id=f"{request.id}#{name}", fingerprint=f"{request.fingerprint}#{name}")
