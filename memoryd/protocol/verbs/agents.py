"""The verbs of agents' states: agent.set, agent.get, agent.beat, agent.list, agent.snapshot, agent.history, agent.verify,
agent.restore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.chains import Chains
from memoryd.agent.states import AgentStates
from memoryd.hot.changes import Request
from memoryd.limits import (
    AGENT_TEXT_BYTES_MAX,
    AGENT_TOOLS_MAX,
    HEARTBEAT_SECONDS,
    HEARTBEAT_SECONDS_MAX,
    HEARTBEAT_SECONDS_MIN,
    LABEL_BYTES_MAX,
    NAME_BYTES_MAX,
    SELF_MODEL_BYTES_MAX,
    SNAPSHOTS_PAGE_MAX,
)
from memoryd.model.agent import (
    AgentChanges,
    AgentList,
    AgentState,
    Heard,
    Peers,
    Restored,
    Snapshot,
    SnapshotPage,
    Verified,
)
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler

Beat = Annotated[int, msgspec.Meta(ge=HEARTBEAT_SECONDS_MIN, le=HEARTBEAT_SECONDS_MAX)]
Number = Annotated[int, msgspec.Meta(ge=1)]


class AgentSetArgs(AgentChanges, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.set`."""

    if_version: int | None = None
    ttl_seconds: Beat = HEARTBEAT_SECONDS
    durability: Durability = Durability.HOT


class AgentGetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.get`."""

    agent: str | None = None


class AgentBeatArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.beat`."""

    ttl_seconds: Beat = HEARTBEAT_SECONDS


class AgentListArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.list`: none."""


class AgentPeersArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.peers`: none."""


class AgentSnapshotArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.snapshot`."""

    label: str = ""
    durability: Durability = Durability.HOT


class AgentHistoryArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.history`."""

    before: Number | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=SNAPSHOTS_PAGE_MAX)] = 20
    agent: str | None = None


class AgentVerifyArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.verify`."""

    agent: str | None = None


class AgentRestoreArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `agent.restore`."""

    number: Number
    verify: bool = True
    durability: Durability = Durability.HOT


FORMS: Mapping[str, Form] = {
    "agent.set": Form(AgentSetArgs, AgentState, writes=True),
    "agent.get": Form(AgentGetArgs, AgentState),
    "agent.beat": Form(AgentBeatArgs, Heard),
    "agent.list": Form(AgentListArgs, AgentList),
    "agent.peers": Form(AgentPeersArgs, Peers),
    "agent.snapshot": Form(AgentSnapshotArgs, Snapshot, writes=True),
    "agent.history": Form(AgentHistoryArgs, SnapshotPage),
    "agent.verify": Form(AgentVerifyArgs, Verified),
    "agent.restore": Form(AgentRestoreArgs, Restored, writes=True),
}

_TIME = {"format": "date-time"}
_AGENT = {"agent": {"maxLength": NAME_BYTES_MAX, "description": "whose, when the scope names no agent"}}
_BEAT = {"ttl_seconds": {"description": "within how many seconds it will be heard of again"}}
_DURABILITY = {"durability": {"description": "as of `store`"}}
SAYS: Mapping[str, Any] = {
    "Peer": {
        "agent": {"description": "its name"},
        "task": {"description": "what it is at, in words"},
        "status": {"description": "idle, working, or error"},
        "tools": {"description": "names of its tools"},
        "updated_at": {"description": "when it said something of itself last"},
        "heartbeat_at": {**_TIME, "description": "when it was last heard of; null: not for a week"},
        "alive": {"description": "whether the next heartbeat is not overdue"},
    },
    "Peers": {
        "peers": {"description": "those that changed last first, the caller's own agent among them"},
        "degraded": {"description": "why something was not looked at; empty when all was"},
    },
    "AgentSetArgs": {
        "task": {"maxLength": AGENT_TEXT_BYTES_MAX, "description": "what it is at, in words"},
        "status": {"description": "idle, working, or error"},
        "error": {"maxLength": AGENT_TEXT_BYTES_MAX, "description": "what is wrong, in words"},
        "tools": {"maxItems": AGENT_TOOLS_MAX, "description": f"names of its tools, each at most {NAME_BYTES_MAX} bytes"},
        "self_model": {
            "description": f"what it thinks that it is, can and wants: a JSON object of at most {SELF_MODEL_BYTES_MAX} bytes"
        },
        "if_version": {"description": "only if this is still the state's version, 0: if there is none; null: whatever it is"},
        **_BEAT,
        **_DURABILITY,
    },
    "AgentGetArgs": _AGENT,
    "AgentBeatArgs": _BEAT,
    "AgentSnapshotArgs": {
        "label": {"maxLength": LABEL_BYTES_MAX, "description": "what people will look for"},
        **_DURABILITY,
    },
    "AgentHistoryArgs": {
        "before": {"description": "only those below this number; null: from the newest on"},
        "limit": {"description": "how many at most"},
        **_AGENT,
    },
    "AgentVerifyArgs": _AGENT,
    "AgentRestoreArgs": {
        "number": {"description": "which snapshot"},
        "verify": {"description": "true: refused unless the whole chain holds"},
        **_DURABILITY,
    },
    "AgentState": {
        "agent": {"description": "its name"},
        "created_at": {"description": "when it said something of itself first"},
        "updated_at": {"description": "when it did last"},
        "version": {"description": "counts the changes"},
        "snapshots": {"description": "the number of its newest snapshot; 0: it has none"},
        "heartbeat_at": {**_TIME, "description": "when it was last heard of; null: not for a week"},
        "alive": {"description": "whether its next heartbeat is not overdue"},
    },
    "AgentList": {
        "agents": {"description": "those that changed last first"},
        "degraded": {"description": "why something was not looked at; empty when all was"},
    },
    "Heard": {"heartbeat_at": {**_TIME, "description": "now, by the daemon's clock"}},
    "Snapshot": {
        "number": {"description": "its place in the chain, from 1"},
        "label": {"description": "what it was called"},
        "state": {"description": "task, status, error, tools and self_model as they were; empty when that was forgotten"},
        "content_hash": {"description": "SHA-256 of label and state"},
        "previous": {"description": "the `hash` of the one before it; empty for the first"},
        "hash": {"description": "SHA-256 over whose it is, its number, its time, `content_hash` and `previous`"},
        "forgotten": {"description": "whether its content was forgotten; its link holds the chain together"},
    },
    "SnapshotPage": {
        "snapshots": {"description": "newest first"},
        "more": {"description": "whether there are earlier ones"},
    },
    "Verified": {
        "snapshots": {"description": "how many there are: all links hold"},
        "hash": {"description": "the newest one's; who keeps it elsewhere can prove later that none was exchanged"},
    },
    "Restored": {"undo": {"description": "the number of the snapshot of what it replaced"}},
}


class AgentVerbs:
    """Carries them out."""

    def __init__(self, states: AgentStates, chains: Chains) -> None:
        self._states = states
        self._chains = chains

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "agent.set": self._set, "agent.get": self._get, "agent.beat": self._beat, "agent.list": self._list,
            "agent.peers": self._peers,
            "agent.snapshot": self._snapshot, "agent.history": self._history, "agent.verify": self._verify,
            "agent.restore": self._restore,
        }  # fmt: skip

    async def _set(self, scope: Scope, args: AgentSetArgs, request: Request) -> Any:
        return await self._states.set(
            scope, args, if_version=args.if_version, ttl_seconds=args.ttl_seconds, durability=args.durability,
            request=request,
        )  # fmt: skip

    async def _get(self, scope: Scope, args: AgentGetArgs, request: Request) -> Any:
        return await self._states.get(scope, args.agent)

    async def _beat(self, scope: Scope, args: AgentBeatArgs, request: Request) -> Any:
        return await self._states.beat(scope, ttl_seconds=args.ttl_seconds)

    async def _list(self, scope: Scope, args: AgentListArgs, request: Request) -> Any:
        return await self._states.listed(scope)

    async def _peers(self, scope: Scope, args: AgentPeersArgs, request: Request) -> Any:
        return await self._states.peers(scope)

    async def _snapshot(self, scope: Scope, args: AgentSnapshotArgs, request: Request) -> Any:
        return await self._chains.snapshot(scope, args.label, durability=args.durability, request=request)

    async def _history(self, scope: Scope, args: AgentHistoryArgs, request: Request) -> Any:
        return await self._chains.history(scope, agent=args.agent, before=args.before, limit=args.limit)

    async def _verify(self, scope: Scope, args: AgentVerifyArgs, request: Request) -> Any:
        return await self._chains.verify(scope, agent=args.agent)

    async def _restore(self, scope: Scope, args: AgentRestoreArgs, request: Request) -> Any:
        return await self._chains.restore(
            scope, args.number, verify=args.verify, durability=args.durability, request=request
        )
