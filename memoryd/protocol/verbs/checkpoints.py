"""The verbs of checkpoints: checkpoint.save, checkpoint.list, checkpoint.get, checkpoint.rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.checkpoints import Checkpoints
from memoryd.hot.changes import Request
from memoryd.limits import CHECKPOINTS_MAX, NAME_BYTES_MAX
from memoryd.model.memory import Durability
from memoryd.model.scope import Scope
from memoryd.model.session import Captured, Checkpoint, CheckpointState, RolledBack
from memoryd.protocol.verbs.sessions import SessionArgs
from memoryd.protocol.verbs.verb import Form, Handler

Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class CheckpointSaveArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `checkpoint.save`."""

    label: str = ""
    durability: Durability = Durability.HOT


class CheckpointListArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `checkpoint.list`."""


class CheckpointGetArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `checkpoint.get`."""

    number: Number


class CheckpointRollbackArgs(SessionArgs, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `checkpoint.rollback`."""

    number: Number
    durability: Durability = Durability.HOT


FORMS: Mapping[str, Form] = {
    "checkpoint.save": Form(CheckpointSaveArgs, Captured, writes=True),
    "checkpoint.list": Form(CheckpointListArgs, list[Checkpoint]),
    "checkpoint.get": Form(CheckpointGetArgs, CheckpointState),
    "checkpoint.rollback": Form(CheckpointRollbackArgs, RolledBack, writes=True),
}

_WHICH: dict[str, Any] = {
    "session": {"maxLength": NAME_BYTES_MAX, "description": "which session, when the scope names none"},
    "agent": {
        "maxLength": NAME_BYTES_MAX, "description": "whose session, when the scope names no agent; null: the project's own"
    },
}  # fmt: skip
_DURABILITY = {"durability": {"description": "acknowledge when Redis has it (hot), its disk (fsync), MongoDB (archived)"}}
_ACKNOWLEDGED: dict[str, Any] = {
    "id": {"description": "the session's id"},
    "version": {"description": "the session's version now"},
    "durability": {"description": "what it has survived"},
    "replayed": {"description": "whether this is the first answer to a repeated request"},
}
_TOLD: dict[str, Any] = {
    "number": {"description": "counts the session's checkpoints, from 1"},
    "at": {"description": "when it was made"},
    "messages": {"description": "messages that the session held then"},
    "version": {"description": "the session's version then"},
}

SAYS: dict[str, dict[str, Any]] = {
    "CheckpointSaveArgs": {
        **_WHICH,
        "label": {"maxLength": NAME_BYTES_MAX, "description": f"what you will look for; the newest {CHECKPOINTS_MAX} are kept"},
        **_DURABILITY,
    },
    "CheckpointListArgs": _WHICH,
    "CheckpointGetArgs": {**_WHICH, "number": {"description": "which checkpoint"}},
    "CheckpointRollbackArgs": {**_WHICH, "number": {"description": "which checkpoint"}, **_DURABILITY},
    "Captured": {**_ACKNOWLEDGED, "number": {"description": "the new checkpoint's"}},
    "Checkpoint": _TOLD,
    "CheckpointState": {
        **_TOLD,
        "variables": {"description": "as they were"},
        "tools": {"description": "the tool state as it was"},
        "recalled": {"description": "ids and versions of the memories that the session had recalled"},
    },
    "RolledBack": {
        **_ACKNOWLEDGED,
        "number": {"description": "the checkpoint that the session is now"},
        "undo": {"description": "the checkpoint of what was replaced: rolling back to it undoes this"},
        "messages": {"description": "messages that the session holds now"},
    },
}


class CheckpointVerbs:
    """Carries them out."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "checkpoint.save": self._save, "checkpoint.list": self._list, "checkpoint.get": self._get,
            "checkpoint.rollback": self._rollback,
        }  # fmt: skip

    async def _save(self, scope: Scope, args: CheckpointSaveArgs, request: Request) -> Any:
        return await self._checkpoints.save(
            args.inside(scope), args.label, request=request, durability=args.durability
        )

    async def _list(self, scope: Scope, args: CheckpointListArgs, request: Request) -> Any:
        return await self._checkpoints.list(args.inside(scope))

    async def _get(self, scope: Scope, args: CheckpointGetArgs, request: Request) -> Any:
        return await self._checkpoints.get(args.inside(scope), args.number)

    async def _rollback(self, scope: Scope, args: CheckpointRollbackArgs, request: Request) -> Any:
        return await self._checkpoints.roll_back(
            args.inside(scope), args.number, request=request, durability=args.durability
        )
