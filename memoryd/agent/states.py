"""What an agent says of itself: its task, its tools, whether it is at work, and what it thinks that it is.

Its state is one document, journaled and archived like a session. Its snapshots are a chain of their own: see `chains`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memoryd.agent.documents import DocumentStore, conflict
from memoryd.clock import to_microseconds
from memoryd.durability import confirm
from memoryd.errors import ArchiveUnavailable, NotFound, Overloaded
from memoryd.hot.agents import HotAgents
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change, Step
from memoryd.limits import AGENTS_LIST_MAX
from memoryd.model.agent import (
    AgentChanges,
    AgentList,
    AgentState,
    Heard,
    Peer,
    Peers,
    agent_place,
    agent_scope,
    fresh,
    to_state,
)
from memoryd.model.document import Document
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope
from memoryd.storing import RETRY_AFTER_SECONDS

TRIES_MAX = 32  # of one change: each repetition means that somebody else has changed the same state


class AgentStates:
    """The states of agents in one Redis and one archive."""

    def __init__(self, store: DocumentStore, hot: HotAgents) -> None:
        self.store = store
        self.hot = hot

    async def set(
        self, scope: Scope, changes: AgentChanges, *, if_version: int | None = None, ttl_seconds: int,
        durability: Durability, request: Request,
    ) -> AgentState:  # fmt: skip
        """Says something of the agent; it counts as a heartbeat. Raises Conflict, and what every write of a document raises."""
        scope = agent_scope(scope)
        given = changes.check()
        await self.hot.beat(scope, self.now(), ttl_seconds)
        await self.change(scope, given, if_version=if_version, durability=durability, request=request)
        return await self.get(scope)

    async def get(self, scope: Scope, agent: str | None = None) -> AgentState:
        """What the agent says of itself. Raises NotFound, or ArchiveUnavailable when only the archive would know."""
        scope = agent_scope(scope, agent)
        return (await self._shown([await self.document(scope)]))[0]

    async def beat(self, scope: Scope, *, ttl_seconds: int) -> Heard:
        """Says that the agent is there, and will say so again within `ttl_seconds`. Redis alone knows it."""
        now = self.store.clock.now()
        await self.hot.beat(agent_scope(scope), to_microseconds(now), ttl_seconds)
        return Heard(heartbeat_at=now)

    async def listed(self, scope: Scope) -> AgentList:
        """The scope's agents, those that changed last first."""
        documents, degraded = await self.all(scope)
        return AgentList(agents=await self._shown(documents[:AGENTS_LIST_MAX]), degraded=degraded)

    async def peers(self, scope: Scope) -> Peers:
        """The agents of the scope's whole project, as they see each other."""
        found = await self.listed(Scope(scope.tenant, scope.project))
        peers = [
            Peer(
                agent=one.agent, task=one.task, status=one.status, tools=one.tools, updated_at=one.updated_at,
                heartbeat_at=one.heartbeat_at, alive=one.alive,
            )
            for one in found.agents
        ]  # fmt: skip
        return Peers(peers=peers, degraded=found.degraded)

    async def all(self, scope: Scope) -> tuple[list[Document], str]:
        """The states of the scope's agents, in Redis and in the archive; and why something was not looked at."""
        here = {one.place.id: one for one in await self.hot.newest(scope, AGENTS_LIST_MAX)}
        degraded = ""
        try:
            await self._add_archived(here, Scope(scope.tenant, scope.project, scope.agent))
        except ArchiveUnavailable:
            degraded = "the archive does not answer: only what lives in Redis"
        return sorted(here.values(), key=lambda one: int(one.body["updated_at"]), reverse=True), degraded

    async def document(self, scope: Scope) -> Document:
        """The agent's state at its version. Raises NotFound."""
        found = await self.store.get(agent_place(scope))
        if found is None:
            raise NotFound("this agent has said nothing of itself yet")
        return found

    async def change(
        self, scope: Scope, values: Mapping[str, Any], *, if_version: int | None = None,
        durability: Durability = Durability.HOT, request: Request,
    ) -> None:  # fmt: skip
        """Writes some values over the state, whatever it is by then (with `if_version`: only over that one)."""
        place = agent_place(scope)
        for _ in range(TRIES_MAX):
            known = await self.store.documents.get(place) or (await self.store.floor(place))[0]
            body = {**(known.body if known else fresh(self.now())), **values, "updated_at": self.now()}
            expected = if_version if if_version is not None else known.version if known else 0
            change = Change(place, body, request, if_version=expected)
            step, fsynced = await self.store.put(change, fsync=durability is not Durability.HOT)
            if step.outcome == "written":
                await self.confirm(step, fsynced, durability)
                return
            if if_version is not None:
                raise conflict(step)
        raise Overloaded("too many change this agent's state at once", retry_after_seconds=RETRY_AFTER_SECONDS)

    async def confirm(self, step: Step, fsynced: bool, durability: Durability) -> None:
        """Waits until a step has survived what was asked for. Raises DurabilityNotReached."""
        documents = self.store.documents
        await confirm(documents.redis, documents.keys, step, fsynced, durability)

    def now(self) -> int:
        """The present in microseconds."""
        return to_microseconds(self.store.clock.now())

    async def _add_archived(self, here: dict[str, Document], scope: Scope) -> None:
        after = ""
        while page := await self.store.page("agents", scope, after=after, limit=AGENTS_LIST_MAX):
            after = page[-1].place.id
            missing = [one for one in page if one.place.id not in here]
            ended = await self.store.documents.ended([one.place.id for one in missing])
            here |= {one.place.id: one for one in missing if ended.get(one.place.id, 0) < one.version}

    async def _shown(self, documents: Sequence[Document]) -> list[AgentState]:
        heard = await self.hot.heard([one.place.scope for one in documents])
        now = self.now()
        return [
            to_state(one.place.scope, one.version, one.body, when and when[0], bool(when and now < when[1]))
            for one, when in zip(documents, heard, strict=True)
        ]
