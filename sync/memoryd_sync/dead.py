"""Dead letters: what a follower gave up, by id and reason. Looked at, tried again, or dropped by people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from memoryd.archive.codec import Document
from memoryd.archive.documents import owner_collection
from memoryd.archive.store import Archive
from memoryd.errors import NotFound
from memoryd.hot.client import hot_errors
from memoryd.hot.documents import Documents
from memoryd.hot.records import Records
from memoryd.keys import DEAD_LETTERS
from memoryd.model.document import Place as DocumentPlace
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope, from_tag
from memoryd_sync.reconcile import Place, rejournal

LIST_MAX = 1_000  # letters of one look; more are reached from the last id shown


class DeadLetter(msgspec.Struct, frozen=True):
    """One thing that was given up. `letter` is its own id, `id` the memory's or the document's."""

    letter: str
    group: str
    id: str
    reason: str
    op: str = ""
    version: str = ""
    tenant: str = ""
    project: str = ""
    memory_type: str = ""
    bucket: str = ""
    entry: str = ""
    collection: str = ""
    agent_id: str = ""
    session_id: str = ""


class DeadLetters:
    """The dead letters of one Redis. `apply_document` is the follower's way into Redis."""

    def __init__(
        self, records: Records, archive: Archive, apply_document: Callable[[Document], Awaitable[None]]
    ) -> None:
        self._records = records
        self._documents = Documents(records.redis, records.keys)
        self._archive = archive
        self._apply_document = apply_document

    async def list(self, *, after: str = "-", count: int = LIST_MAX) -> list[DeadLetter]:
        """The oldest letters after a letter's id, oldest first."""
        start = after if after == "-" else f"({after}"
        with hot_errors("dead letters"):
            rows: Any = await self._records.redis.xrange(DEAD_LETTERS, min=start, count=min(count, LIST_MAX))
        return [_letter(row_id, fields) for row_id, fields in rows]

    async def show(self, letter: str) -> DeadLetter:
        """One letter. Raises NotFound."""
        with hot_errors("dead letters"):
            rows: Any = await self._records.redis.xrange(DEAD_LETTERS, min=letter, max=letter)
        if not rows:
            raise NotFound(f"{letter}: there is no such dead letter", hint="`memoryd sync dead list` shows them")
        return _letter(*rows[0])

    async def retry(self, letter: str) -> bool:
        """Has the memory followed again as it is now; False when there is nothing left to follow. Drops the letter."""
        one = await self.show(letter)
        done = await (self._refollow(one) if one.group == "follow" else self._rejournal(one))
        await self.drop(letter)
        return done

    async def drop(self, letter: str) -> None:
        """Removes a letter. Raises NotFound."""
        await self.show(letter)
        with hot_errors("dead letters"):
            await self._records.redis.xdel(DEAD_LETTERS, letter)

    async def _refollow(self, one: DeadLetter) -> bool:
        document = await self._archive.get(one.id)
        if document is None:
            return False
        await self._apply_document(document)
        return True

    async def _rejournal(self, one: DeadLetter) -> bool:
        if one.collection:
            return await self._documents.rejournal(_document_place(one)) > 0
        if not (one.tenant and one.project and one.memory_type):
            return False
        place = Place(one.id, Scope(from_tag(one.tenant), from_tag(one.project)), MemoryType(one.memory_type))
        return await rejournal(self._records, [place]) > 0


def _document_place(one: DeadLetter) -> DocumentPlace:
    scope = Scope(*map(from_tag, (one.tenant, one.project, one.agent_id, one.session_id)))
    return DocumentPlace(owner_collection(one.collection), one.id, scope)


def _letter(row_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    texts = {name.decode(): raw.decode("utf-8", "replace") for name, raw in fields.items()}
    return DeadLetter(
        letter=row_id.decode(), **{name: texts.get(name, "") for name in DeadLetter.__struct_fields__[1:]}
    )
