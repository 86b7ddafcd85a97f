"""MongoDB's changes, several at a time: what is there already comes together, and nobody waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from memoryd.archive.driver import at_hand
from memoryd.limits import FOLLOW_BATCH_MAX
from memoryd.retry import end

COLLECTION_GONE = frozenset({"drop", "rename", "dropDatabase", "invalidate"})
GATHER_SECONDS = 0.001  # what is not there by then is not waited for: what was found is done first


class Changes:
    """An open change stream. `token` is where to go on when all that was given is applied."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._coming: asyncio.Task[Any] | None = None
        self.token = stream.resume_token

    async def some(self) -> list[Mapping[str, Any]]:
        """The next changes, FOLLOW_BATCH_MAX at most; none when the server has had none for a while. Raises PyMongoError.

        One that tells that the collection is gone is the last of them.
        """
        found: list[Mapping[str, Any]] = []
        while len(found) < FOLLOW_BATCH_MAX:
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
                    self.token = self._stream.resume_token
                break
            found.append(change)
            self.token = change["_id"]
            if change["operationType"] in COLLECTION_GONE:
                break
        return found

    async def close(self) -> None:
        """Ends the read that is under way; what it would bring comes again."""
        if self._coming is not None:
            await end(self._coming)
            if not self._coming.cancelled():
                self._coming.exception()  # looked at, or asyncio complains
