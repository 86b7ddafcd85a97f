"""The client's verbs of tool results: `memory.tools`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from memoryd.errors import BadRequest, MemorydError, ToolFailed
from memoryd.limits import TOOL_FAILURE_BYTES_MAX
from memoryd.model.tool import Claim, Invalidated, Settled, ToolCounts
from memoryd.protocol.connection import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class _How:
    """How a result is kept, and waited for."""

    ttl_seconds: float
    failure_ttl_seconds: float
    tags: Sequence[str]
    lease_seconds: float
    wait_seconds: float
    private: bool
    distance: float | None = None


class ToolClient:
    """Kept results of tools. `cached` and `cached_query` are all that an agent needs; the rest is what they are made of."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def cached(
        self,
        tool: str,
        given: Any,
        call: Callable[[Any], Awaitable[T]],
        *,
        ttl_seconds: float = 300.0,
        failure_ttl_seconds: float = 5.0,
        tags: Sequence[str] = (),
        lease_seconds: float = 30.0,
        wait_seconds: float = 60.0,
        private: bool = False,
    ) -> T | Any:
        """The result of `call(given)`, or the one that somebody got for the same input a short while ago.

        Of many callers at once one calls; the others wait for its result, `wait_seconds` at most, and then call for
        themselves. An exception of the tool is raised to who called, and as ToolFailed to who asks within
        `failure_ttl_seconds`. A result that comes from the cache has been JSON. A cache that is away is no reason not
        to call the tool. Raises BadRequest for an input or a result that is no JSON.
        """

        return await self._cached(
            tool, given, call, _How(ttl_seconds, failure_ttl_seconds, tags, lease_seconds, wait_seconds, private)
        )

    async def cached_query(
        self,
        tool: str,
        query: str,
        call: Callable[[str], Awaitable[T]],
        *,
        distance_threshold: float = 0.1,
        ttl_seconds: float = 300.0,
        failure_ttl_seconds: float = 5.0,
        tags: Sequence[str] = (),
        lease_seconds: float = 30.0,
        wait_seconds: float = 60.0,
        private: bool = False,
    ) -> T | Any:
        """As `cached`, for a question in words: also what answered a question like it a short while ago, one at most
        `distance_threshold` (1 - cosine, 0 to 0.5) away in meaning. 0.1 is nearly the same words.

        Without an embedding model the same question is found only. A failure answers no other question.
        """
        how = _How(ttl_seconds, failure_ttl_seconds, tags, lease_seconds, wait_seconds, private, distance_threshold)
        return await self._cached(tool, query, call, how)

    async def _cached(self, tool: str, given: Any, call: Callable[[Any], Awaitable[T]], how: _How) -> T | Any:
        async def ask() -> Claim:
            return await self.claim(
                tool, given, tags=how.tags, lease_seconds=how.lease_seconds, private=how.private, distance=how.distance
            )

        claim = await _decided(ask, how.wait_seconds)
        match claim.outcome:
            case "hit":
                return claim.result
            case "failed":
                raise ToolFailed(f"{tool}: has failed a short while ago", error=claim.error)
            case "compute":
                return await self._compute(claim, given, call, how)
        return await call(given)

    async def _compute(self, claim: Claim, given: Any, call: Callable[[Any], Awaitable[T]], how: _How) -> T:
        try:
            result = await call(given)
        except Exception as error:
            await _settled(self.fail(claim, f"{type(error).__name__}: {error}", ttl_seconds=how.failure_ttl_seconds))
            raise
        try:
            msgspec.json.encode(result)
        except (TypeError, ValueError, OverflowError, RecursionError):
            await _settled(self.fail(claim, "", ttl_seconds=0))
            raise BadRequest("result: is no JSON, and cannot be kept", field="result") from None
        await _settled(self.put(claim, result, ttl_seconds=how.ttl_seconds))
        return result

    async def claim(
        self, tool: str, given: Any, *, tags: Sequence[str] = (), lease_seconds: float = 30.0, private: bool = False,
        distance: float | None = None,
    ) -> Claim:  # fmt: skip
        """What is known of the tool's result for this input, or the right to compute it.

        With a `distance` the input is a question, and what is known for one so near is known for it.
        """
        args = {
            "tool": tool, "input": given, "tags": list(tags), "lease_seconds": lease_seconds, "private": private,
            "distance": distance,
        }  # fmt: skip
        return await self._connection.call("tool.claim", args, Claim)

    async def put(self, claim: Claim, result: Any, *, ttl_seconds: float = 300.0) -> Settled:
        """Ends a computation with its result."""
        args = {"key": claim.key, "token": claim.token, "result": result, "ttl_seconds": ttl_seconds}
        return await self._connection.call("tool.put", args, Settled)

    async def fail(self, claim: Claim, error: str, *, ttl_seconds: float = 5.0) -> Settled:
        """Ends a computation with a failure; what is too long of its words is left out."""
        cut = error.encode("utf-8", "replace")[:TOOL_FAILURE_BYTES_MAX].decode("utf-8", "ignore").replace("\0", "")
        args = {"key": claim.key, "token": claim.token, "error": cut, "ttl_seconds": ttl_seconds}
        return await self._connection.call("tool.fail", args, Settled)

    async def invalidate(self, *, tool: str = "", tag: str = "", key: str = "") -> int:
        """Drops the results that fit all that is given, everything without; how many."""
        args = {"tool": tool, "tag": tag, "key": key}
        return (await self._connection.call("tool.invalidate", args, Invalidated)).removed

    async def counts(self) -> ToolCounts:
        """What is kept for this agent, and how its claims ended."""
        return await self._connection.call("tool.counts", {}, ToolCounts)


async def _decided(ask: Callable[[], Awaitable[Claim]], wait_seconds: float) -> Claim:
    """The first claim that need not wait; `bypass` when the wait was long enough, or the cache is away."""
    try:
        async with asyncio.timeout(wait_seconds):
            while True:
                claim = await ask()
                if claim.outcome != "wait":
                    return claim
                await asyncio.sleep(claim.retry_after_seconds)
    except BadRequest:
        raise
    except (MemorydError, TimeoutError):
        return Claim(outcome="bypass", key="")


async def _settled(ending: Awaitable[Settled]) -> None:
    with contextlib.suppress(MemorydError):  # not kept, then: the claim's lease lets the next caller compute
        await ending
