"""What an agent says of itself, and the chain of snapshots of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from memoryd.clock import from_microseconds, to_microseconds
from memoryd.errors import BadRequest
from memoryd.limits import AGENT_TEXT_BYTES_MAX, AGENT_TOOLS_MAX, SELF_MODEL_BYTES_MAX
from memoryd.model.document import Place
from memoryd.model.ids import home
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.values import canonical, check_json

SAID = ("task", "status", "error", "tools", "self_model")  # what an agent says of itself, and a snapshot holds
CHAIN = "chain"  # the name under which an agent's state remembers its newest snapshot


class AgentStatus(StrEnum):
    """What an agent is doing."""

    IDLE = "idle"
    WORKING = "working"
    ERROR = "error"


class AgentChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives to `agent.set`; what is left out stays as it is."""

    task: str | msgspec.UnsetType = msgspec.UNSET
    status: AgentStatus | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    tools: list[str] | msgspec.UnsetType = msgspec.UNSET
    self_model: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET

    def check(self) -> dict[str, Any]:
        """What was given, by name. Raises BadRequest unless each is within its limits, and there is something."""
        given = {name: value for name in SAID if (value := getattr(self, name)) is not msgspec.UNSET}
        for name in ("task", "error"):
            text = check_unicode(name, given.get(name, ""))
            if len(text.encode()) > AGENT_TEXT_BYTES_MAX:
                raise BadRequest(f"{name}: is longer than {AGENT_TEXT_BYTES_MAX} bytes", field=name)
        if len(tools := given.get("tools", [])) > AGENT_TOOLS_MAX:
            raise BadRequest(f"tools: has {len(tools)} entries, the limit is {AGENT_TOOLS_MAX}", field="tools")
        for tool in tools:
            check_name("tools", tool)
        check_json("self_model", given.get("self_model", {}), bytes_max=SELF_MODEL_BYTES_MAX)
        if not given:
            raise BadRequest("changes: nothing to change was given", field="changes")
        return given


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as it says of itself, and when it was last heard of."""

    agent: str
    task: str
    status: AgentStatus
    error: str
    tools: list[str]
    self_model: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int
    snapshots: int
    """The number of its newest snapshot; 0: it has none."""
    heartbeat_at: datetime | None = None
    """When it was last heard of; null: not for a week."""
    alive: bool = False
    """Whether the next heartbeat is not overdue."""


class AgentList(msgspec.Struct, frozen=True, kw_only=True):
    """Agents of a scope, those that changed last first."""

    agents: list[AgentState]
    degraded: str = ""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as the other agents of its project see it: what it is at, not what it thinks of itself."""

    agent: str
    task: str
    status: AgentStatus
    tools: list[str]
    updated_at: datetime
    heartbeat_at: datetime | None
    alive: bool


class Peers(msgspec.Struct, frozen=True, kw_only=True):
    """The agents of a project, those that changed last first."""

    peers: list[Peer]
    degraded: str = ""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat that was noted."""

    heartbeat_at: datetime


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One link of an agent's chain of snapshots."""

    number: int
    at: datetime
    label: str
    state: dict[str, Any]
    """What the agent said of itself: task, status, error, tools, self_model; empty when it was forgotten."""
    content_hash: str
    previous: str
    hash: str
    forgotten: bool = False


class SnapshotPage(msgspec.Struct, frozen=True, kw_only=True):
    """Snapshots of an agent, newest first."""

    snapshots: list[Snapshot]
    more: bool


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that holds from its first link to its last."""

    snapshots: int
    hash: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's state after it was brought back."""

    state: AgentState
    undo: int
    """The snapshot of what it replaced."""


def agent_scope(scope: Scope, agent: str | None = None) -> Scope:
    """The scope of the one agent that is meant, whichever of its sessions asks. Raises BadRequest when none is."""
    one = scope.of_agent(agent)
    if not one.agent:
        raise BadRequest("agent: is named neither by the scope nor by the request", field="agent")
    return Scope(one.tenant, one.project, one.agent)


def agent_place(scope: Scope) -> Place:
    """Where an agent's state is."""
    return Place("agents", f"agt_{_beside(scope, 'state')}", scope)


def snapshot_place(scope: Scope, number: int) -> Place:
    """Where a snapshot is: beside its agent's state."""
    return Place("agent_states", f"snp_{_beside(scope, 'snapshot', number)}", scope)


def _beside(scope: Scope, *what: str | int) -> str:
    names = (*what, scope.tenant, scope.project, scope.agent)
    return home(scope) + hashlib.sha256(msgspec.json.encode(names)).hexdigest()[:30]


def fresh(now: int) -> dict[str, Any]:
    """The state of an agent that has said nothing yet."""
    return {
        "task": "", "status": str(AgentStatus.IDLE), "error": "", "tools": [], "self_model": {}, "created_at": now,
        "updated_at": now, CHAIN: {"number": 0, "hash": ""},
    }  # fmt: skip


def to_state(scope: Scope, version: int, body: Mapping[str, Any], heard: int | None, alive: bool) -> AgentState:
    """The state behind its document."""
    return AgentState(
        agent=scope.agent, task=body["task"], status=AgentStatus(body["status"]), error=body["error"],
        tools=list(body["tools"]), self_model=body["self_model"], created_at=from_microseconds(int(body["created_at"])),
        updated_at=from_microseconds(int(body["updated_at"])), version=version, snapshots=int(body[CHAIN]["number"]),
        heartbeat_at=None if heard is None else from_microseconds(heard), alive=alive,
    )  # fmt: skip


# --- the chain ----------------------------------------------------------------------------------------------------------
# The content of a snapshot is kept as text, so that it is the same to the byte wherever it has been. Its hash is of the
# content's hash, so that a link whose content was forgotten still holds the chain together.


def linked(scope: Scope, number: int, previous: str, body: Mapping[str, Any], label: str, at: datetime) -> dict[str, Any]:
    """The document of the next link, whose predecessor has the hash `previous`; '' for the first."""
    said = {name: body[name] for name in SAID}
    content = canonical({"label": label, "state": said}).decode()
    link = {
        "seq": number, "at": to_microseconds(at), "content": content, "content_hash": _sha256(content),
        "previous": previous, "forgotten": False,
    }  # fmt: skip
    return {**link, "hash": link_hash(scope, link)}


def link_hash(scope: Scope, link: Mapping[str, Any]) -> str:
    """SHA-256 over whose link it is, its place, its time, its content's hash and its predecessor's hash."""
    own = (link.get(name) for name in ("seq", "at", "content_hash", "previous"))
    # What no link holds (somebody has put it there) is written in some way, so that the hash is another.
    values = [scope.tenant, scope.project, scope.agent, *own]
    return _sha256(json.dumps(values, separators=(",", ":"), ensure_ascii=False, default=repr))


def forgotten_link(link: Mapping[str, Any]) -> dict[str, Any]:
    """The link without its content."""
    return {**link, "content": "", "forgotten": True}


def broken(scope: Scope, number: int, previous: str, link: Mapping[str, Any] | None) -> str:
    """What is wrong with the link that should stand at a number behind the hash `previous`; '' if nothing."""
    if link is None:
        return "is missing"
    if link.get("seq") != number:
        return f"says that it is number {link.get('seq')}"
    if link.get("previous") != previous:
        return "does not follow from the one before it"
    if link.get("hash") != link_hash(scope, link):
        return "was changed: its hash is another"
    if link.get("forgotten"):
        return "was changed: it is forgotten, and has a content" if link.get("content") else ""
    if link.get("content_hash") != _sha256(str(link.get("content"))):
        return "was changed: its content's hash is another"
    return ""


def to_snapshot(link: Mapping[str, Any]) -> Snapshot:
    """The snapshot behind its document."""
    empty: dict[str, Any] = {"label": "", "state": {}}
    content = msgspec.json.decode(link["content"], type=dict[str, Any]) if link["content"] else empty
    return Snapshot(
        number=int(link["seq"]), at=from_microseconds(int(link["at"])), label=content["label"], state=content["state"],
        content_hash=link["content_hash"], previous=link["previous"], hash=link["hash"], forgotten=bool(link["forgotten"]),
    )  # fmt: skip


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
