"""What else keeps something of a memory: each kind of it joins every forget as a Holder.

Records, journal entries and the archive are the forget's own work (`planning`, `forgetting`). Whatever else is built
that holds what people said (a cache, a session's working memory, a checkpoint, an agent's state) has a Holder, and
`daemon.build` hands it in. A forget asks all of them: while it plans, while it runs, and when its receipt is verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memoryd.archive.client import archive_errors
from memoryd.archive.store import NAMED_MAX, Archive
from memoryd.embed.cache import EmbeddingCache
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.model.ids import hash_content
from memoryd.model.receipt import Finding, FullReceipt, Removed


class Holder(Protocol):
    """One kind of thing that a forget has to reach.

    What belongs to a session, an agent or a time goes by `criteria` (`criteria.scope` is the caller's, narrowed); what
    belongs to a memory goes by the targets. Both, where both apply.
    """

    name: str
    """For people: where a finding is."""

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """What `remove` would remove now, counted by store and kind."""
        ...

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Removes it, and says how much it was. After a crash it is called again with the same arguments, and does the
        rest; the receipt of a planned forget therefore goes by what `find` has counted."""
        ...

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """What is still there of what the receipt says is gone. What came after `finished_at` is none of it."""
        ...


class CachedVectors:
    """The embedding cache: vectors by content, of this daemon's model."""

    name = "embedding cache"

    def __init__(self, cache: EmbeddingCache) -> None:
        self._cache = cache

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many of the targets' contents have a vector here."""
        return {"redis": {"cached_vectors": await self._cache.count(criteria.scope, _contents(targets))}}

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Drops them, and the vector of the question that found the targets: it says what was to be forgotten."""
        if selection.query:
            await self._cache.purge(criteria.scope, hash_content(selection.query))
        return {"redis": {"cached_vectors": await self._cache.purge(criteria.scope, *_contents(targets))}}

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Nothing: a receipt knows no content. That every embedding follower has passed the forget, and purged what came
        late, is seen in its journal."""
        return []


class Dictionaries:
    """What compresses archived memories holds pieces of some. The archiver ends such a dictionary with the forget itself,
    whoever forgets; here it is looked at."""

    name = "MongoDB: dictionaries"

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """Nothing: what goes is counted where it goes."""
        return {}

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Nothing: the archiver does it, before the forget counts as archived."""
        return {}

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Dictionaries that were trained on what is gone."""
        found: list[str] = []
        ids = [one.id for one in receipt.memories]
        with archive_errors("look at dictionaries"):
            for start in range(0, len(ids), NAMED_MAX):
                found += await self._archive.packing.trained_on(ids[start : start + NAMED_MAX])
        what = "was trained on something that is forgotten"
        return [Finding(where=self.name, id=one, what=what) for one in dict.fromkeys(found)]


def _contents(targets: Sequence[Target]) -> list[str]:
    return sorted({one for target in targets for one in target.contents})
