"""Sessions, and what passes by itself, as a forget reaches them: see `memoryd.lifecycle.holders`.

A session is reached by place (everything, an agent, a session), by age and by words; not by what only memories have: ids,
types, tags, a query. And a memory that a message has become takes that message with it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from memoryd.agent.overflow import is_message
from memoryd.agent.session_forgetting import SessionForgetting, What
from memoryd.agent.sessions import Sessions
from memoryd.clock import to_microseconds
from memoryd.hot.changes import Request
from memoryd.hot.passing import Passing
from memoryd.hot.sessions import Body, Gone
from memoryd.lifecycle.selection import Criteria, Selection
from memoryd.lifecycle.targets import Target
from memoryd.model.document import Place
from memoryd.model.receipt import Finding, FullReceipt, Removed
from memoryd.model.scope import Scope
from memoryd.model.session import session_place
from memoryd.model.words import words_of


class SessionHolder:
    """Messages, state and checkpoints of sessions, in both stores."""

    name = "sessions"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._forgetting = SessionForgetting(sessions)

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many sessions go whole, and how many messages, values and checkpoints of others."""
        whole, gone = 0, [Gone([number], [], [], []) for _, number in _messages(criteria, targets)]
        async for scope, what in self._reached(criteria):
            if what is None:
                whole += 1
            else:
                gone.append(await self._forgetting.find(scope, what))
        return _counted(whole, gone)

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Forgets them."""
        whole, gone = 0, []
        for place, number in _messages(criteria, targets):
            gone.append(Gone([number], [], [], []))
            if await self._sessions.hot.forget(place, gone[-1], now=self._sessions.now()) is None:
                await self._sessions.store.documents.drop_parts(Place("messages", place.id, place.scope), [number])
        async for scope, what in self._reached(criteria):
            if what is None:
                whole += await self._forgetting.whole(scope, request=Request(secrets.token_hex(12), "forget"))
            else:
                gone.append(await self._forgetting.some(scope, what))
        return _counted(whole, gone)

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Sessions that should be gone whole, and have not been begun or gone on since.

        Words are not known any more, and of a message the caller says how old it is, also of one that comes later.
        """
        asked = receipt.selection
        if asked.keys() - {"session", "agent", "everything", "before", "older_than_seconds"}:
            return []
        scope = receipt.scope.of_agent(asked.get("agent")).narrowed(asked.get("session"))
        limit = _age_limit(receipt)
        found = []
        async for one in self._forgetting.everywhere(scope):
            await self._sessions.store.caught_up(session_place(one))
            # Also one that Redis knows to be ended: it has come out of a backup, or a forget did not reach it.
            head = await self._head(one) or await self._archived(one)
            if head is None or int(head["created_at"]) >= to_microseconds(receipt.asked_at):
                continue
            if limit is None or _older(head, limit):
                found.append(Finding(where=self.name, id=session_place(one).id, what="it is there, from before the forget"))
        return found

    async def _reached(self, criteria: Criteria) -> AsyncIterator[tuple[Scope, What | None]]:
        """The sessions that a forget reaches, and what of each; None: all of it."""
        if not criteria.by_place_or_time:
            return
        async for scope in self._forgetting.everywhere(criteria.scope):
            head = await self._head(scope)
            if head is None:
                continue  # a scope may name a session that there is not
            if not criteria.words and (criteria.before is None or _older(head, criteria.before)):
                yield scope, None
            else:
                yield scope, _what(criteria)

    async def _head(self, scope: Scope) -> dict[str, Any] | None:
        place = session_place(scope)
        if hot := await self._sessions.hot.head(place):
            return {"created_at": hot.created_at, "updated_at": hot.updated_at}
        archived = await self._sessions.store.archived(place)
        return archived.body if archived else None

    async def _archived(self, scope: Scope) -> dict[str, Any] | None:
        found = await self._sessions.store.archive.get(session_place(scope))
        return dict(found.body) if found else None


class PassingHolder:
    """Kept tool results, scratchpads, the answers to what was written there, and which memories recalls gave.

    Reached by place, by words and by age. A result may say anything and is made again when it is asked for, so all of the
    scope's go. A pad goes whole when it has the words; none is old enough for an age.
    """

    name = "tool results and scratchpads"

    def __init__(self, passing: Passing) -> None:
        self._passing = passing

    async def find(self, criteria: Criteria, targets: Sequence[Target]) -> Removed:
        """How many there are."""
        return _passed(await self._passing.count(criteria.scope, _pad(criteria)) if criteria.by_place_or_time else {})

    async def remove(self, criteria: Criteria, selection: Selection, targets: Sequence[Target]) -> Removed:
        """Drops them."""
        return _passed(await self._passing.drop(criteria.scope, _pad(criteria)) if criteria.by_place_or_time else {})

    async def look(self, receipt: FullReceipt) -> list[Finding]:
        """Nothing: none of them tells when it began, and what is there may be new."""
        return []


def _pad(criteria: Criteria) -> Callable[[str], bool]:
    return lambda text: criteria.before is None and criteria.words <= words_of(text)


def _passed(counts: Mapping[str, int]) -> Removed:
    return {"redis": {name: count for name, count in counts.items() if count}}


def _age_limit(receipt: FullReceipt) -> datetime | None:
    """A session in which nothing was said or set since then, a forget by age has taken whole; None for others."""
    limits = []
    if before := receipt.selection.get("before"):
        limits.append(datetime.fromisoformat(before))
    if seconds := receipt.selection.get("older_than_seconds"):
        limits.append(receipt.asked_at - timedelta(seconds=seconds))
    return min([*limits, receipt.asked_at]) if limits else None


def _older(head: dict[str, Any], before: datetime) -> bool:
    """Whether nothing was said or set in a session since."""
    return int(head["updated_at"]) < to_microseconds(before)


def _messages(criteria: Criteria, targets: Sequence[Target]) -> list[tuple[Place, int]]:
    """The messages that the targets were made of, each surely: a memory may say of itself what it likes."""
    found = []
    for one in targets:
        if one.session and one.message is not None:
            place = session_place(Scope(criteria.scope.tenant, criteria.scope.project, one.agent, one.session))
            if any(is_message(one.id, place, one.message, content) for content in one.contents):
                found.append((place, one.message))
    return found


def _what(criteria: Criteria) -> What:
    """What of a session matches words and age. A value of its state has no age of its own: words alone reach it."""
    before = to_microseconds(criteria.before) if criteria.before else None

    def message(body: Body) -> bool:
        text = msgspec.json.encode({name: value for name, value in body.items() if name != "content"}).decode()
        fits = not criteria.words or criteria.words <= words_of(f"{body['content']} {text}")
        return fits and (before is None or int(body["at"]) < before)

    def text(words: str) -> bool:
        return bool(criteria.words) and before is None and criteria.words <= words_of(words)

    return What(message, text)


def _counted(whole: int, gone: Sequence[Gone]) -> Removed:
    counts = {
        "sessions": whole,
        "session_messages": sum(len(one.messages) for one in gone),
        "session_values": sum(len(one.variables) + len(one.tools) for one in gone),
        "checkpoints": sum(len(one.checkpoints) for one in gone),
    }
    return {"mongodb": {name: count for name, count in counts.items() if count}}  # all of it is there, some in Redis too
