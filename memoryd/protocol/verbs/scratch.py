"""The verbs of the scratchpad: scratch.get, scratch.set, scratch.increment, scratch.push, scratch.pop, scratch.delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from memoryd.agent.scratch import Scratch
from memoryd.hot.changes import Request
from memoryd.limits import (
    NAME_BYTES_MAX,
    SCRATCH_BYTES_MAX,
    SCRATCH_NAMES_MAX,
    SCRATCH_POP_MAX,
    SCRATCH_TTL_SECONDS_MAX,
    SCRATCH_TTL_SECONDS_MIN,
)
from memoryd.model.scope import Scope
from memoryd.model.scratch import Pad, Popped, Written
from memoryd.protocol.verbs.verb import Form, Handler

Ttl = Annotated[int, msgspec.Meta(ge=SCRATCH_TTL_SECONDS_MIN, le=SCRATCH_TTL_SECONDS_MAX)]
COUNTABLE = 2**53 - 1  # what every language's JSON can count exactly


class ScratchGetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.get`."""

    names: Annotated[list[str], msgspec.Meta(max_length=SCRATCH_NAMES_MAX)] = []


class ScratchSetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.set`."""

    values: Annotated[dict[str, Any], msgspec.Meta(max_length=SCRATCH_NAMES_MAX)]
    ttl_seconds: Ttl = SCRATCH_TTL_SECONDS_MAX


class ScratchIncrementArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.increment`."""

    name: str
    by: Annotated[int, msgspec.Meta(ge=-COUNTABLE, le=COUNTABLE)] = 1
    ttl_seconds: Ttl = SCRATCH_TTL_SECONDS_MAX


class ScratchPushArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.push`."""

    name: str
    values: list[Any]
    ttl_seconds: Ttl = SCRATCH_TTL_SECONDS_MAX


class ScratchPopArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.pop`."""

    name: str
    count: Annotated[int, msgspec.Meta(ge=1, le=SCRATCH_POP_MAX)] = 1
    end: Literal["first", "last"] = "first"


class ScratchDeleteArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `scratch.delete`."""

    names: Annotated[list[str], msgspec.Meta(max_length=SCRATCH_NAMES_MAX)] = []


FORMS: Mapping[str, Form] = {
    "scratch.get": Form(ScratchGetArgs, Pad),
    "scratch.set": Form(ScratchSetArgs, Written, writes=True),
    "scratch.increment": Form(ScratchIncrementArgs, Written, writes=True),
    "scratch.push": Form(ScratchPushArgs, Written, writes=True),
    "scratch.pop": Form(ScratchPopArgs, Popped),
    "scratch.delete": Form(ScratchDeleteArgs, Written),
}

_NAME = {"minLength": 1, "maxLength": NAME_BYTES_MAX, "description": "the value's name: as the name of an agent"}
_TTL = {"ttl_seconds": {"description": "how long the whole pad lives from now on"}}
SAYS: Mapping[str, Any] = {
    "ScratchGetArgs": {"names": {"description": "which values; empty: all"}},
    "ScratchSetArgs": {
        "values": {
            "minProperties": 1,
            "description": f"names and their values: any JSON; the pad holds {SCRATCH_BYTES_MAX} bytes at most",
        },
        **_TTL,
    },
    "ScratchIncrementArgs": {"name": _NAME, "by": {"description": "what is added; a name that is not there is 0"}, **_TTL},
    "ScratchPushArgs": {
        "name": _NAME,
        "values": {"minItems": 1, "description": "what is put at the end of the list, in order"},
        **_TTL,
    },
    "ScratchPopArgs": {
        "name": _NAME,
        "count": {"description": "how many at most"},
        "end": {"description": "from which end"},
    },
    "ScratchDeleteArgs": {"names": {"description": "which values; empty: the whole pad"}},
    "Pad": {
        "values": {"description": "those that were asked for and are there"},
        "names": {"description": "how many values the whole pad has"},
        "bytes": {"description": "of the whole pad as JSON"},
        "seconds_left": {"description": "how long it lives if nobody writes"},
    },
    "Written": {
        "value": {"description": "set: how many were written; increment: the sum; push: the length; delete: how many went"}
    },
    "Popped": {"values": {"description": "in the order in which they were taken"}},
}


class ScratchVerbs:
    """Carries them out."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "scratch.get": self._get, "scratch.set": self._set, "scratch.increment": self._increment,
            "scratch.push": self._push, "scratch.pop": self._pop, "scratch.delete": self._delete,
        }  # fmt: skip

    async def _get(self, scope: Scope, args: ScratchGetArgs, request: Request) -> Any:
        return await self._scratch.get(scope, args.names)

    async def _set(self, scope: Scope, args: ScratchSetArgs, request: Request) -> Any:
        return await self._scratch.set(scope, args.values, ttl_seconds=args.ttl_seconds, request=request)

    async def _increment(self, scope: Scope, args: ScratchIncrementArgs, request: Request) -> Any:
        return await self._scratch.increment(scope, args.name, args.by, ttl_seconds=args.ttl_seconds, request=request)

    async def _push(self, scope: Scope, args: ScratchPushArgs, request: Request) -> Any:
        return await self._scratch.push(scope, args.name, args.values, ttl_seconds=args.ttl_seconds, request=request)

    async def _pop(self, scope: Scope, args: ScratchPopArgs, request: Request) -> Any:
        return await self._scratch.pop(scope, args.name, last=args.end == "last", count=args.count, request=request)

    async def _delete(self, scope: Scope, args: ScratchDeleteArgs, request: Request) -> Any:
        return await self._scratch.delete(scope, args.names, request=request)
