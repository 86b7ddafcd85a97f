"""Reading through: what Redis has of a memory of the tier `long` lacks its content, and the archive has it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from memoryd.archive.store import Archive
from memoryd.errors import ArchiveUnavailable
from memoryd.hot.changes import Projection, fitted
from memoryd.hot.projecting import project_many
from memoryd.hot.records import Records
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope


class Wholes:
    """Makes light memories whole, for a reader or in Redis. `model` tells the embedding model's name, empty without one."""

    def __init__(self, records: Records, archive: Archive | None, model: Callable[[], str]) -> None:
        self._records = records
        self._archive = archive
        self._model = model

    async def read(self, memories: Iterable[Memory]) -> dict[str, Memory]:
        """The memories by id, light ones with their content: one round trip to the archive, none when all are whole.

        One that the archive does not hold any more is left out: it was forgotten there. Raises ArchiveUnavailable.
        """
        known = {one.id: one for one in memories}
        light = [one for one in known.values() if one.light]
        if not light:
            return known
        if self._archive is None:
            raise ArchiveUnavailable("read: this daemon has no archive, and the content of a memory is only there")
        archived = await self._archive.contents([one.id for one in light])
        known |= {one.id: one.filled(archived[one.id]) for one in light if one.id in archived}
        return {key: one for key, one in known.items() if not one.light}

    async def cold(self, scope: Scope, memory_ids: Sequence[str]) -> dict[str, Memory]:
        """Those of the memories that are only in the archive, and that the scope sees. Raises ArchiveUnavailable."""
        if self._archive is None:
            return {}
        found = await self._archive.contents(memory_ids)
        here = await self._records.present(scope, list(found))
        buried = await self._records.tombstones.versions(list(found))
        return {
            key: one for key, one in found.items()
            if key not in here and one.version > buried.get(key, 0) and one.seen_from(scope)
        }  # fmt: skip

    async def texts(self, memory_ids: Sequence[str]) -> dict[str, str]:
        """The contents of those that the archive has, where somebody can do without: nothing while it is away."""
        with contextlib.suppress(ArchiveUnavailable):
            if self._archive and memory_ids:
                return {key: one.content for key, one in (await self._archive.contents(memory_ids)).items()}
        return {}

    async def bring(self, memories: Sequence[Memory]) -> int:
        """Gives these memories' records their content back; how many were light. Raises ArchiveUnavailable."""
        if not memories:
            return 0
        if self._archive is None:
            raise ArchiveUnavailable("bring back: the content of a memory is only in the archive, which is not there")
        archived = await self._archive.records([one.id for one in memories])
        wanted = []
        for record in archived.values():
            fit, unembedded = fitted(record, self._model())
            wanted.append(Projection(fit, foreign=unembedded, whole=True))
        return (await project_many(self._records, wanted)).count("whole") if wanted else 0
