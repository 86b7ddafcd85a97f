"""The client's own state: `memory.agent`."""

from __future__ import annotations

from typing import Any

from memoryd.limits import HEARTBEAT_SECONDS
from memoryd.model.agent import AgentList, AgentState, Heard, Peers, Restored, Snapshot, SnapshotPage, Verified
from memoryd.model.memory import Durability
from memoryd.protocol.connection import Connection


class AgentClient:
    """What the scope's agent says of itself: its task, status, tools and self-model, and the snapshots of that."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set(
        self,
        *,
        if_version: int | None = None,
        ttl_seconds: int = HEARTBEAT_SECONDS,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **changes: Any,
    ) -> AgentState:
        """Says something of itself: task, status ("idle", "working", "error"), error, tools, self_model. The rest stays as
        it is. It counts as a heartbeat."""
        args = {"if_version": if_version, "ttl_seconds": ttl_seconds, "durability": durability, **changes}
        return await self._connection.call("agent.set", args, AgentState, request_id)

    async def get(self, *, agent: str | None = None) -> AgentState:
        """What it says of itself. `agent`: whose, for a client that sees a whole project."""
        return await self._connection.call("agent.get", {"agent": agent}, AgentState)

    async def beat(self, *, ttl_seconds: int = HEARTBEAT_SECONDS) -> Heard:
        """Says that it is there, and will say so again within `ttl_seconds`."""
        return await self._connection.call("agent.beat", {"ttl_seconds": ttl_seconds}, Heard)

    async def list(self) -> AgentList:
        """The scope's agents, those that changed last first."""
        return await self._connection.call("agent.list", {}, AgentList)

    async def peers(self) -> Peers:
        """What all agents of the project are at, and whether they are there; also for a client of one agent."""
        return await self._connection.call("agent.peers", {}, Peers)

    async def snapshot(
        self, label: str = "", *, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Snapshot:
        """Keeps the state as it is, as the next link of its chain."""
        args = {"label": label, "durability": durability}
        return await self._connection.call("agent.snapshot", args, Snapshot, request_id)

    async def history(
        self, *, before: int | None = None, limit: int = 20, agent: str | None = None
    ) -> SnapshotPage:
        """Its snapshots, newest first; page by `before`."""
        args = {"before": before, "limit": limit, "agent": agent}
        return await self._connection.call("agent.history", args, SnapshotPage)

    async def verify(self, *, agent: str | None = None) -> Verified:
        """Follows the chain in both stores. Raises ChainBroken, which says where."""
        return await self._connection.call("agent.verify", {"agent": agent}, Verified)

    async def restore(
        self, number: int, *, verify: bool = True, durability: str = Durability.HOT, request_id: str | None = None
    ) -> Restored:
        """Makes the state what it was at a snapshot; what it is now becomes one first. Raises ChainBroken."""
        args = {"number": number, "verify": verify, "durability": durability}
        return await self._connection.call("agent.restore", args, Restored, request_id)
