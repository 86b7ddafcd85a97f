"""Forgetting: from a plan through atomic steps to a receipt. A repeat, or another daemon, goes on with the same plan."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from memoryd.archive.store import Archive
from memoryd.clock import Clock, from_microseconds, to_microseconds
from memoryd.durability import not_archived
from memoryd.errors import ArchiveUnavailable, Conflict, DurabilityNotReached, NotFound
from memoryd.hot.changes import Doomed, Request, Written
from memoryd.hot.client import entry_order
from memoryd.hot.files import check_rewritable, rewrite
from memoryd.hot.forgetting import forget
from memoryd.hot.receipts import Forgets
from memoryd.hot.records import Records
from memoryd.lifecycle.holders import Holder
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.selection import Criteria, Selection, resolve
from memoryd.lifecycle.targets import Plan, Target, added, project_of, target
from memoryd.limits import RECEIPT_PAGE_MAX
from memoryd.model.ids import check_id, receipt_id
from memoryd.model.memory import Durability
from memoryd.model.receipt import ForgottenMany, ForgottenMemory, FullReceipt, Removed
from memoryd.model.results import Receipt
from memoryd.model.scope import Scope
from memoryd.retry import heedful_sleep
from memoryd.storing import refusal

BATCH = 200  # atomic steps of one round trip: about 15 ms of Redis, between which it serves others
LOOK_SECONDS = 0.02  # how often the chain is looked at by who waits for it
CHAINED_SECONDS_MAX = 5.0  # one insert of a sync that has just archived the forget itself

_LEVELS = list(Durability)

Steps = list[tuple[Target, Written]]


@dataclass(frozen=True)
class Asked:
    """One request to forget something."""

    scope: Scope
    selection: Selection
    request: Request
    durability: Durability
    cascade: bool = False
    own: str = ""
    """The one memory that was named; its step is known by the request's own id, as every write of one memory is."""

    @property
    def id(self) -> str:
        """The receipt's: the same for every repeat."""
        return receipt_id(self.scope, self.request.id, self.request.fingerprint)


class Forgetting:
    """Carries out forgets over one Redis and the archive."""

    def __init__(
        self,
        records: Records,
        archive: Archive | None,
        planner: Planner,
        holders: Sequence[Holder],
        clock: Clock,
    ) -> None:
        self._records = records
        self._archive = archive
        self._planner = planner
        self._holders = holders
        self._clock = clock
        self._forgets = Forgets(records.redis)

    # --- one memory -----------------------------------------------------------------------------------------------

    async def forget(self, scope: Scope, memory_id: str, *, request: Request, durability: Durability) -> Receipt:
        """Removes a memory for good, with what Redis knows to be made of it; the archiver forgets the rest of that.

        Raises NotFound, and ArchiveUnavailable when only the archive would know it.
        """
        check_id("id", memory_id)
        asked = Asked(scope.check(), Selection(ids=[memory_id]), request, durability, own=memory_id)
        begun, receipt = await self._forgets.look(asked.id)
        if receipt is not None:
            await self._confirm(asked, receipt, memory_id, repeated=True)
            stone = await self._records.tombstones.inside(project_of(scope), memory_id)
            return _told(asked, receipt, *((stone.version, stone.forgotten_at) if stone else (0, 0)))
        plan = _read(begun) or await self._plan_one(asked, memory_id)
        steps = await self._take_steps(asked, plan)
        own = next(written for one, written in steps if one.id == memory_id)
        if own.outcome not in ("forgotten", "already"):
            raise _not_forgotten(memory_id, own)
        if not _gone(steps):
            return _already(memory_id, own)
        receipt = await self._leave(asked, plan, steps)
        await self._confirm(asked, receipt, memory_id, repeated=False)
        return _told(asked, receipt, own.version, own.forgotten_at)

    async def _plan_one(self, asked: Asked, memory_id: str) -> Plan:
        plan = await self._planner.plan_one(asked.scope, await self._target(asked.scope, memory_id))
        if len(plan.targets) == 1:
            return plan  # its one step is all that there is to be done again
        return _read(await self._forgets.begin(asked.id, msgspec.json.encode(plan))) or plan

    async def _target(self, scope: Scope, memory_id: str) -> Target:
        """The memory as a target. One that is forgotten already has nothing but its place."""
        reason = Selection(ids=[memory_id]).reason()
        if hot := await self._records.get(scope, memory_id):
            return target(hot, None, reason)
        stone = await self._records.tombstones.inside(scope, memory_id)
        try:
            record = await self._archive.get_memory(scope, memory_id) if self._archive else None
        except ArchiveUnavailable:
            if stone is None:
                raise
            record = None
        if record is not None and (stone is None or record.memory.version > stone.version):
            return target(None, record.memory, reason)
        if stone is None:
            raise NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)
        place = stone.place(self._clock.now())
        return msgspec.structs.replace(target(place, None, reason), hot=False)

    # --- many -----------------------------------------------------------------------------------------------------

    async def plan(self, scope: Scope, selection: Selection, *, cascade: bool = False) -> ForgottenMany:
        """What `forget_many` would remove now. Raises BadRequest, TooLarge, ArchiveUnavailable."""
        plan = await self._planner.plan(scope.check(), selection.check(), cascade=cascade)
        return ForgottenMany(plan=plan.shown())

    async def forget_many(self, asked: Asked, *, if_plan: str | None = None) -> ForgottenMany:
        """Removes what is selected, and what was made of it, for good; exactly the plan, or nothing when it is another.

        Raises what `plan` raises, Conflict, Overloaded, and DurabilityNotReached (it is forgotten then).
        """
        asked.scope.check()
        asked.selection.check()
        async with self._forgets.turn(asked.id):
            begun, receipt = await self._forgets.look(asked.id)
            repeated = receipt is not None
            if receipt is None:
                plan = _read(begun) or await self._begin(asked, if_plan)
                receipt = await self._leave(asked, plan, await self._take_steps(asked, plan))
        await self._confirm(asked, receipt, receipt.id, repeated=repeated)
        return ForgottenMany(receipt=receipt.page(0, RECEIPT_PAGE_MAX))

    async def forget_planned(self, asked: Asked, plan: Plan | None) -> FullReceipt | None:
        """Removes exactly what was planned, for good; without a plan, goes on with the one that was begun, if one was.

        Raises HotUnavailable, ArchiveUnavailable, Overloaded.
        """
        async with self._forgets.turn(asked.id):
            begun, receipt = await self._forgets.look(asked.id)
            if receipt is None and (stands := _read(begun) or (plan and await self._keep(asked, plan))):
                receipt = await self._leave(asked, stands, await self._take_steps(asked, stands))
        return receipt

    async def _begin(self, asked: Asked, if_plan: str | None) -> Plan:
        plan = await self._planner.plan(asked.scope, asked.selection, cascade=asked.cascade)
        if if_plan not in (None, plan.digest):
            raise Conflict(
                "the plan is another by now; nothing was forgotten",
                hint="look at the plan again (dry_run), and decide on it",
                plan=plan.digest,
                count=len(plan.targets),
            )
        return await self._keep(asked, plan)

    async def _keep(self, asked: Asked, plan: Plan) -> Plan:
        """Keeps a plan before anything of it is done; the one that stands."""
        return _read(await self._forgets.begin(asked.id, msgspec.json.encode(plan))) or plan

    async def rewrite(self, *, dry_run: bool = False) -> list[str]:
        """Cleans Redis's files of what is forgotten; which were done in time. Raises BadRequest when that cannot be.

        Not a part of a forget: while that is not answered, its own request, which may quote what it selects, is in Redis.
        """
        await check_rewritable(self._records.redis)
        return [] if dry_run else await rewrite(self._records.redis)

    # --- the steps ------------------------------------------------------------------------------------------------

    async def _take_steps(self, asked: Asked, plan: Plan) -> Steps:
        """Every target's atomic step, and what each did. One that was taken before answers as then."""
        steps: Steps = []
        for some in _some(plan.targets):
            now = to_microseconds(self._clock.now())
            written = await forget(self._records, [_doomed(asked, one) for one in some], now=now)
            steps += zip(some, written, strict=True)
        return steps

    async def _leave(self, asked: Asked, plan: Plan, steps: Steps) -> FullReceipt:
        """Empties the holders, waits for what is to be confirmed, and leaves the receipt."""
        removed = await self._remove(asked, plan)
        gone = _gone(steps)
        entries = _last_entries(self._records, gone)
        reached = await self._reached(asked, entries)
        receipt = FullReceipt(
            id=asked.id, tenant=asked.scope.tenant, project=asked.scope.project, agent=asked.scope.agent,
            session=asked.scope.session, asked_by=asked.request.client, request_id=asked.request.id,
            selection=asked.selection.described(), cascade=asked.cascade, asked_at=plan.asked_at,
            finished_at=self._clock.now(), durability=reached,
            removed={**removed, "redis": {**removed.get("redis", {}), **_removed_by(gone)}}, count=len(gone),
            memories=[ForgottenMemory(id=one.id, version=written.version, reason=one.reason) for one, written in gone],
            entries=entries, plan=plan.digest,
        )  # fmt: skip
        return await self._forgets.leave(receipt)

    async def _remove(self, asked: Asked, plan: Plan) -> Removed:
        """Empties every holder. What a plan has counted counts: after a crash nobody knows what was removed before it."""
        criteria = _criteria(asked, plan)
        emptied = [await one.remove(criteria, asked.selection, plan.targets) for one in self._holders]
        return plan.removes or added(emptied)

    # --- durability -----------------------------------------------------------------------------------------------

    async def _reached(self, asked: Asked, entries: dict[str, str]) -> Durability:
        """What the steps have survived, of what was asked for; waits for it as every write does."""
        if asked.durability is Durability.HOT or not await self._forgets.synced(asked.id):
            return Durability.HOT
        if asked.durability is Durability.FSYNC:
            return Durability.FSYNC
        last = {bucket: Written("forgotten", f"mem_{bucket}", entry=entry) for bucket, entry in entries.items()}
        late = await not_archived(self._records.redis, self._records.keys, last)
        return Durability.FSYNC if late else Durability.ARCHIVED

    async def _confirm(self, asked: Asked, receipt: FullReceipt, subject: str, *, repeated: bool) -> None:
        """Waits until the receipt is as safe as what it speaks of; a repeat waits for both. Raises DurabilityNotReached."""
        reached = await self._reached(asked, receipt.entries) if repeated else receipt.durability
        if reached is Durability.FSYNC and not await self._forgets.synced(asked.id):
            reached = Durability.HOT
        if reached is Durability.ARCHIVED and not await self._chained(asked.id):
            reached = Durability.FSYNC
        if _LEVELS.index(reached) < _LEVELS.index(asked.durability):
            raise DurabilityNotReached(
                f"{subject}: is forgotten, but {asked.durability} was not confirmed in time",
                id=subject, version=next((one.version for one in receipt.memories if one.id == subject), 0),
                outcome="forgotten", wanted=asked.durability, reached=reached,
            )  # fmt: skip

    async def _chained(self, receipt_id: str) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHAINED_SECONDS_MAX):
                while not await self._forgets.fetched(receipt_id):
                    await heedful_sleep(LOOK_SECONDS)
                return True
        return False


def _read(begun: bytes | None) -> Plan | None:
    return msgspec.json.decode(begun, type=Plan) if begun else None


def _criteria(asked: Asked, plan: Plan) -> Criteria:
    return resolve(asked.selection, asked.scope, plan.asked_at)


def _doomed(asked: Asked, one: Target) -> Doomed:
    project = project_of(asked.scope)
    place = msgspec.structs.replace(project, agent=one.agent, session=one.session)
    # One key for each memory: a bucket knows a request by its id alone.
    known = Request(f"{asked.id} {one.id}", asked.id, asked.request.traceparent)
    own = one.id == asked.own
    return Doomed(
        memory_id=one.id, memory_type=one.type, scope=place, inside=asked.scope if own else project,
        request=asked.request if own else known, archived_version=one.archived_version,
        content_hash=next(iter(one.contents), ""),
    )  # fmt: skip


def _gone(steps: Steps) -> Steps:
    """Those that this forget has removed; the others were gone before."""
    return [(one, written) for one, written in steps if written.outcome == "forgotten"]


def _removed_by(gone: Steps) -> dict[str, int]:
    """What the steps themselves have removed from Redis."""
    return {
        "records": sum(written.was_here for _, written in gone),
        "journal_entries": sum(written.entries_removed for _, written in gone),
    }


def _last_entries(records: Records, gone: Steps) -> dict[str, str]:
    """The last journal entry in each bucket."""
    last: dict[str, str] = {}
    for one, written in gone:
        bucket = records.keys.bucket(one.id)
        last[bucket] = max(last.get(bucket, "0-0"), written.entry, key=entry_order)
    return dict(sorted(last.items()))


def _not_forgotten(memory_id: str, written: Written) -> Exception:
    if written.outcome == "missing":
        return NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)
    return refusal(written.outcome)


def _told(asked: Asked, receipt: FullReceipt, version: int, forgotten_at: int) -> Receipt:
    """A receipt as the answer to the forget of one memory, whose tombstone (by now perhaps a later one) says the rest."""
    own = next((one.version for one in receipt.memories if one.id == asked.own), None)
    return Receipt(
        id=asked.own,
        version=own or version,
        outcome="forgotten" if own else "already",
        forgotten_at=from_microseconds(forgotten_at) if forgotten_at else receipt.asked_at,
        journal_entries_removed=receipt.removed["redis"]["journal_entries"],
        durability=asked.durability,
        derived=receipt.count - (1 if own else 0),
        receipt=receipt.id,
    )


def _already(memory_id: str, written: Written) -> Receipt:
    return Receipt(
        id=memory_id,
        version=written.version,
        outcome="already",
        forgotten_at=from_microseconds(written.forgotten_at),
    )


def _some(targets: Sequence[Target]) -> Iterator[Sequence[Target]]:
    return (targets[start : start + BATCH] for start in range(0, len(targets), BATCH))
