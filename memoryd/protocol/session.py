"""The session that a runtime works in: `async with memory.session("s1") as session`.

It is working memory with a beginning and an end: what is in `variables` is saved when it ends, also with an error; its tool
calls and checkpoints are in the agent's log; and at its end the archive has all of it, or says that it has not, and what was
said is compressed.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from memoryd.errors import DurabilityNotReached, MemorydError
from memoryd.limits import EPISODE_DATA_DEPTH_MAX, EPISODE_PAYLOAD_BYTES_MAX
from memoryd.model.memory import Durability
from memoryd.model.scope import check_name
from memoryd.model.session import Captured, Closed
from memoryd.model.values import canonical, check_json
from memoryd.protocol.connection import Connection
from memoryd.protocol.sessions import WorkingMemory

if TYPE_CHECKING:
    from memoryd.protocol.client import MemoryClient

T = TypeVar("T")
OWED_MAX = 1_000  # events that wait to be recorded while memoryd is away; then the oldest are given up, and counted


class Session(WorkingMemory):
    """One session from its beginning to its end; every verb of working memory is here too.

    `opened` says where it was, `messages` are the newest ones at that time, `variables` is yours to change, `closed` says
    how it ended, and `durability` whether the archive has all of it by then.
    """

    def __init__(
        self, memory: MemoryClient, connection: Connection, session: str, agent: str | None = None, *, compress: bool = True
    ) -> None:
        super().__init__(connection, session, agent)
        self._compress = compress
        self._memory = memory
        self._session = session
        self._owed: list[dict[str, Any]] = []
        self._counts = {"tool_calls": 0, "tool_errors": 0, "checkpoints": 0, "events_given_up": 0}
        self._saved: dict[str, bytes] = {}
        self.variables: dict[str, Any] = {}
        self.closed: Closed | None = None
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
        **cache: Any,
    ) -> T | Any:
        """The result of a tool: `call(given)`, or what the same input gave a short while ago (see `memory.tools.cached`).

        It is recorded in the agent's log with its latency and how it ended, and `facts(result)` are stored as facts with
        the tool as their source. A memoryd that is away costs neither the result nor, until the session ends, the record.
        """
        check_name("tool", name)
        calls = 0

        async def counted(asked: Any) -> T:
            nonlocal calls
            calls += 1
            return await call(asked)

        started = time.monotonic()
        self._counts["tool_calls"] += 1
        try:
            result = await self._memory.tools.cached(name, given, counted, **cache)
        except Exception as error:
            self._counts["tool_errors"] += 1
            about = {"input": given, "cached": not calls}
            kind = type(error).__name__
            await self._record("tool_call", about, outcome="error", error_kind=kind, tool=name, started=started)
            raise
        about = {"input": given, "output": result, "cached": not calls}
        await self._record("tool_call", about, tool=name, started=started)
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
        await self._record("checkpoint", {"number": taken.number, "label": label}, outcome="none")
        return taken

    async def _end(self, kind: type[BaseException] | None) -> None:
        await self.save()
        await self._pay()
        self.closed = await self.close()
        told = {"messages": self.closed.messages, **self._counts, "error": kind.__name__ if kind else None}
        how = {"outcome": "error", "error_kind": kind.__name__} if kind else {}
        self._owe("session_closed", told, started=self._began, **how)
        await self._pay()
        try:
            self.closed = await self.close(durability=Durability.ARCHIVED, compress=self._compress)
            self.durability = Durability.ARCHIVED
        except DurabilityNotReached as error:
            self.durability = Durability(error.details["reached"])

    async def _record(self, event: str, data: dict[str, Any], **how: Any) -> None:
        self._owe(event, data, **how)
        with contextlib.suppress(MemorydError):  # it is owed still
            await self._pay()

    def _owe(self, event: str, data: dict[str, Any], *, started: float | None = None, **how: Any) -> None:
        """Notes an event that is to be recorded, under the id that a repeat of the request will have too."""
        self._owed.append(
            {
                "event_type": event, "data": _small_enough(data), "session": self._session,
                "latency_seconds": None if started is None else time.monotonic() - started,
                "request_id": secrets.token_hex(12), **how,
            }
        )  # fmt: skip
        if len(self._owed) > OWED_MAX:
            self._owed.pop(0)
            self._counts["events_given_up"] += 1

    async def _pay(self) -> None:
        """Records what is owed, in order."""
        while self._owed:
            await self._memory.episodes.record(**self._owed[0])
            self._owed.pop(0)


def _small_enough(data: dict[str, Any]) -> dict[str, Any]:
    """The data of an event, without values that no event can hold: of those their type is kept."""
    kept = {}
    for name, value in data.items():
        try:
            check_json(name, {name: value}, bytes_max=EPISODE_PAYLOAD_BYTES_MAX // 3, depth_max=EPISODE_DATA_DEPTH_MAX)
        except (MemorydError, TypeError, RecursionError):
            kept[name] = {"left_out": type(value).__name__}
        else:
            kept[name] = value
    return kept
