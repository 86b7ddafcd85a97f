"""Forgetting what was said in sessions: a whole session, or of one what fits.

A checkpoint holds messages by number only, so a forgotten message is gone from it; one that captured a forgotten value
goes with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from memoryd.agent.sessions import Sessions
from memoryd.errors import NotFound
from memoryd.hot.changes import Request
from memoryd.hot.sessions import Body, Gone
from memoryd.limits import SESSIONS_LIST_MAX
from memoryd.model.document import Place
from memoryd.model.scope import Scope
from memoryd.model.session import session_place
from memoryd.storing import refusal


@dataclass(frozen=True)
class What:
    """What is to be forgotten of a session: by its body, a message; by its text, a value of its state or a label."""

    message: Callable[[Body], bool]
    text: Callable[[str], bool]


class SessionForgetting:
    """Forgets in both stores."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._hot = sessions.hot
        self._store = sessions.store

    async def whole(self, scope: Scope, *, request: Request) -> bool:
        """Forgets one session: its messages, its state and its checkpoints. False: there is none."""
        place = session_place(scope)
        archived = None if await self._hot.head(place) else await self._store.archived(place)
        step = await self._hot.end(
            place, now=self._sessions.now(), request=request, archived_version=archived.version if archived else 0,
            archived_next=await self._sessions.archive.next_number(archived) if archived else 0,
        )  # fmt: skip
        if step.outcome == "reused":
            raise refusal(step.outcome)
        return step.outcome == "ended"

    async def all_of(self, scope: Scope, *, request: Request) -> int:
        """Forgets every session of the scope (an agent's, or a project's); returns how many."""
        count = 0
        async for one in self.everywhere(scope):
            count += await self.whole(one, request=replace(request, id=f"{request.id}#{session_place(one).id}"))
        return count

    async def everywhere(self, scope: Scope) -> AsyncIterator[Scope]:
        """The scopes of all its sessions, in Redis or in the archive, each once. Raises ArchiveUnavailable."""
        if scope.session:
            yield scope
            return
        seen: set[Scope] = set()
        for archived in (True, False):
            after = ""
            while True:
                page = await self._sessions.page(scope, archived=archived, after=after, limit=SESSIONS_LIST_MAX)
                for one in page.sessions:
                    place = Scope(scope.tenant, scope.project, one.agent, one.session)
                    if place not in seen:
                        seen.add(place)
                        yield place
                if not (after := page.after):
                    break

    async def find(self, scope: Scope, what: What) -> Gone:
        """What of a session is to be forgotten: looked for in the archive, once it has all. Raises ArchiveUnavailable."""
        place = session_place(scope)
        try:
            await self._sessions.head(place)
        except NotFound:
            return Gone([], [], [], [])
        await self._store.caught_up(place)
        messages = await self._store.archive.parts("messages", place.id)
        checkpoints = [
            number
            for number in await self._hot.checkpoints(place) or {}
            if (body := await self._hot.checkpoint_state(place, number)) and _captured(body, what)
        ]
        return Gone(
            [one.number for one in messages if what.message(one.body)],
            await self._names(place, "variables", what), await self._names(place, "tools", what), checkpoints,
        )  # fmt: skip

    async def some(self, scope: Scope, what: What) -> Gone:
        """Forgets what fits of one session, and says what it was."""
        gone = await self.find(scope, what)
        if gone:
            await self._hot.forget(session_place(scope), gone, now=self._sessions.now())
        return gone

    async def _names(self, place: Place, root: str, what: What) -> list[str]:
        _, values, _, _ = await self._sessions.state_of(place, root)
        return _fitting(values, what)


def _captured(body: Body, what: What) -> bool:
    return what.text(body["label"]) or bool(_fitting(body["variables"], what) or _fitting(body["tools"], what))


def _fitting(values: Mapping[str, Any], what: What) -> list[str]:
    return [name for name, value in values.items() if what.text(f"{name} {msgspec.json.encode(value).decode()}")]
