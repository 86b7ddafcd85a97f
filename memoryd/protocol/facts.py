"""The client's facts: `memory.facts`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from memoryd.model.fact import Believed, Ended, Fact, Facts
from memoryd.model.memory import Durability
from memoryd.protocol.connection import Connection


class FactClient:
    """What the scope's agent holds for true: subject, predicate, object, when, and how surely."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(
        self,
        subject: str,
        predicate: str,
        object: str,
        *,
        confidence: float = 1.0,
        many: bool = False,
        durability: str = Durability.HOT,
        request_id: str | None = None,
        **details: Any,
    ) -> Believed:
        """Says a fact. What held of this subject and predicate is ended by it, unless it has `many` objects.

        Details: text, valid_from, valid_until, session, importance, tags, source_tool, derived_from.
        """
        args = {"subject": subject, "predicate": predicate, "object": object, "confidence": confidence, "many": many}
        return await self._connection.call("fact.put", {**args, "durability": durability, **details}, Believed, request_id)

    async def find(
        self, subject: str = "", predicate: str = "", object: str = "", *, limit: int = 50, **wanted: Any
    ) -> Facts:
        """The facts that fit all that is given and hold now, those that hold since last first.

        Wanted: at (a moment other than now), ever=True (whenever they held), confidence_min, session.
        """
        args = {"subject": subject, "predicate": predicate, "object": object, "limit": limit}
        return await self._connection.call("fact.find", {**args, **wanted}, Facts)

    async def get(self, subject: str, predicate: str, *, at: datetime | None = None) -> Fact | None:
        """The one that holds (the newest of many), now or at another moment; None when there is none."""
        found = (await self.find(subject, predicate, at=at, limit=1)).facts
        return found[0] if found else None

    async def end(
        self,
        subject: str,
        predicate: str,
        object: str = "",
        *,
        at: datetime | None = None,
        session: str | None = None,
        durability: str = Durability.HOT,
        request_id: str | None = None,
    ) -> list[str]:
        """Says that it holds no longer, since now or another moment; the ids of what has ended."""
        args = {"subject": subject, "predicate": predicate, "object": object, "at": at, "session": session}
        return (
            await self._connection.call("fact.end", {**args, "durability": durability}, Ended, request_id)
        ).ended
