"""The verbs of agents that work together: lease.take, lease.renew, lease.release, lease.get, channel.publish, channel.read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.channels import ProjectChannels
from memoryd.agent.leases import Leases
from memoryd.hot.changes import Request
from memoryd.limits import (
    CHANNEL_DATA_BYTES_MAX,
    CHANNEL_PAGE_MAX,
    LEASE_TTL_SECONDS_MAX,
    LEASE_TTL_SECONDS_MIN,
    NAME_BYTES_MAX,
)
from memoryd.model.channel import POSITION, MessagePage, Published
from memoryd.model.lease import Lease, LeaseState, Released
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler

Ttl = Annotated[float, msgspec.Meta(ge=LEASE_TTL_SECONDS_MIN, le=LEASE_TTL_SECONDS_MAX)]
Token = Annotated[int, msgspec.Meta(ge=1)]


class LeaseTakeArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `lease.take`."""

    task: str
    ttl_seconds: Ttl = 30.0


class LeaseRenewArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `lease.renew`."""

    task: str
    token: Token
    ttl_seconds: Ttl = 30.0


class LeaseReleaseArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `lease.release`."""

    task: str
    token: Token


class LeaseGetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `lease.get`."""

    task: str


class ChannelPublishArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `channel.publish`."""

    channel: str
    data: Any


class ChannelReadArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `channel.read`."""

    channel: str
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=CHANNEL_PAGE_MAX)] = 100


FORMS: Mapping[str, Form] = {
    "lease.take": Form(LeaseTakeArgs, Lease),
    "lease.renew": Form(LeaseRenewArgs, Lease),
    "lease.release": Form(LeaseReleaseArgs, Released),
    "lease.get": Form(LeaseGetArgs, LeaseState),
    "channel.publish": Form(ChannelPublishArgs, Published, writes=True),
    "channel.read": Form(ChannelReadArgs, MessagePage),
}

_NAME = {"minLength": 1, "maxLength": NAME_BYTES_MAX}
_TASK = {"task": {**_NAME, "description": "the task's name in the project: as the name of an agent"}}
_TOKEN = {"token": {"description": "the lease's `token`"}}
_TTL = {"ttl_seconds": {"description": "how long the lease lasts, unless it is renewed"}}
_CHANNEL = {"channel": {**_NAME, "description": "the channel's name in the project: as the name of an agent"}}
SAYS: Mapping[str, Any] = {
    "LeaseTakeArgs": {**_TASK, **_TTL},
    "LeaseRenewArgs": {**_TASK, **_TOKEN, **_TTL},
    "LeaseReleaseArgs": {**_TASK, **_TOKEN},
    "LeaseGetArgs": _TASK,
    "Lease": {
        "task": {"description": "its name"},
        "token": {"description": "higher than those of all leases before it in the project"},
        "agent": {"description": "who holds it; empty: the project's"},
        "session": {"description": "in which session; empty: in none"},
        "since": {"format": "date-time", "description": "when it was taken"},
        "seconds_left": {"description": "when it ends by itself"},
    },
    "LeaseState": {"lease": {"description": "null: nobody holds it"}},
    "Released": {"released": {"description": "false: it was the caller's no more"}},
    "ChannelPublishArgs": {
        **_CHANNEL, "data": {"description": f"any JSON, at most {CHANNEL_DATA_BYTES_MAX} bytes"},
    },
    "ChannelReadArgs": {
        **_CHANNEL,
        "after": {"description": "the position to read behind; empty: from the beginning; null: none, only the place of now"},
        "limit": {"description": "messages at most"},
    },
    "ChannelMessage": {
        "position": {"pattern": f"^{POSITION.pattern}$", "description": "its place in the channel"},
        "number": {"description": "counts the channel's messages; after a jump some are gone"},
        "agent": {"description": "who said it; empty: the project"},
        "session": {"description": "in which session; empty: in none"},
        "data": {"description": "what was said"},
        "traceparent": {"description": "the span that published it, to link to; left out where nothing is traced"},
    },
    "Published": {
        "position": {"description": "its place in the channel"},
        "number": {"description": "counts the channel's messages"},
    },
    "MessagePage": {
        "messages": {"description": "in order"},
        "next": {"description": "the position to go on behind"},
        "more": {"description": "whether to ask on at once"},
    },
}  # fmt: skip


class TogetherVerbs:
    """Carries them out."""

    def __init__(self, leases: Leases, channels: ProjectChannels) -> None:
        self._leases = leases
        self._channels = channels

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "lease.take": self._take, "lease.renew": self._renew, "lease.release": self._release, "lease.get": self._get,
            "channel.publish": self._publish, "channel.read": self._read,
        }  # fmt: skip

    async def _take(self, scope: Scope, args: LeaseTakeArgs, request: Request) -> Any:
        return await self._leases.take(scope, args.task, ttl_seconds=args.ttl_seconds, request=request)

    async def _renew(self, scope: Scope, args: LeaseRenewArgs, request: Request) -> Any:
        return await self._leases.renew(scope, args.task, args.token, ttl_seconds=args.ttl_seconds)

    async def _release(self, scope: Scope, args: LeaseReleaseArgs, request: Request) -> Any:
        return await self._leases.release(scope, args.task, args.token)

    async def _get(self, scope: Scope, args: LeaseGetArgs, request: Request) -> Any:
        return await self._leases.get(scope, args.task)

    async def _publish(self, scope: Scope, args: ChannelPublishArgs, request: Request) -> Any:
        return await self._channels.publish(scope, args.channel, args.data, request=request)

    async def _read(self, scope: Scope, args: ChannelReadArgs, request: Request) -> Any:
        return await self._channels.read(scope, args.channel, after=args.after, limit=args.limit)
