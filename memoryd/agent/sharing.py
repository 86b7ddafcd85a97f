"""Sharing: an agent lets another one of its project see a memory, which stays one memory and its own.

The other finds it by `recall` and `count`, and reads it by `get`, as it is now. To change, compress or forget it is its owner's.
"""

from __future__ import annotations

from memoryd.clock import Clock, to_microseconds
from memoryd.engine import CHANGE_TRIES, Engine
from memoryd.errors import BadRequest, NotFound, QuotaExceeded
from memoryd.hot.changes import Request
from memoryd.hot.records import Records
from memoryd.hot.sharing import Share, share
from memoryd.limits import SHARED_WITH_MAX
from memoryd.model.memory import Durability
from memoryd.model.results import Stored
from memoryd.model.scope import Scope, check_name
from memoryd.storing import refusal


class Sharing:
    """The verbs share and unshare."""

    def __init__(self, engine: Engine, records: Records, clock: Clock) -> None:
        self._engine = engine
        self._records = records
        self._clock = clock

    async def share(
        self, scope: Scope, memory_id: str, with_agent: str, *, durability: Durability, request: Request
    ) -> Stored:
        """Lets an agent see a memory. Raises NotFound, BadRequest, QuotaExceeded, and what a write raises."""
        check_name("with_agent", with_agent)
        return await self._take(scope, memory_id, Share(with_agent, seen=True), durability, request)

    async def unshare(
        self, scope: Scope, memory_id: str, with_agent: str | None, *, durability: Durability, request: Request
    ) -> Stored:
        """Lets an agent, or all of them, see it no more: from the acknowledgement on. Raises NotFound and what a write raises."""
        if with_agent is not None:
            check_name("with_agent", with_agent)
        return await self._take(scope, memory_id, Share(with_agent or "", seen=False), durability, request)

    async def _take(
        self, scope: Scope, memory_id: str, wanted: Share, durability: Durability, request: Request
    ) -> Stored:
        for _ in range(CHANGE_TRIES):
            memory = await self._engine.in_hot(scope, memory_id)  # what is shared is found by recall, so it lives there
            if wanted.seen and wanted.agent == memory.agent_id:
                raise BadRequest("with_agent: it is that agent's own memory", field="with_agent")
            written, fsynced = await share(
                self._records, scope, memory, wanted, now=to_microseconds(self._clock.now()), request=request,
                fsync=durability is not Durability.HOT,
            )  # fmt: skip
            if written.outcome != "light":
                break
        match written.outcome:
            case "updated" | "unchanged":
                return await self._engine.acknowledge(scope, written, fsynced, durability)
            case "missing":
                raise NotFound(f"{memory_id}: this scope holds no such memory", id=memory_id)
            case "full":
                raise QuotaExceeded(
                    f"{memory_id}: is shared with {SHARED_WITH_MAX} agents already",
                    hint="unshare it from one of them, or store it for the whole project: as a client without an agent",
                )
        raise refusal(written.outcome)
