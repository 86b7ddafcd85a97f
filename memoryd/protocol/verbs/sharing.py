"""The verbs by which one memory is seen by several agents: share, unshare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from memoryd.agent.sharing import Sharing
from memoryd.hot.changes import Request
from memoryd.limits import NAME_BYTES_MAX
from memoryd.model.ids import ID_PATTERN
from memoryd.model.memory import Durability
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler


class ShareArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `share`."""

    id: str
    with_agent: str
    durability: Durability = Durability.HOT


class UnshareArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `unshare`."""

    id: str
    with_agent: str | None = None
    durability: Durability = Durability.HOT


FORMS: Mapping[str, Form] = {
    "share": Form(ShareArgs, Stored, writes=True),
    "unshare": Form(UnshareArgs, Stored),
}

_NAME = {"minLength": 1, "maxLength": NAME_BYTES_MAX}
_SHARED: dict[str, Any] = {
    "id": {"pattern": f"^{ID_PATTERN.pattern}$", "description": "the memory's id"},
    "durability": {"description": "as of `store`"},
}
SAYS: Mapping[str, Any] = {
    "ShareArgs": {**_SHARED, "with_agent": {**_NAME, "description": "who is to see it: another agent of the project"}},
    "UnshareArgs": {**_SHARED, "with_agent": {**_NAME, "description": "who is to see it no more; null: all of them"}},
}


class SharingVerbs:
    """Carries them out."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"share": self._share, "unshare": self._unshare}

    async def _share(self, scope: Scope, args: ShareArgs, request: Request) -> Any:
        return await self._sharing.share(scope, args.id, args.with_agent, durability=args.durability, request=request)

    async def _unshare(self, scope: Scope, args: UnshareArgs, request: Request) -> Any:
        return await self._sharing.unshare(scope, args.id, args.with_agent, durability=args.durability, request=request)
