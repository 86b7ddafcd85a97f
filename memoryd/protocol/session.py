"""The session that a runtime works in: `async with memory.session("s1") as session`.

It is working memory with a beginning and an end: what is in `variables` is saved when it ends, also with an error; its tool
calls and checkpoints are remembered as events; and at its end the archive has all of it, or says that it has not.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from memoryd.errors import DurabilityNotReached, MemorydError
from memoryd.limits import METADATA_BYTES_MAX
from memoryd.model.memory import Durability
from memoryd.model.scope import check_name
from memoryd.model.session import Captured, SessionInfo
from memoryd.model.values import canonical, check_json
from memoryd.protocol.connection import Connection
from memoryd.protocol.sessions import WorkingMemory

if TYPE_CHECKING:
    from memoryd.protocol.client import MemoryClient

T = TypeVar("T")
OWED_MAX = 1_000  # events that wait to be remembered while memoryd is away; then the oldest are given up, and counted
CONTENT_CHARS_MAX = 2_000  # of an event's text: what it begins with says what it was; its metadata has more


class Session(WorkingMemory):
    """One session from its beginning to its end; every verb of working memory is here too.

    `opened` says where it was, `messages` are the newest ones at that time, `variables` is yours to change, `closed` says
    how it ended, and `durability` whether the archive has all of it by then.
    """

    def __init__(self, memory: MemoryClient, connection: Connection, session: str, agent: str | None = None) -> None:
        super().__init__(connection, session, agent)
        self._memory = memory
        self._session = session
        self._owed: list[dict[str, Any]] = []
        self._counts = {"tool_calls": 0, "tool_errors": 0, "checkpoints": 0, "events_given_up": 0}
        self._saved: dict[str, bytes] = {}
        self.variables: dict[str, Any] = {}
        self.closed: SessionInfo | None = None
        self.durability = Durability.HOT

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        self.opened = await self.open()
        self.messages = (await self.window()).messages
        self.variables = (await self.get()).value
        self._saved = {name: canonical(value) for name, value in self.variables.items()}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end(kind)
        except MemorydError as problem:
            if error is None:
                raise
            error.add_note(f"the session was not saved whole either: {problem.message}")

    async def save(self) -> None:
        """Saves what was changed in `variables` since it was read or saved last; no other name is touched."""
        for name in self._saved.keys() - self.variables.keys():
            await self.remove(name)
            del self._saved[name]
        for name, value in self.variables.items():
            if self._saved.get(name) != (text := canonical(value)):
                await self.set(name, value)
                self._saved[name] = text

    async def tool(
        self,
        name: str,
        given: Any,
        *,
        call: Callable[[Any], Awaitable[T]],
        facts: Callable[[Any], Iterable[str]] | None = None,
    ) -> T:
        """The result of a tool: `call(given)`.

        The call is remembered as an event of the session, with its latency and how it ended, and `facts(result)` are
        stored as facts with the tool as their source. A memoryd that is away costs neither the result nor, until the
        session ends, the event.
        """
        check_name("tool", name)
        started = time.monotonic()
        self._counts["tool_calls"] += 1
        try:
            result = await call(given)
        except Exception as error:
            self._counts["tool_errors"] += 1
            about = {"input": given, "error": type(error).__name__}
            await self._record("tool_call", about, outcome="error", tool=name, started=started)
            raise
        await self._record("tool_call", {"input": given, "output": result}, tool=name, started=started)
        for fact in facts(result) if facts else ():
            await self._memory.store(fact, type="fact", source_tool=name, session=self._session)
        return result

    async def checkpoint(
        self, label: str = "", *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Captured:
        """Captures the session as it is now, its changed `variables` included."""
        await self.save()
        taken = await super().checkpoint(label, durability=durability, request_id=request_id)
        self._counts["checkpoints"] += 1
        await self._record("checkpoint", {"number": taken.number, "label": label})
        return taken

    async def _end(self, kind: type[BaseException] | None) -> None:
        await self.save()
        await self._pay()
        self.closed = await self.close()
        told = {"messages": self.closed.messages, **self._counts, "error": kind.__name__ if kind else None}
        self._owe("session_closed", told, outcome="error" if kind else "ok", started=self._began)
        await self._pay()
        try:
            self.closed = await self.close(durability=Durability.ARCHIVED)
            self.durability = Durability.ARCHIVED
        except DurabilityNotReached as error:
            self.durability = Durability(error.details["reached"])

    async def _record(self, event: str, data: dict[str, Any], **how: Any) -> None:
        self._owe(event, data, **how)
        with contextlib.suppress(MemorydError):  # it is owed still
            await self._pay()

    def _owe(
        self, event: str, data: dict[str, Any], *, outcome: str = "ok", tool: str = "", started: float | None = None
    ) -> None:
        """Notes an event that is to be remembered, under the id that a repeat of the request will have too."""
        latency = None if started is None else round((time.monotonic() - started) * 1_000_000)
        told = {"event": event, "outcome": outcome, "latency_us": latency, **_small_enough(data)}
        words = f"{event} {tool}: {outcome}" if tool else f"{event}: {outcome}"
        self._owed.append(
            {
                "content": f"{words} {_written(told)}"[:CONTENT_CHARS_MAX], "type": "episodic", "session": self._session,
                "metadata": told, "source_tool": tool, "tags": [event], "request_id": secrets.token_hex(12),
            }
        )  # fmt: skip
        if len(self._owed) > OWED_MAX:
            self._owed.pop(0)
            self._counts["events_given_up"] += 1

    async def _pay(self) -> None:
        """Has memoryd remember what is owed, in order."""
        while self._owed:
            await self._memory.store(**self._owed[0])
            self._owed.pop(0)


def _small_enough(data: dict[str, Any]) -> dict[str, Any]:
    """The data of an event, without values that its metadata cannot hold: of those their type is kept."""
    kept = {}
    for name, value in data.items():
        try:
            check_json(name, {name: value}, bytes_max=METADATA_BYTES_MAX // 3)
        except (MemorydError, TypeError, RecursionError):
            kept[name] = {"left_out": type(value).__name__}
        else:
            kept[name] = value
    return kept


def _written(told: dict[str, Any]) -> str:
    return msgspec.json.encode(told).decode()
