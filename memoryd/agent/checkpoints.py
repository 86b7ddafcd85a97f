"""Checkpoints: states of a session to roll back to. Their messages are the session's own, named by their numbers."""

from __future__ import annotations

from typing import Any

from memoryd.agent.sessions import Sessions
from memoryd.clock import from_microseconds
from memoryd.errors import ArchiveUnavailable, NotFound
from memoryd.hot.changes import Request
from memoryd.hot.documents import Step
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope, check_name
from memoryd.model.session import Captured, Checkpoint, CheckpointState, RolledBack, session_place
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sessions")


class Checkpoints:
    """The checkpoints of sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._hot = sessions.hot

    async def save(
        self, scope: Scope, label: str, *, request: Request, durability: Durability = Durability.HOT
    ) -> Captured:
        """Captures the session as it is: messages, variables, tool state, and what it has recalled. Raises NotFound."""
        place = session_place(scope)
        if label:
            check_name("label", label)

        async def act() -> tuple[Step, bool]:
            return await self._hot.checkpoint(
                place, label, now=self._sessions.now(), request=request, fsync=durability is not Durability.HOT
            )

        step, fsynced = await self._sessions.act(place, act)
        await self._sessions.confirm(step, fsynced, durability)
        return Captured(
            id=step.id, number=int(step.note), version=step.version, durability=durability, replayed=step.replayed
        )

    async def list(self, scope: Scope) -> list[Checkpoint]:
        """The session's checkpoints, oldest first. Raises NotFound."""
        place = session_place(scope)
        await self._sessions.head(place)
        found = await self._hot.checkpoints(place) or {}
        return [Checkpoint(**_told(number, body)) for number, body in sorted(found.items())]

    async def get(self, scope: Scope, number: int) -> CheckpointState:
        """What a checkpoint captured beside the messages. Raises NotFound."""
        place = session_place(scope)
        await self._sessions.head(place)
        body = await self._hot.checkpoint_state(place, number)
        if body is None:
            raise NotFound("number: the session has no such checkpoint (any more)", number=number)
        recalled = {memory_id: int(version) for memory_id, version in body["recalled"]}
        return CheckpointState(
            **_told(number, body), variables=body["variables"], tools=body["tools"], recalled=recalled
        )

    async def roll_back(
        self, scope: Scope, number: int, *, request: Request, durability: Durability = Durability.HOT
    ) -> RolledBack:
        """Makes the session what it was at a checkpoint, after capturing what it is now: that checkpoint undoes it.

        Raises NotFound, and ArchiveUnavailable when messages are needed that only the archive has.
        """
        place = session_place(scope)

        async def act() -> tuple[Step, bool]:
            missing = {}
            if state := await self._hot.checkpoint_state(place, number):
                ranges = [(int(first), int(end)) for first, end in state["segments"]]
                here = set(await self._hot.sizes(place))
                missing = await self._sessions.archive.missing(place, ranges, here)
            return await self._hot.roll_back(
                place, number, f"before the rollback to {number}", missing, now=self._sessions.now(), request=request,
                fsync=durability is not Durability.HOT,
            )  # fmt: skip

        step, fsynced = await self._sessions.act(place, act)
        undo, messages = map(int, step.note.split(":"))
        try:
            await self._sessions.overflow.tidy(place)
        except ArchiveUnavailable as error:
            log.warning("session.tidy_waits", id=place.id, code=error.code)
        await self._sessions.confirm(step, fsynced, durability)
        return RolledBack(
            id=step.id, number=number, undo=undo, messages=messages, version=step.version, durability=durability,
            replayed=step.replayed,
        )  # fmt: skip


def _told(number: int, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": number, "label": body["label"], "at": from_microseconds(int(body["at"])),
        "messages": int(body["message_count"]), "version": int(body["captured_version"]),
    }  # fmt: skip
