"""Compression that can be undone: groups of memories get a summary each, and leave Redis for the archive.

Of each group, in this order: the summary is made, judged, stored and archived, with its sources in `derived_from`; then the
sources move (`lifecycle.moving`). Whatever dies in between leaves every memory readable, and a summary that names memories
which have not moved: the next run moves them under the summary that they have. So a run may be repeated at any time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from memoryd.archive.causes import link_to_writes
from memoryd.archive.store import Archive
from memoryd.durability import outwaited
from memoryd.engine import Engine
from memoryd.errors import (
    ArchiveUnavailable,
    DurabilityNotReached,
    Forgotten,
    HotUnavailable,
    NotSearchable,
    Overloaded,
)
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.lifecycle.grouping import grouped
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.summarizing import Made, Summarizing, room_for, size_of
from memoryd.lifecycle.targets import project_of
from memoryd.limits import (
    COMPRESS_MEMORIES_MAX,
    EXPAND_PAGE_MAX,
    SEARCHABLE_TIMEOUT_SECONDS,
    TAGS_MAX,
)
from memoryd.model.episode import event_of
from memoryd.model.fact import FACT
from memoryd.model.ids import check_id
from memoryd.model.memory import Durability, Memory, MemoryType, NewMemory, Tier, Wait
from memoryd.model.scope import Scope
from memoryd.model.summary import MADE_BY, SUMMARY, Compressed, CompressedGroup, Expanded, is_summary, of_a_day
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, tell


class Compressing:
    """Compresses and expands over one Redis and the archive. `embeds`: memories get vectors here."""

    def __init__(
        self, engine: Engine, records: Records, archive: Archive, planner: Planner, summarizing: Summarizing, mover: Mover,
        *, embeds: bool,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._records = records
        self._archive = archive
        self._planner = planner
        self._summarizing = summarizing
        self._mover = mover
        self._embeds = embeds

    async def compress(
        self, scope: Scope, selection: Selection, *, request: Request, dry_run: bool = False
    ) -> Compressed:
        """Puts summaries in the place of what is selected. A group whose summary is no good stays as it is, with the reason.

        Raises BadRequest, TooLarge, ArchiveUnavailable, HotUnavailable, Overloaded.
        """
        found = await self._planner.memories(scope.check(), selection.check(), most=COMPRESS_MEMORIES_MAX)
        memories = [one for one in found if one.tier is not Tier.ARCHIVE and plain(one)]
        if not dry_run:
            await self._searchable(memories)
        named = await self._named(scope, memories)
        groups = []
        for summary, some in _by_summary(memories, named):
            groups.append(await self._finish(summary, some, request, dry_run=dry_run))
        rest = [one for one in memories if one.id not in named]
        vectors = await self._archive.vectors([one.id for one in rest])
        away = ""
        for some in grouped(rest, vectors):
            if away:
                groups.append(_refused(some, away))
                continue
            try:
                groups.append(await self._compress_one(some, request, dry_run=dry_run))
            except (ArchiveUnavailable, HotUnavailable, Overloaded) as error:
                if not groups:
                    raise
                # The caller hears what is done by now; who compresses again goes on from there.
                away = error.message
                groups.append(_refused(some, away))
        return Compressed(
            groups=groups, memories=len(memories), moved=sum(one.moved for one in groups),
            chars=size_of(memories), summary_chars=sum(one.summary_chars for one in groups),
            refused=sum(one.outcome == "refused" for one in groups),
        )  # fmt: skip

    async def expand(
        self, scope: Scope, memory_id: str, *, first: int = 0, limit: int = EXPAND_PAGE_MAX, restore: bool = False,
        request: Request,
    ) -> Expanded:  # fmt: skip
        """What a summary was made of, word for word; with `restore` it lives in Redis again. Raises NotFound."""
        check_id("id", memory_id)
        one = await self._engine.get(scope, memory_id)
        sources = one.derived_from or [memory_id]
        selected = Selection(ids=sources[first : first + limit]) if sources[first : first + limit] else None
        memories = await self._planner.memories(scope, selected, most=limit) if selected else []
        order = {source: number for number, source in enumerate(sources)}
        memories = sorted((one for one in memories if scope.holds(one.scope)), key=lambda one: order[one.id])
        restored = await self._mover.restore(memories, traceparent=request.traceparent) if restore else 0
        missing = len(sources[first : first + limit]) - len(memories)
        return Expanded(id=memory_id, memories=memories, total=len(sources), missing=missing, restored=restored)

    # --- one group ------------------------------------------------------------------------------------------------

    @inside(telemetry.COMPRESS_GROUP)
    async def _compress_one(self, some: Sequence[Memory], request: Request, *, dry_run: bool) -> CompressedGroup:
        tell({telemetry.BATCH_SIZE: len(some)})
        await link_to_writes(self._archive, [one.id for one in some])
        made = await self._summarizing.judged(some, room_for(some))
        if made.reason:
            return _refused(some, made.reason)
        about = CompressedGroup(
            outcome="planned" if dry_run else "compressed", agent=some[0].agent_id, session=some[0].session_id,
            memories=len(some), chars=size_of(some), summary_chars=len(made.text), text=made.text if dry_run else "",
        )  # fmt: skip
        if dry_run:
            return about
        try:
            summary = await self._store(some, made, request)
        except (DurabilityNotReached, NotSearchable) as error:
            reason = f"the summary is stored, and not yet safe or found ({error.code}): run it again"
            return msgspec.structs.replace(about, outcome="refused", reason=reason, summary=str(error.details["id"]))
        except Forgotten:
            return _refused(some, "one of them was forgotten meanwhile: run it again")
        moved = await self._mover.archive(some, traceparent=request.traceparent)
        return msgspec.structs.replace(about, summary=summary, moved=moved)

    async def _finish(
        self, summary: Memory, some: Sequence[Memory], request: Request, *, dry_run: bool
    ) -> CompressedGroup:
        """Moves what has its summary already."""
        moved = 0 if dry_run else await self._mover.archive(some, traceparent=request.traceparent)
        return CompressedGroup(
            outcome="planned" if dry_run else "finished", agent=summary.agent_id, session=summary.session_id,
            memories=len(some), moved=moved, chars=size_of(some), summary=summary.id, summary_chars=len(summary.content),
        )  # fmt: skip

    async def _store(self, some: Sequence[Memory], made: Made, request: Request) -> str:
        """The id of the group's summary. A repeat for the same group meets the first one, whatever its words are."""
        group = hashlib.sha256(msgspec.json.encode([(one.id, one.version) for one in some])).hexdigest()
        new = _summary(some, made, self._summarizing.made_by)
        place = project_of(some[0].scope)
        place = msgspec.structs.replace(place, agent=some[0].agent_id, session=some[0].session_id)
        stored = await self._engine.store(
            place, new, request=Request(f"{MADE_BY} {group[:32]}", group[:32], request.traceparent),
            durability=Durability.ARCHIVED, wait=Wait.SEARCHABLE if self._embeds else None,
        )  # fmt: skip
        return stored.id

    # --- what there is already --------------------------------------------------------------------------------------

    async def _named(self, scope: Scope, memories: Sequence[Memory]) -> dict[str, Memory]:
        """The summary of each of the memories that has one, made since it was last changed. For that of a day nothing moves."""
        ids = await self._archive.naming(project_of(scope), "derived_from", [one.id for one in memories])
        summaries = [one for one in (await self._archive.living(sorted(ids))).values() if is_summary(one) and not of_a_day(one)]
        hot = await self._records.get_many(project_of(scope), sorted(ids)) if ids else {}
        known = {one.id: one for one in memories}
        return {
            source: summary
            for summary in summaries
            if summary.id in hot
            for source in summary.derived_from
            if source in known and known[source].recorded_at <= summary.recorded_at
        }

    async def _searchable(self, memories: Sequence[Memory]) -> None:
        """Waits a moment for the vectors of what has just been stored."""
        if not self._embeds or not memories:
            return
        by_project: Mapping[str, Memory] = {one.id: one for one in memories}
        await outwaited(by_project, partial(self._pending, project_of(memories[0].scope)), SEARCHABLE_TIMEOUT_SECONDS)

    async def _pending(self, project: Scope, memories: Mapping[str, Memory]) -> Mapping[str, Memory]:
        pending = await self._records.pending(project, list(memories))
        return {key: one for key, one in memories.items() if key in pending}


def _refused(some: Sequence[Memory], reason: str) -> CompressedGroup:
    return CompressedGroup(
        outcome="refused", agent=some[0].agent_id, session=some[0].session_id, memories=len(some), chars=size_of(some),
        reason=reason,
    )  # fmt: skip


def plain(one: Memory) -> bool:
    """Whether it is text that a summary can stand for: no summary itself, no event of a log and no triple, which are asked for
    by what they are."""
    return not is_summary(one) and event_of(one) is None and FACT not in one.metadata


def _by_summary(memories: Sequence[Memory], named: Mapping[str, Memory]) -> list[tuple[Memory, list[Memory]]]:
    found: dict[str, list[Memory]] = {}
    for one in memories:
        if one.id in named:
            found.setdefault(named[one.id].id, []).append(one)
    return [(named[some[0].id], some) for some in found.values()]


def _summary(some: Sequence[Memory], made: Made, made_by: str) -> NewMemory:
    tags = [tag for tag, _ in Counter(tag for one in some for tag in one.tags).most_common(TAGS_MAX - 1) if tag != SUMMARY]
    return NewMemory(
        content=made.text, type=MemoryType.SEMANTIC, dedup=False, source_tool=MADE_BY, tags=[SUMMARY, *tags],
        importance=max(one.importance for one in some), derived_from=[one.id for one in some],
        valid_from=some[0].valid_from,
        metadata={
            SUMMARY: {
                "memories": len(some), "chars": size_of(some), "made_by": made_by, "words": made.words,
                "from": some[0].valid_from.isoformat(), "until": some[-1].valid_from.isoformat(),
            }
        },
    )  # fmt: skip
