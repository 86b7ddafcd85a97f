"""The client's side of sessions: `memory.working("s1")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import MESSAGE_BYTES_MAX, METADATA_BYTES_MAX, STATE_BYTES_MAX
from memoryd.model.memory import Durability
from memoryd.model.session import (
    Appended,
    Captured,
    Checkpoint,
    CheckpointState,
    Closed,
    Context,
    RolledBack,
    SessionInfo,
    State,
    Window,
)
from memoryd.model.values import check_json
from memoryd.protocol.connection import LONG, USUAL, Connection, Patience

Given = Mapping[str, Any]
T = TypeVar("T")


class WorkingMemory:
    """One session: its messages, variables, tool state and checkpoints. Every verb raises a MemorydError.

    It begins with the first append, `set` or `open`, and comes back from the archive when it has left Redis.
    """

    def __init__(self, connection: Connection, session: str | None, agent: str | None = None) -> None:
        self._connection = connection
        self._which = {"session": session, "agent": agent}

    async def open(self, *, ttl_seconds: int | None = None, make: bool = True) -> SessionInfo:
        """Begins the session, or goes on with it. `ttl_seconds`: how long it stays in Redis after its last use."""
        return await self._call("working.open", SessionInfo, ttl_seconds=ttl_seconds, make=make)

    async def rehydrate(self) -> SessionInfo:
        """Goes on with a session that exists, in Redis or in the archive. Raises NotFound."""
        return await self.open(make=False)

    async def close(self, *, durability: str = Durability.HOT, compress: bool = False) -> Closed:
        """Says that nobody is at work in it any more; it can be opened again.

        With `compress` what was said in it becomes memories, and these get summaries that stand for them (`expand` gives
        them back); what keeps that from happening is in the answer, and the session is closed all the same.
        """
        patience = LONG if compress else USUAL
        return await self._call("working.close", Closed, durability=durability, compress=compress, patience=patience)

    async def compress_and_close(self) -> Closed:
        """The end of a session: the archive has all of it by then, and what was said in it is compressed."""
        return await self.close(durability=Durability.ARCHIVED, compress=True)

    async def append(
        self, *messages: Given, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Appended:
        """Adds messages at the end, in order, each with `role` and `content` or `tool_calls`; also name, tool_call_id,
        metadata, at (see `NewMessage`)."""
        for message in messages:
            _check_message(message)
        return await self._call(
            "working.append", Appended, request_id, messages=list(messages), durability=durability
        )

    async def window(self, limit: int = 50, *, budget_tokens: int | None = None) -> Window:
        """The newest messages: at most `limit`, and no more tokens than the budget."""
        return await self._call("working.window", Window, limit=limit, budget_tokens=budget_tokens)

    async def get(self, path: str = "", *, of: str = "variables") -> State:
        """The value at a path like `plan.steps[0]`; without one all variables (`of="tools"`: all tool state)."""
        return await self._call("working.get", State, path=path, of=of)

    async def set(
        self,
        path: str,
        value: Any,
        *,
        of: str = "variables",
        if_value: Any = msgspec.UNSET,
        if_state_version: int | None = None,
        durability: str = Durability.HOT,
        request_id: str | None = None,
    ) -> State:
        """Sets the value at a path; with `if_value` or `if_state_version` only if that stands there. Raises Conflict."""
        _check_json("value", value, STATE_BYTES_MAX)
        more = {} if if_value is msgspec.UNSET else {"if_value": if_value}
        return await self._call(
            "working.set", State, request_id, path=path, value=value, of=of, if_state_version=if_state_version,
            durability=durability, **more,
        )  # fmt: skip

    async def remove(
        self, path: str, *, of: str = "variables", if_state_version: int | None = None, request_id: str | None = None
    ) -> State:
        """Removes the value at a path."""
        return await self._call(
            "working.remove", State, request_id, path=path, of=of, if_state_version=if_state_version
        )

    async def context(self, query: str, *, budget_tokens: int = 2_000, limit: int = 10, **recall: Any) -> Context:
        """What a model should see for `query`: recalled memories, the newest messages and the variables, in a budget.

        `recall` says among which memories and how: types, tags, metadata, valid_since … , profile, rerank, min_likeness,
        diversity, deadline_ms (see `ContextRecall`).
        """
        return await self._call(
            "working.context", Context, query=query, budget_tokens=budget_tokens, limit=limit, recall=recall
        )

    # --- checkpoints ------------------------------------------------------------------------------------------------

    async def checkpoint(
        self, label: str = "", *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Captured:
        """Captures the session as it is now."""
        return await self._call("checkpoint.save", Captured, request_id, label=label, durability=durability)

    async def checkpoints(self) -> list[Checkpoint]:
        """The session's checkpoints, oldest first."""
        return await self._call("checkpoint.list", list[Checkpoint])

    async def checkpoint_state(self, number: int) -> CheckpointState:
        """What a checkpoint captured beside the messages."""
        return await self._call("checkpoint.get", CheckpointState, number=number)

    async def rollback(
        self, number: int, *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> RolledBack:
        """Makes the session what it was at a checkpoint; rolling back to the answer's `undo` undoes it."""
        return await self._call("checkpoint.rollback", RolledBack, request_id, number=number, durability=durability)

    async def _call(
        self, op: str, answer: type[T], request_id: str | None = None, /, *, patience: Patience = USUAL, **args: Any
    ) -> T:
        return await self._connection.call(op, {**self._which, **args}, answer, request_id, patience=patience)


def _check_message(message: Given) -> None:
    """Refuses here what JSON would change silently: it writes NaN as null and bytes as Base64."""
    if not isinstance(message, Mapping):
        raise BadRequest("messages: expected an object each", field="messages")
    if isinstance(message.get("content"), bytes):
        raise BadRequest("content: is bytes, expected text", field="content")
    for field, most in (("metadata", METADATA_BYTES_MAX), ("tool_calls", MESSAGE_BYTES_MAX)):
        if field in message:
            _check_json(field, message[field], most)


def _check_json(field: str, value: Any, most: int) -> None:
    try:
        check_json(field, value, bytes_max=most)
    except (TypeError, RecursionError):
        raise BadRequest(f"{field}: is no JSON", field=field) from None
