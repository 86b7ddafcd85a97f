"""A session: the messages, variables and tool state that an agent works with, and the states to roll it back to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from memoryd.clock import from_microseconds, to_microseconds
from memoryd.errors import BadRequest
from memoryd.limits import (
    APPEND_MESSAGES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGE_CONTENT_BYTES_MAX,
    METADATA_BYTES_MAX,
    STATE_PATH_PARTS_MAX,
)
from memoryd.model.document import Place, place_id
from memoryd.model.memory import Durability, in_utc
from memoryd.model.results import Hit
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.values import check_json

_PATH_PART = re.compile(r"([A-Za-z0-9_-]{1,64})|\[([0-9]{1,6})\]")


class Status(StrEnum):
    """Whether somebody is at work in a session."""

    OPEN = "open"
    CLOSED = "closed"


class NewMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller appends. It says something, or calls tools."""

    role: str
    content: str = ""
    name: str = ""
    """Who said it: a person's name, or a tool's."""
    tool_call_id: str = ""
    """Which call this is the answer to."""
    tool_calls: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    at: datetime | None = None
    """When it was said; the time of the append without it."""

    def check(self, field: str) -> NewMessage:
        """This, if every value is within its limits. Raises BadRequest."""
        check_name(f"{field}.role", self.role)
        check_unicode(f"{field}.content", self.content)
        if not self.content and not self.tool_calls:
            raise BadRequest(f"{field}: says nothing and calls no tool", field=field)
        if (size := len(self.content.encode())) > MESSAGE_CONTENT_BYTES_MAX:
            raise BadRequest(f"{field}.content: has {size} bytes, the limit is {MESSAGE_CONTENT_BYTES_MAX}", field=field)
        for part in ("name", "tool_call_id"):
            if value := getattr(self, part):
                check_name(f"{field}.{part}", value)
        check_json(f"{field}.metadata", self.metadata, bytes_max=METADATA_BYTES_MAX)
        check_json(f"{field}.tool_calls", self.tool_calls, bytes_max=MESSAGE_BYTES_MAX)
        if self.at is not None:
            in_utc(f"{field}.at", self.at)
        return self

    def body(self, now: datetime) -> dict[str, Any]:
        """As both stores keep it: what is empty is left out, but not the content."""
        given: dict[str, Any] = {"role": self.role, "content": self.content}
        for part in ("name", "tool_call_id", "tool_calls", "metadata"):
            if value := getattr(self, part):
                given[part] = value
        return {**given, "at": to_microseconds(in_utc("at", self.at) if self.at else now)}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session. `number` is its place in the session's whole life, and never given twice."""

    number: int
    role: str
    content: str
    name: str = ""
    tool_call_id: str = ""
    tool_calls: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    at: datetime

    @classmethod
    def of(cls, number: int, body: dict[str, Any]) -> Message:
        """The message behind what a store keeps."""
        return cls(number=number, **{**body, "at": from_microseconds(int(body["at"]))})


def check_messages(messages: Sequence[NewMessage]) -> None:
    """Raises BadRequest unless these can be appended together."""
    if not 1 <= len(messages) <= APPEND_MESSAGES_MAX:
        raise BadRequest(f"messages: has {len(messages)} items, expected 1 to {APPEND_MESSAGES_MAX}", field="messages")
    for index, one in enumerate(messages):
        one.check(f"messages[{index}]")


def session_place(scope: Scope) -> Place:
    """Where the session of a scope belongs. Raises BadRequest when the scope names none."""
    check_name("session", scope.session)
    return Place("sessions", place_id("ses", scope.tenant, scope.project, scope.agent, scope.session), scope)


def state_path(text: str) -> list[str | int]:
    """The steps of a path like `plan.steps[0].done`: names of letters, digits, _ and -, and places in lists.

    Raises BadRequest. Nothing of it is ever read as JSONPath.
    """
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        if steps and text[at] == ".":
            at += 1
        elif steps and text[at] != "[":
            raise _bad_path()
        part = _PATH_PART.match(text, at)
        if part is None or (part[2] and (not steps or text[at - 1] == ".")):
            raise _bad_path()
        steps.append(part[1] if part[1] else int(part[2]))
        at = part.end()
    if not 1 <= len(steps) <= STATE_PATH_PARTS_MAX or text.endswith("."):
        raise _bad_path()
    return steps


def _bad_path() -> BadRequest:
    return BadRequest(
        f"path: expected 1 to {STATE_PATH_PARTS_MAX} steps like plan.steps[0].done, names of A-Z a-z 0-9 _ -",
        field="path",
    )


# --- what the verbs answer --------------------------------------------------------------------------------------------


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session without its messages."""

    session: str
    agent: str
    status: Status
    version: int
    messages: int
    """Messages that it holds; older ones may have become episodic memories."""
    bytes: int
    created_at: datetime
    updated_at: datetime
    ttl_seconds: int
    source: str = "hot"
    """hot: it was in Redis; archive: it was brought back, or is listed from there; new: it did not exist."""


class Closed(SessionInfo, frozen=True, kw_only=True):
    """A session that is closed, and what its compression came to."""

    summaries: list[str] = []
    """The ids of the summaries that stand for what was said in it."""
    archived: int = 0
    """How many of the memories of what was said have moved to the archive now."""
    not_compressed: str = ""
    """Why something stayed as it was; empty when nothing did, or when it was not asked for."""


class SessionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of sessions. Ask again with `after` for the next one; it is empty on the last."""

    sessions: list[SessionInfo]
    after: str = ""


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """An append that is acknowledged."""

    id: str
    """The session's own id."""
    first: int
    """The number of the first of the messages; the others follow it."""
    messages: int
    version: int
    overflowed: int = 0
    """How many of the oldest messages have become episodic memories to make room."""
    durability: Durability = Durability.HOT
    replayed: bool = False


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The newest messages, oldest of them first."""

    messages: list[Message]
    total: int
    """Messages that the session holds."""
    tokens: int
    counted_by: str
    """The tokenizer, or the estimate that stands in for one."""
    version: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a session's variables or tool state. `state_version` counts the changes of both."""

    value: Any
    state_version: int
    version: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a session to roll back to."""

    number: int
    label: str
    at: datetime
    messages: int
    version: int
    """The session's version that it captured."""


class CheckpointState(Checkpoint, frozen=True, kw_only=True):
    """What a checkpoint captured beside the messages."""

    variables: dict[str, Any]
    tools: dict[str, Any]
    recalled: dict[str, int]
    """Ids and versions of the memories that the session had recalled."""


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is acknowledged."""

    id: str
    """The session's own id."""
    number: int
    version: int
    durability: Durability = Durability.HOT
    replayed: bool = False


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback that is acknowledged."""

    id: str
    number: int
    undo: int
    """The checkpoint of what was replaced: rolling back to it undoes this."""
    messages: int
    version: int
    durability: Durability = Durability.HOT
    replayed: bool = False


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a model should see for one question, within the budget."""

    recalled: list[Hit]
    messages: list[Message]
    variables: dict[str, Any]
    tokens: dict[str, int]
    """Of each part."""
    budget_tokens: int
    left_out: dict[str, int]
    """What did not fit, of each part: hits, messages, variables."""
    counted_by: str
    degraded: str = ""
    """Why something was not searched; empty when all was."""
    recall_id: str = ""
    """By which feedback names what was recalled."""
