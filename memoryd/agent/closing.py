"""The end of a session: it is closed first, whatever comes after; then what was said in it is kept in few words.

Its messages become episodic memories, as those that overflow do: the same message makes the same memory each time, so a
daemon that dies in between, and a session that is closed again, make none twice. Then they are compressed. The session itself
keeps them too, and comes back from the archive message for message.
"""

from __future__ import annotations

from typing import Any

import msgspec

from memoryd.agent.sessions import Sessions
from memoryd.errors import MemorydError
from memoryd.hot.changes import Request
from memoryd.lifecycle.compressing import Compressing
from memoryd.lifecycle.selection import Selection
from memoryd.model.memory import Durability, MemoryType
from memoryd.model.scope import Scope
from memoryd.model.session import Closed, SessionInfo, session_place
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sessions")

SAID_BY = frozenset({"user", "assistant"})  # what a system or a tool has put into a session is no remark of anybody


class Closing:
    """Closes sessions, and compresses them on request."""

    def __init__(self, sessions: Sessions, compressing: Compressing) -> None:
        self._sessions = sessions
        self._compressing = compressing

    async def close(
        self, scope: Scope, *, request: Request, durability: Durability = Durability.HOT, compress: bool = False
    ) -> Closed:
        """Closes a session; with `compress` what was said in it gets summaries. What keeps that from happening is in the
        answer, and loses nothing. Raises what `Sessions.close` raises."""
        info = await self._sessions.close(scope, request=request, durability=durability)
        if not compress:
            return _closed(info)
        try:
            await self._sessions.overflow.remember(session_place(scope), request, _was_said)
            done = await self._compressing.compress(
                scope, Selection(session=scope.session, types=[MemoryType.EPISODIC], tags=["message"]), request=request
            )
        except MemorydError as error:
            log.warning("session.not_compressed", id=session_place(scope).id, code=error.code)
            return _closed(info, not_compressed=error.message)
        reasons = dict.fromkeys(one.reason for one in done.groups if one.outcome == "refused")
        summaries = [one.summary for one in done.groups if one.summary]
        return _closed(info, summaries=summaries, archived=done.moved, not_compressed="; ".join(reasons))


def _was_said(body: dict[str, Any]) -> bool:
    return body["role"] in SAID_BY and bool(body["content"].strip())


def _closed(info: SessionInfo, **more: Any) -> Closed:
    return Closed(**msgspec.structs.asdict(info), **more)
