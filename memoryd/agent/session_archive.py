"""Sessions on their way back from the archive to Redis, message for message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from memoryd.agent.documents import DocumentStore
from memoryd.archive.documents import Part
from memoryd.limits import SESSION_TTL_SECONDS
from memoryd.model.document import Document, Place

Range = tuple[int, int]


class SessionArchive:
    """The archived half of sessions."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def bring_back(self, document: Document) -> None:
        """Makes an archived session live in Redis again, with its checkpoints; does nothing when it does already."""
        head = dict(document.body)
        segments = [(int(first), int(end)) for first, end in head["segments"]]
        tail = int(head["tail"])
        first = min([first for first, _ in segments] + [tail])
        owner = document.place.id
        messages = [
            one for one in await self._store.archive.parts("messages", owner, first=first)
            if one.number >= tail or any(begin <= one.number < end for begin, end in segments)
        ]  # fmt: skip
        checkpoints = await self._store.archive.parts("checkpoints", owner)
        texts = {one.number: msgspec.json.encode(one.body) for one in messages}
        head |= {
            "next": max([int(head["next"]), *(one.number + 1 for one in messages)]),
            "message_count": len(texts),
            "bytes": sum(map(len, texts.values())),
            "updated_at": max([int(head["updated_at"]), *(int(one.body["at"]) for one in messages[-1:])]),
            "next_checkpoint": max([int(head["next_checkpoint"]), *(one.number + 1 for one in checkpoints)]),
            "first_checkpoint": min([one.number for one in checkpoints], default=int(head["first_checkpoint"])),
        }
        body = {
            "head": head,
            "messages": {str(number): _message(text) for number, text in texts.items()},
            "checkpoints": {str(one.number): {"entry": "", "checkpoint": one.body} for one in checkpoints},
            "left": [],
        }
        await self._store.documents.restore_raw(
            document.place, msgspec.json.encode(body), _version(document, messages, checkpoints),
            ttl_seconds=int(head.get("ttl_seconds", SESSION_TTL_SECONDS)),
        )  # fmt: skip

    async def missing(self, place: Place, ranges: Sequence[Range], here: set[int]) -> dict[int, bytes]:
        """The messages in these ranges that are not among those that are `here`, as JSON. Raises ArchiveUnavailable."""
        wanted = {number for first, end in ranges for number in range(first, end)} - here
        if not wanted:
            return {}
        await self._store.caught_up(place)
        found = await self._store.archive.parts("messages", place.id, first=min(wanted), end=max(wanted) + 1)
        return {one.number: msgspec.json.encode(one.body) for one in found if one.number in wanted}

    async def next_number(self, document: Document) -> int:
        """The first number that no message of an archived session has had."""
        newest = await self._store.archive.parts("messages", document.place.id, first=int(document.body["next"]))
        return max([int(document.body["next"]), *(one.number + 1 for one in newest)])

    async def counts(self, documents: Sequence[Document]) -> dict[str, int]:
        """How many messages each of the sessions holds, by id: appends do not change the archived document."""
        tails = {one.place.id: int(one.body["tail"]) for one in documents}
        behind = await self._store.archive.count_parts("messages", tails)
        return {
            one.place.id: behind.get(one.place.id, 0) + sum(int(end) - int(first) for first, end in one.body["segments"])
            for one in documents
        }


def _message(text: bytes) -> dict[str, Any]:
    return {"entry": "", "bytes": len(text), "message": msgspec.Raw(text)}


def _version(document: Document, *parts: Sequence[Part]) -> int:
    """The session's version: each change is in its document or in a part."""
    return max([document.version, *(one.version for many in parts for one in many)])
