"""The net under every forget: what was made of a forgotten memory goes too, whenever and wherever it was stored.

The archiver sees every `forgotten` and every version that names its sources. It has written them when it comes here, and
looks only then; so of a forget and a summary that cross each other, the one that is written second finds the first, in
whichever archivers' hands they are. All of it may be done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memoryd.archive.store import Archive
from memoryd.clock import Clock, to_microseconds
from memoryd.hot.changes import Doomed, Request
from memoryd.hot.forgetting import forget
from memoryd.hot.journal import Entry
from memoryd.hot.receipts import Forgets
from memoryd.hot.records import Records
from memoryd.lifecycle.derived import sources_of
from memoryd.lifecycle.receipts import receipt_of_sync
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.archiver")


class Orphans:
    """Forgets what was made of forgotten memories."""

    def __init__(self, records: Records, archive: Archive, clock: Clock) -> None:
        self._records = records
        self._archive = archive
        self._clock = clock
        self._forgets = Forgets(records.redis)

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Looks for what was made of these entries' memories, or whether these were made of something forgotten.

        Raises HotUnavailable or ArchiveUnavailable.
        """
        by_project: dict[Scope, list[Entry]] = {}
        for entry in entries:
            if entry.op == "forgotten" or entry.text("derived_from"):
                project = Scope(entry.scope.tenant, entry.scope.project)
                by_project.setdefault(project, []).append(entry)
        for project, some in by_project.items():
            await self._forget_in(project, some)

    async def _forget_in(self, project: Scope, entries: Sequence[Entry]) -> None:
        forgets = {one.memory_id: (one.version, int(one.text("forgotten_at"))) for one in entries if one.op == "forgotten"}
        derived = {one.memory_id: one.text("derived_from").split(",") for one in entries if one.op != "forgotten"}
        named = sorted({*forgets, *(source for sources in derived.values() for source in sources)})
        ids = await self._archive.naming(project, "derived_from", named) | derived.keys()
        past = await self._archive.history.made_of(project, named)
        if not ids and not past:
            return
        sources = await sources_of(self._records, self._archive, project, named, forgets=forgets)
        for memory in await self._current(project, sorted(ids)):
            if source := sources.orphaned(memory.derived_from, memory.recorded_at):
                await self._forget_one(project, memory, source)
        orphaned = [one["_id"] for one in past if sources.orphaned(one["derived_from"], int(one["recorded_at"]))]
        await self._archive.history.drop(orphaned)

    async def _current(self, project: Scope, ids: Sequence[str]) -> Iterable[Memory]:
        """The memories as the newer store has them: one that was made anew without its source may stay."""
        archived = await self._archive.living(ids, with_text=False)
        hot = await self._records.get_many(project, ids) if ids else {}
        return [max((s for s in (archived.get(one), hot.get(one)) if s), key=lambda s: s.version)
                for one in ids if one in archived or one in hot]  # fmt: skip

    async def _forget_one(self, project: Scope, memory: Memory, source: str) -> None:
        """Forgets it, and leaves a receipt as every forget does. Who can make it anew without `source` would do so here."""
        request = Request(id=f"derived {memory.id} {memory.version}", fingerprint="")
        doomed = Doomed(memory.id, memory.memory_type, memory.scope, project, request, memory.version, memory.content_hash)
        now = self._clock.now()
        [written] = await forget(self._records, [doomed], now=to_microseconds(now))
        log.info("archive.orphan", id=memory.id, outcome=written.outcome)
        if written.outcome == "forgotten":
            bucket = self._records.keys.bucket(memory.id)
            reason = f"derived from {source}"
            await self._forgets.leave(
                receipt_of_sync(project, request, now, doomed, written, bucket=bucket, reason=reason)
            )
