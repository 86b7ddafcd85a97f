"""Questions to which nothing was found: what an agent does not know, noted by the verbs with which it asks."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from memoryd.clock import Clock, to_microseconds
from memoryd.errors import MemorydError
from memoryd.hot.gaps import Gaps
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.model.introspection import Gap
from memoryd.model.receipt import Finding, FullReceipt, Removed
from memoryd.model.results import Hit, Recalled
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms, terms
from memoryd.model.words import words_of

# The cosine of a memory that is about the same thing as a question is above this. Chosen, not measured.
ALIKE = 0.35


class GapNotes:
    """Notes gaps, and knows them."""

    def __init__(self, gaps: Gaps, clock: Clock) -> None:
        self.gaps = gaps
        self._clock = clock

    async def note(self, scope: Scope, query: str, found: Recalled) -> None:
        """Notes the question if nothing was found. Not being able to costs the answer nothing."""
        if not any(fits(hit, query) for hit in found):
            with contextlib.suppress(MemorydError):
                await self.gaps.note(scope, query, to_microseconds(self._clock.now()))


def fits(hit: Hit, query: str) -> bool:
    """Whether a memory has a word of the question, or is like it."""
    return alike(hit) >= ALIKE or bool(set(query_terms(query)) & set(terms(hit.memory.content)))


def alike(hit: Hit) -> float:
    """How like the question it is by its meaning, as a cosine."""
    return hit.why["meaning"].value if "meaning" in hit.why else 0.0


class GapHolder:
    """Gaps as a forget reaches them: by place, by words and by age."""

    name = "gaps"

    def __init__(self, gaps: Gaps) -> None:
        self._gaps = gaps

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many there are."""
        return await self._drop(criteria, dry_run=True)

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Drops them."""
        return await self._drop(criteria, dry_run=False)

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Nothing: they are gone with the step that removes them, and what is there may have been asked since."""
        return []

    async def _drop(self, criteria: Criteria, *, dry_run: bool) -> Removed:
        if not criteria.by_place_or_time:
            return {}

        def meant(gap: Gap) -> bool:
            return (criteria.before is None or gap.last_at < criteria.before) and criteria.words <= words_of(gap.query)

        count = await self._gaps.drop(criteria.scope, meant, dry_run=dry_run)
        return {"redis": {"gaps": count}} if count else {}
