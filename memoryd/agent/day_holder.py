"""The notes of agents' days, as a forget reaches them: see `memoryd.lifecycle.holders`.

A note goes with the summary that it names, and so with all that this was made of; and with its agent. It holds no text: one that
is left over, because the archiver alone knew what a summary was made of, is taken for none (`agent.days`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

from memoryd.agent.documents import DocumentStore
from memoryd.clock import to_microseconds
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.changes import Request
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.limits import DAYS_READ
from memoryd.model.day import COLLECTION, day_place
from memoryd.model.document import Document, Place
from memoryd.model.receipt import Finding, FullReceipt, Removed
from memoryd.model.scope import Scope


class DayHolder:
    """Notes in both stores."""

    name = "days"

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many notes go."""
        return _counted(await self._reached(criteria, targets))

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Ends them."""
        places = await self._reached(criteria, targets)
        for place in places:
            await self._store.end(place, Request(secrets.token_hex(12), "forget"))
        return _counted(places)

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Notes of an agent that should be gone whole, and have not been made since."""
        asked = receipt.selection
        if receipt.scope.session or asked.keys() - {"agent", "everything"}:
            return []
        return [
            Finding(where=self.name, id=one.place.id, what="it is there, from before the forget")
            async for one in self._all(receipt.scope.of_agent(asked.get("agent")))
            if int(one.body["made_at"]) < to_microseconds(receipt.asked_at)
        ]

    async def _reached(self, criteria: Criteria, targets: Sequence[Target]) -> list[Place]:
        project = Scope(criteria.scope.tenant, criteria.scope.project)
        places = [place for one in targets if (place := await self._naming(project, one))]
        if criteria.by_place_or_time and not (criteria.scope.session or criteria.words or criteria.before):
            places += [one.place async for one in self._all(criteria.scope)]
        return list({one.id: one for one in places}.values())

    async def _naming(self, project: Scope, one: Target) -> Place | None:
        """The note that names this memory, where it is a day's summary."""
        if one.day is None:
            return None
        place = day_place(Scope(project.tenant, project.project, one.agent), one.day)
        with contextlib.suppress(ArchiveUnavailable):  # what only the archive has names nothing that lives from now on
            noted = await self._store.get(place)
            return place if noted and noted.body["summary"] == one.id else None
        return None

    async def _all(self, scope: Scope) -> AsyncIterator[Document]:
        """The notes of a scope that the archive has and that were not ended since; those that it has not yet go with their
        summaries."""
        after = ""
        while page := await self._store.page(COLLECTION, scope, after=after, limit=DAYS_READ):
            after = page[-1].place.id
            ended = await self._store.documents.ended([one.place.id for one in page])
            for one in page:
                if ended.get(one.place.id, 0) < one.version:
                    yield one


def _counted(places: Sequence[Place]) -> Removed:
    return {"mongodb": {"days": len(places)}} if places else {}
