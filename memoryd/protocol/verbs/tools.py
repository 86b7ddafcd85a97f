"""The verbs of tool results: tool.claim, tool.put, tool.fail, tool.invalidate, tool.counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.tools import KEY_PATTERN, Tools
from memoryd.hot.changes import Request
from memoryd.limits import (
    NAME_BYTES_MAX,
    TOOL_DISTANCE_MAX,
    TOOL_FAILURE_BYTES_MAX,
    TOOL_FAILURE_TTL_SECONDS_MAX,
    TOOL_INPUT_BYTES_MAX,
    TOOL_LEASE_SECONDS_MAX,
    TOOL_RESULT_BYTES_MAX,
    TOOL_TTL_SECONDS_MAX,
)
from memoryd.model.scope import Scope
from memoryd.model.tool import Claim, Invalidated, Settled, ToolCounts
from memoryd.protocol.verbs.verb import Form, Handler


class ToolClaimArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tool.claim`."""

    tool: str
    input: Any
    tags: list[str] = []
    lease_seconds: Annotated[float, msgspec.Meta(gt=0, le=TOOL_LEASE_SECONDS_MAX)] = 30.0
    private: bool = False
    distance: Annotated[float, msgspec.Meta(ge=0, le=TOOL_DISTANCE_MAX)] | None = None


class ToolPutArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tool.put`."""

    key: str
    token: str
    result: Any
    ttl_seconds: Annotated[float, msgspec.Meta(gt=0, le=TOOL_TTL_SECONDS_MAX)] = 300.0


class ToolFailArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tool.fail`."""

    key: str
    token: str
    error: str = ""
    ttl_seconds: Annotated[float, msgspec.Meta(ge=0, le=TOOL_FAILURE_TTL_SECONDS_MAX)] = 5.0


class ToolInvalidateArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tool.invalidate`: what is dropped fits all that are given."""

    key: str = ""
    tool: str = ""
    tag: str = ""


class ToolCountsArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `tool.counts`: none."""


FORMS: Mapping[str, Form] = {
    "tool.claim": Form(ToolClaimArgs, Claim),
    "tool.put": Form(ToolPutArgs, Settled, writes=True),
    "tool.fail": Form(ToolFailArgs, Settled),
    "tool.invalidate": Form(ToolInvalidateArgs, Invalidated),
    "tool.counts": Form(ToolCountsArgs, ToolCounts),
}


_KEY = {"key": {"pattern": f"^({KEY_PATTERN.pattern})?$", "description": "the claim's `key`"}}
_NAME = {"maxLength": NAME_BYTES_MAX}
SAYS: Mapping[str, Any] = {
    "ToolClaimArgs": {
        "tool": {"minLength": 1, **_NAME, "description": "the tool's name"},
        "input": {"description": f"what the tool is given: any JSON, at most {TOOL_INPUT_BYTES_MAX} bytes"},
        "tags": {"description": "what the result depends on, to invalidate it by: as the tags of a memory"},
        "lease_seconds": {"description": "how long others wait for this caller, if it is to compute"},
        "private": {"description": "whether the result is this session's alone; else all sessions of the agent share it"},
        "distance": {
            "description": "the input is a question in words, and what answers one so near by its meaning (1 - cosine) answers "
            "it too; null: the same input only"
        },
    },
    "ToolPutArgs": {
        **_KEY,
        "token": {"description": "the claim's `token`"},
        "result": {"description": f"any JSON; above {TOOL_RESULT_BYTES_MAX} bytes it is not kept"},
        "ttl_seconds": {"description": "how long it is kept"},
    },
    "ToolFailArgs": {
        **_KEY,
        "token": {"description": "the claim's `token`"},
        "error": {"description": f"what callers are told meanwhile, at most {TOOL_FAILURE_BYTES_MAX} bytes"},
        "ttl_seconds": {"description": "how long the failure is kept; 0: the next caller computes at once"},
    },
    "ToolInvalidateArgs": {
        "key": {**_KEY["key"], "description": "only this claim's entry"},
        "tool": {**_NAME, "description": "only this tool's"},
        "tag": {**_NAME, "description": "only what was claimed with this tag"},
    },
    "Claim": {
        "outcome": {"enum": ["hit", "failed", "compute", "wait", "bypass"], "description": "see below"},
        "key": {"description": "names tool and input in `tool.put`, `tool.fail` and `tool.invalidate`"},
        "token": {"description": "of compute: proves who computes; empty otherwise"},
        "result": {"description": "of hit"},
        "error": {"description": "of failed"},
        "age_seconds": {"description": "of hit and failed"},
        "retry_after_seconds": {"description": "of wait: when to claim again"},
        "distance": {"description": "how far the question is that it is known for; 0: the same"},
        "degraded": {"description": "why no similar question was looked for; empty when it was, or was not to be"},
    },
    "Settled": {
        "outcome": {
            "enum": ["hit", "failed", "bypass", "released", "late"],
            "description": "what the next claim finds; late: the claim was not the caller's any more",
        }
    },
    "Invalidated": {"removed": {"description": "how many entries went, computations in progress included"}},
    "ToolCounts": {
        "entries": {"description": "kept results and failures, and computations in progress"},
        "bytes": {"description": "of results and failures"},
        "hits": {"description": "claims that found a result; this and the following since the cache was last empty"},
        "similar": {"description": "those of the hits that answer another question"},
        "failures": {"description": "claims that found a failure"},
        "misses": {"description": "claims that had to compute"},
        "waits": {"description": "claims that had to wait"},
    },
}


class ToolVerbs:
    """Carries them out."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "tool.claim": self._claim, "tool.put": self._put, "tool.fail": self._fail,
            "tool.invalidate": self._invalidate, "tool.counts": self._counts,
        }  # fmt: skip

    async def _claim(self, scope: Scope, args: ToolClaimArgs, request: Request) -> Any:
        return await self._tools.claim(
            scope,
            args.tool,
            args.input,
            tags=args.tags,
            lease_seconds=args.lease_seconds,
            private=args.private,
            distance=args.distance,
            request=request,
        )

    async def _put(self, scope: Scope, args: ToolPutArgs, request: Request) -> Any:
        return await self._tools.put(scope, args.key, args.token, args.result, ttl_seconds=args.ttl_seconds)

    async def _fail(self, scope: Scope, args: ToolFailArgs, request: Request) -> Any:
        return await self._tools.fail(scope, args.key, args.token, args.error, ttl_seconds=args.ttl_seconds)

    async def _invalidate(self, scope: Scope, args: ToolInvalidateArgs, request: Request) -> Any:
        return await self._tools.invalidate(scope, key=args.key, tool=args.tool, tag=args.tag)

    async def _counts(self, scope: Scope, args: ToolCountsArgs, request: Request) -> Any:
        return await self._tools.counts(scope)
