"""Near-duplicates: memories of a scope that are near by meaning and say nearly the same word for word.

They are looked for in the order of their ids, some at a time: of each the nearest in the scope's own index, by the vector that
it has there; of these the ones whose text overlaps with its own. Distance alone proposes nothing. See docs/maintenance.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from memoryd.archive.store import Archive
from memoryd.errors import BadRequest, MemorydError
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.hot.search import QueryVector, Search
from memoryd.keys import kind_of
from memoryd.lifecycle.merging import Merging
from memoryd.lifecycle.overlap import Overlaps, first_and_others, groups_of, may_repeat, objection
from memoryd.limits import DUPLICATE_TEXT_CHARS, DUPLICATES_NEAREST, DUPLICATES_PAGE_MAX
from memoryd.model.duplicates import Duplicate, DuplicateGroup, DuplicatePage
from memoryd.model.ids import check_id
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.rules import Configured, rules_of
from memoryd.model.scope import Scope
from memoryd.whole import Wholes
from memoryd_telemetry.propagation import inject

TYPES = [one for one in MemoryType if one.dedups]
OVERLAP = 0.8  # what is asked for without a word: of twenty words in a row, one may be another at the beginning or the end


class Duplicates:
    """Looks for duplicates in one Redis and its archive. `configured` says what is pinned, `embeds` whether there are vectors."""

    def __init__(
        self, records: Records, search: Search, archive: Archive, merging: Merging, configured: Configured, *, embeds: bool
    ) -> None:
        self._records = records
        self._search = search
        self._archive = archive
        self._merging = merging
        self._configured = configured
        self._embeds = embeds
        self._wholes = Wholes(records, archive, lambda: "")

    async def look(
        self, scope: Scope, *, after: str, limit: int, overlap_min: float, merge: bool, request: Request
    ) -> DuplicatePage:
        """The groups among `limit` memories that come after an id, as proposals; with `merge` each is made one memory.

        Raises BadRequest, ArchiveUnavailable, HotUnavailable, Overloaded. What keeps one group from being merged is said there.
        """
        if after:
            check_id("after", after)
        if not self._embeds:
            raise BadRequest(
                "duplicates: this daemon has no embedding model, and so no neighbours to compare",
                hint="run one with a model (MEMORYD_EMBEDDER); what is the same to the letter is one memory already",
            )
        ids = await self._archive.ids_after(scope.check(), after, limit, types=TYPES)
        memories = await self._read(scope, ids)
        near = await self._nearest(scope, list(memories.values()))
        others = {other for found in near.values() for other in found} - memories.keys()
        pool = memories | await self._read(scope, sorted(others))
        groups = []
        for group, overlaps in groups_of(list(memories), near, pool, overlap_min):
            groups.append(await self._decide(scope, group, overlaps, request, merge=merge))
            await asyncio.sleep(0)  # long texts take their time: others are served between two groups
        return DuplicatePage(
            groups=groups, looked=len(ids), next=ids[-1] if len(ids) == limit else "",
            merged=sum(one.outcome == "merged" for one in groups), refused=sum(one.outcome == "refused" for one in groups),
        )  # fmt: skip

    async def counted(self, given: str = "", *, merge: bool = False) -> dict[str, int]:
        """All projects as a job, page by page: how many memories were looked at, and how many groups there are; with `merge` they
        are merged. Half of the time is left to others."""
        done = Counter[str]()
        for scope in await self._archive.projects() if self._embeds else ():
            after = ""
            while True:
                began = asyncio.get_running_loop().time()
                request = Request(f"duplicates {scope.tenant} {scope.project} {after}", "", inject())
                page = await self.look(
                    scope, after=after, limit=DUPLICATES_PAGE_MAX, overlap_min=OVERLAP, merge=merge, request=request
                )
                done.update(memories=page.looked, groups=len(page.groups), merged=page.merged)
                if not (after := page.next):
                    break
                await asyncio.sleep(asyncio.get_running_loop().time() - began)
        return {name: done[name] for name in ("memories", "groups", "merged")}

    async def _read(self, scope: Scope, ids: Sequence[str]) -> dict[str, Memory]:
        """Those of the memories that Redis has, whole, and that can be a duplicate."""
        here = await self._records.get_many(scope, dict.fromkeys(ids, kind_of(TYPES[0]))) if ids else {}
        return {key: one for key, one in (await self._wholes.read(here.values())).items() if may_repeat(one)}

    async def _nearest(self, scope: Scope, memories: Sequence[Memory]) -> Mapping[str, Sequence[str]]:
        """The ids of each one's nearest in its own scope and type."""
        kinds = {one.id: kind_of(one.memory_type) for one in memories}
        vectors = await self._records.vectors(scope, kinds) if kinds else {}
        asked = [one for one in memories if one.id in vectors]
        found = await self._search.neighbours(
            [(one.scope, one.memory_type, QueryVector(vectors[one.id], one.embedding_model)) for one in asked],
            DUPLICATES_NEAREST,
        )
        return dict.fromkeys(kinds, ()) | dict(zip((one.id for one in asked), found, strict=True))

    async def _decide(
        self, scope: Scope, group: Sequence[Memory], overlaps: Overlaps, request: Request, *, merge: bool
    ) -> DuplicateGroup:
        reason = objection(group, rules_of(self._configured, scope.tenant, scope.project).pin_tags)
        proposed = _proposed(group, overlaps, reason)
        if not merge:
            return proposed
        if reason:
            return msgspec.structs.replace(proposed, outcome="refused")
        try:
            moved = await self._merging.merge(scope, group, request=request)
        except MemorydError as error:  # the others of the page may still be merged; this one is found again
            return msgspec.structs.replace(proposed, outcome="refused", reason=error.message)
        return msgspec.structs.replace(proposed, outcome="merged", moved=moved)


def _proposed(group: Sequence[Memory], overlaps: Overlaps, reason: str) -> DuplicateGroup:
    survivor, others = first_and_others(group)
    return DuplicateGroup(
        outcome="proposed", survivor=survivor.id, agent=survivor.agent_id, session=survivor.session_id,
        type=survivor.memory_type, text=survivor.content[:DUPLICATE_TEXT_CHARS], reason=reason,
        memories=[
            Duplicate(id=one.id, overlap=round(overlaps.of(survivor.id, one.id), 3), text=one.content[:DUPLICATE_TEXT_CHARS])
            for one in others
        ],
    )  # fmt: skip
