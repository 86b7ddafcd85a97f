"""MongoDB's changes, several at a time: what is there already comes together, and nobody waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from memoryd.archive.driver import at_hand
from memoryd.limits import FOLLOW_CHANGES_MAX
from memoryd.retry import end

COLLECTION_GONE = frozenset({"drop", "rename", "dropDatabase", "invalidate"})
GATHER_SECONDS = 0.001  # what is not there by then is not waited for: what was found is done first


class Changes:
    """An open change stream, which is read ahead. `token` is where to go on when all that was given is applied."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._coming: asyncio.Task[Any] | None = None
        self._ahead: asyncio.Task[list[Mapping[str, Any]]] | None = None
        self._read = self.token = stream.resume_token

    async def some(self) -> list[Mapping[str, Any]]:
        """The next changes, FOLLOW_CHANGES_MAX at most; none when the server has had none for a while. Raises PyMongoError.

        One that tells that the collection is gone is the last of them. While these are applied, the next are read.
        """
        found: list[Mapping[str, Any]] = []
        if self._ahead is None or (found := await self._ahead):
            await self._gather(found)
        self.token = self._read
        self._ahead = None if _ends(found) else asyncio.create_task(self._gather([]), name="next changes")
        return found

    async def _gather(self, found: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Adds to what was found."""
        while len(found) < FOLLOW_CHANGES_MAX and not _ends(found):
            if self._coming is None and at_hand(self._stream):
                change = await self._stream.try_next()
            else:
                self._coming = self._coming or asyncio.create_task(self._stream.try_next(), name="next change")
                if found and not (await asyncio.wait((self._coming,), timeout=GATHER_SECONDS))[0]:
                    break
                change = await self._coming
                self._coming = None
            if change is None:
                if not found:
                    self._read = self._stream.resume_token
                break
            found.append(change)
            self._read = change["_id"]
        return found

    async def close(self) -> None:
        """Ends the read that is under way; what it would bring comes again."""
        for task in (self._ahead, self._coming):
            if task is not None:
                await end(task)
                if not task.cancelled():
                    task.exception()  # looked at, or asyncio complains


def _ends(changes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether nothing comes after these: the collection is gone."""
    return bool(changes) and changes[-1]["operationType"] in COLLECTION_GONE
