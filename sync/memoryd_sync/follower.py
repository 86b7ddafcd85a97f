"""The follower: MongoDB's change stream → Redis; the place is saved after the effect, and no gap is skipped.

Without a place (a new Redis, an emptied one, or a place that MongoDB no longer knows) both stores are compared whole
first, and each is brought up to the other. The stream is opened before that, so that nothing falls in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import HotUnavailable, MemorydError
from memoryd.hot.client import hot_errors
from memoryd.hot.lease import Lease
from memoryd.hot.projecting import raise_fences
from memoryd.hot.records import Records
from memoryd.keys import SCHEMA
from memoryd.limits import FOLLOW_BATCH_MAX, FOLLOW_CHANGES_MAX
from memoryd.retry import heed_cancellation, wait_for_stop
from memoryd_sync.changes import COLLECTION_GONE, Changes
from memoryd_sync.lease import RENEW_SECONDS
from memoryd_sync.order import put_in_order
from memoryd_sync.place import Places
from memoryd_sync.projector import Fenced, Projector
from memoryd_sync.reconcile import Reconciler
from memoryd_sync.under_way import UnderWay
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure

log = get_logger("memoryd.follower")

# MongoDB cannot go on from the token: its history is lost (136: beneath an open stream), its stream is broken, or the
# token is not one of its own.
PLACE_LOST = frozenset({136, 286, 280, 260, 50811, 9, 15, 40647})
SAVE_SECONDS = 0.5  # also when idle: a quiet collection's token would age out of the oplog
AWAIT_MILLISECONDS = 250  # how long the server holds an idle poll
STANDBY_SECONDS = 0.25  # with the lease's 4 s, a dead follower is replaced within 5 s
SETTLE_SECONDS = 2.0  # the archiver is milliseconds behind; what still differs then is not merely on its way


class Follower:
    """Brings one Redis what others write to the archive, while it holds the lease."""

    def __init__(
        self,
        records: Records,
        archive: Archive,
        places: Places,
        lease: Lease,
        clock: Clock,
        *,
        prepare_archive: Callable[[], Awaitable[None]],
        told: Told = told_to_nobody,
    ) -> None:
        """`told` returns when the spans of what was followed are kept, where they are."""
        self._records = records
        self._archive = archive
        self._places = places
        self._lease = lease
        self._clock = clock
        self._prepare_archive = prepare_archive
        self._told = told
        self._projector = Projector(records, archive, clock)
        self._reconciler = Reconciler(records, archive, self._projector)

    async def step(self, stop: asyncio.Event) -> None:
        """Follows while the lease is held, or stands by for a moment."""
        if not await self._knows_model() or not await self._lease.hold():
            await asyncio.sleep(STANDBY_SECONDS)
            return
        log.info("follow.active", holder=self._lease.holder)
        measure(telemetry.LEASE_CHANGES, 1, {telemetry.OUTCOME: "taken"})
        self._projector.begin(self._lease.fence)
        try:
            await raise_fences(self._records, self._lease.fence)
            await self._follow(stop)
        except Fenced:
            log.warning("follow.fenced", holder=self._lease.holder)
        except MemorydError as error:
            if getattr(error.__cause__, "code", None) not in PLACE_LOST:
                raise
            await self._lose_place("history", "MongoDB no longer holds the history from there")

    async def leave(self) -> None:
        """Lets the next follower begin at once."""
        await self._lease.give_back()

    async def _knows_model(self) -> bool:
        """Whether a daemon has prepared this Redis; then its embedding model is known, or that it has none."""
        with hot_errors("follow"):
            state = cast("dict[bytes, bytes]", await self._records.redis.hgetall(SCHEMA))
        self._projector.model = state.get(b"model", b"").decode()
        self._records.slot = state.get(b"slot", b"").decode()
        return b"version" in state

    async def _lose_place(self, kind: str, why: str) -> None:
        place = await self._places.load()
        age = (to_microseconds(self._clock.now()) - place.saved_at) / 1e6 if place else 0
        log.warning("follow.place_lost", why=why, place_age_seconds=round(age), next="comparing both stores whole")
        measure(telemetry.GAPS, 1, {telemetry.GAP: kind})
        await self._places.drop(why)

    async def _follow(self, stop: asyncio.Event) -> None:
        """Opens the stream at the saved place, or reconciles everything first, and applies change after change."""
        place = await self._places.load()
        with archive_errors("follow"):
            stream = await self._archive.memories.watch(
                resume_after=place.token if place else None,
                max_await_time_ms=AWAIT_MILLISECONDS,
                batch_size=FOLLOW_CHANGES_MAX,
            )
            async with stream:
                # The token comes before the comparison: what changes meanwhile comes again, harmlessly.
                if place is None:
                    await self._archive.until_a_majority_has_all()
                    if not await self._reconcile(stream.resume_token, stop):
                        return
                changes = Changes(stream)
                try:
                    await self._apply_changes(changes, stop)
                finally:
                    await changes.close()

    async def _apply_changes(self, changes: Changes, stop: asyncio.Event) -> None:
        under_way = UnderWay(self._apply, changes.token)
        try:
            await self._apply_as_they_come(changes, under_way, stop)
        finally:
            await under_way.close()

    async def _apply(self, changes: Sequence[Mapping[str, Any]]) -> None:
        await self._projector.apply_changes(changes)
        await self._told()

    async def _apply_as_they_come(self, changes: Changes, under_way: UnderWay, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        saved = renewed = loop.time()
        while not stop.is_set():
            heed_cancellation()
            some = await changes.some()
            gone = bool(some) and some[-1]["operationType"] in COLLECTION_GONE
            if some:
                await under_way.begin(some[:-1] if gone else some, changes.token)
            if gone or not some:
                await under_way.done()
                under_way.token = changes.token
            if gone:
                await self._lose_place("collection", f"the collection is gone ({some[-1]['operationType']})")
                await self._prepare_archive()
                return
            if loop.time() - renewed >= RENEW_SECONDS:
                renewed = loop.time()
                await self._knows_model()  # after a reindex, the old model's vectors must not come back from the archive
                if not await self._lease.renew():
                    log.warning("follow.lease_lost")
                    measure(telemetry.LEASE_CHANGES, 1, {telemetry.OUTCOME: "lost"})
                    return
            if loop.time() - saved >= SAVE_SECONDS and under_way.token:
                saved = loop.time()
                if not await self._places.save(under_way.token, self._lease):
                    return
        await under_way.done()
        if under_way.token:
            await self._places.save(under_way.token, self._lease)

    async def _reconcile(self, token: Any, stop: asyncio.Event) -> bool:
        """Brings both stores together whole, and saves the place from before; False when it was interrupted."""
        async with self._lease_kept():
            # Before the copy: of a collection that is dropped meanwhile, the stream tells.
            identity = await self._archive.identity()
            if not await self._copy_all(stop):
                return False
            await self._mend_differences()
        return token is None or await self._places.save(token, self._lease, compared_with=identity)

    async def _mend_differences(self) -> None:
        comparison = await self._reconciler.compare()
        if not comparison.differences:
            return
        await asyncio.sleep(SETTLE_SECONDS)
        differing = await self._reconciler.still_differing(comparison.differences)
        await self._reconciler.mend(differing)
        for difference in differing:
            measure(telemetry.DIFFERENCES, 1, {telemetry.DIFFERENCE: difference.kind.name.lower()})
        log.info("follow.reconciled", differences=len(differing), hot=comparison.hot, archived=comparison.archived)

    @asynccontextmanager
    async def _lease_kept(self) -> AsyncIterator[None]:
        """Renews the lease during work that takes longer than it; whether it was kept shows when the place is saved."""

        done = asyncio.Event()

        async def renew() -> None:
            with contextlib.suppress(HotUnavailable):
                while not await wait_for_stop(done, RENEW_SECONDS) and await self._lease.renew():
                    continue

        renewing = asyncio.create_task(renew(), name="lease")
        try:
            yield
        finally:
            done.set()
            await renewing

    async def _copy_all(self, stop: asyncio.Event) -> bool:
        """Applies every document of the archive; False when it was interrupted."""
        count = 0
        async for documents in self._archive.batches({}, FOLLOW_BATCH_MAX):
            await self._projector.apply_all(documents, copied=True)
            count += len(documents)
            heed_cancellation()
            if stop.is_set():
                return False
        if not await put_in_order(self._records, self._projector.model, stop):
            return False
        log.info("follow.copied", memories=count)
        return True
