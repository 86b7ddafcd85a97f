"""What a session cannot hold any more becomes episodic memories: first the memories, then the place.

A daemon that dies in between leaves both, and the next append does it again: a message makes the same memory each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from memoryd.agent.documents import DocumentStore
from memoryd.clock import from_microseconds, to_microseconds
from memoryd.engine import Engine
from memoryd.errors import BadRequest, MemorydError
from memoryd.hot.changes import Request
from memoryd.hot.sessions import Sessions
from memoryd.limits import (
    METADATA_BYTES_MAX,
    SESSION_BYTES_MAX,
    SESSION_MESSAGES_MAX,
    SESSION_OVERFLOW_MESSAGES,
)
from memoryd.model.document import Place, part_id
from memoryd.model.ids import event_id
from memoryd.model.memory import MemoryType, NewMemory
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sessions")

CALLED_MAX = 8  # tools that the memory of a call names


Left = Callable[[Scope, Sequence[str], Request], None]


class Overflow:
    """Makes room in sessions. `left` is told which memories have left one together."""

    def __init__(self, sessions: Sessions, store: DocumentStore, engine: Engine, *, left: Left | None = None) -> None:
        self._sessions = sessions
        self._store = store
        self._engine = engine
        self._left = left

    async def make_room(self, place: Place, messages: int, size: int, request: Request) -> int:
        """Lets the oldest messages leave while the session is over its limits; returns how many have left.

        What cannot be remembered now (Redis or the journal is full) stays: the next append tries again.
        """
        left = 0
        while messages > SESSION_MESSAGES_MAX or size > SESSION_BYTES_MAX:
            try:
                gone, freed = await self._oldest_leave(place, request)
            except BadRequest:
                raise
            except MemorydError as error:
                log.warning("session.overflow_waits", id=place.id, code=error.code)
                return left
            if not gone:
                return left  # another daemon is at it
            left, messages, size = left + gone, messages - gone, size - freed
        return left

    async def _oldest_leave(self, place: Place, request: Request) -> tuple[int, int]:
        head = await self._sessions.head(place)
        if head is None:
            return 0, 0
        found = await self._sessions.messages(place, list(islice(head.oldest_first(), SESSION_OVERFLOW_MESSAGES)))
        if not found:
            return 0, 0
        kept = await asyncio.gather(*(self._remember(place, number, body, request) for number, body in found.items()))
        now = to_microseconds(self._store.clock.now())
        if not await self._sessions.leave(place, list(found), now=now, oldest=max(found) + 1):
            return 0, 0
        if self._left:
            self._left(place.scope, [one.id for one in kept], request)
        return len(found), sum(len(msgspec.json.encode(body)) for body in found.values())

    async def remember(self, place: Place, request: Request, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Makes memories of the messages that a session holds, which stay there. Raises what `store` raises."""
        head = await self._sessions.head(place)
        numbers = iter(head.oldest_first() if head else ())
        while block := list(islice(numbers, SESSION_OVERFLOW_MESSAGES)):
            found = await self._sessions.messages(place, block)
            some = {number: body for number, body in found.items() if wanted(body)}
            await asyncio.gather(*(self._remember(place, number, body, request) for number, body in some.items()))

    async def _remember(self, place: Place, number: int, body: dict[str, Any], request: Request) -> Stored:
        memory = _memory(number, body)
        same = Request(part_id(place.id, number), place.id, request.traceparent)
        return await self._engine.store(place.scope, memory, request=same)

    async def tidy(self, place: Place) -> None:
        """Lets go of what only checkpoints name, as far as Redis keeps too much of it: the archive has it."""
        head = await self._sessions.head(place)
        if head is None:
            return
        aside = await self._sessions.sizes(place)
        for number in head.oldest_first():
            aside.pop(number, None)
        count, size, gone = len(aside), sum(aside.values()), []
        for number in sorted(aside):
            if count <= SESSION_MESSAGES_MAX and size <= SESSION_BYTES_MAX:
                break
            count, size = count - 1, size - aside[number]
            gone.append(number)
        if gone:
            await self._store.caught_up(place)
            await self._sessions.leave(place, gone, now=to_microseconds(self._store.clock.now()), oldest=None)


def is_message(memory_id: str, place: Place, number: int, content_hash: str) -> bool:
    """Whether this memory is what that message of the session has become."""
    return memory_id == event_id(place.scope, part_id(place.id, number), content_hash)


def _memory(number: int, body: dict[str, Any]) -> NewMemory:
    """What is remembered of a message that leaves its session."""
    who = body.get("name") or body["role"]
    said = body["content"] or f"called {', '.join(_called(body.get('tool_calls', []))) or 'a tool'}"
    metadata: dict[str, Any] = {"message": number, "role": body["role"]}
    for more in ("tool_call_id", "tool_calls", "metadata"):
        wider = metadata | {more: body[more]} if more in body else metadata
        if len(msgspec.json.encode(wider)) <= METADATA_BYTES_MAX // 2:  # the whole message stays in the archive
            metadata = wider
    return NewMemory(
        content=f"{who}: {said}", type=MemoryType.EPISODIC, metadata=metadata, tags=["message"],
        valid_from=from_microseconds(int(body["at"])),
    )  # fmt: skip


def _called(calls: list[dict[str, Any]]) -> list[str]:
    """The names of the tools, as the usual forms of a call give them."""
    functions = [call.get("function") for call in calls[:CALLED_MAX]]
    inner = [one.get("name") if isinstance(one, dict) else None for one in functions]
    named = [call.get("name") or name for call, name in zip(calls, inner, strict=False)]
    return [name[:100] for name in named if isinstance(name, str) and name.strip()]
