"""Kept results of an agent's tools: who finds nothing claims the computation, and everybody else waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import Keys
from memoryd.limits import TOOL_CACHE_BYTES_MAX, TOOL_CACHE_ENTRIES_MAX
from memoryd.model.scope import Scope, to_tag

COUNTS = ("bytes", "hits", "similar", "failures", "misses", "waits")


@dataclass(frozen=True)
class Claimed:
    """What a claim found: hit, failed, compute, wait or bypass; of a look none, too."""

    outcome: str
    seconds: float = 0.0
    """The age of what is kept; how long it has been computed already."""
    text: bytes = b""
    """The result as JSON, or the failure's words."""


class ToolCache:
    """The tool results of one Redis, one cache an agent. A scope's session only notes who put an entry there."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    def _places(self, scope: Scope) -> list[str]:
        return [self._keys.tool_cache(scope), self._keys.tool_cache_due(scope)]

    async def look(self, scope: Scope, entry: str, token: str, *, similar: bool = False) -> Claimed:
        """What is kept under `entry`: hit, failed, wait or none. `similar`: it is that of another question."""
        with hot_errors("look for a tool's result"):
            return _claimed(await scripts.tool_look(self._redis, self._places(scope), [entry, token, int(similar)]))

    async def claim(
        self, scope: Scope, entry: str, token: str, *, tool: str, tags: Sequence[str], lease_seconds: float,
        question: Mapping[str, Encoded] | None = None,
    ) -> Claimed:  # fmt: skip
        """What is kept under `entry`, or the claim to compute it for `lease_seconds`; `question` is kept with it."""
        args: list[Encoded] = [
            entry, token, _milliseconds(lease_seconds), tool, msgspec.json.encode(tags), to_tag(scope.session),
            TOOL_CACHE_ENTRIES_MAX, TOOL_CACHE_BYTES_MAX,
        ]  # fmt: skip
        keys = self._places(scope)
        if question:
            keys.append(self._keys.question(scope, entry))
            args += [part for pair in question.items() for part in pair]
        with hot_errors("claim a tool's result"):
            answer = await scripts.tool_claim(self._redis, keys, args)
            await self._drop_questions(scope, answer[2] if answer[0] in (b"compute", b"bypass") and len(answer) > 2 else [])
        return _claimed(answer)

    async def settle(
        self, scope: Scope, entry: str, token: str, *, state: str, ttl_seconds: float = 0.0, text: bytes = b""
    ) -> str:
        """Ends a computation as `state` (hit, failed, bypass, or '' to keep nothing); what became of it."""
        args: list[Encoded] = [
            entry, token, state, _milliseconds(ttl_seconds), text, TOOL_CACHE_ENTRIES_MAX, TOOL_CACHE_BYTES_MAX,
        ]  # fmt: skip
        with hot_errors("keep a tool's result"):
            keys = [*self._places(scope), self._keys.question(scope, entry)]
            outcome, *dropped = await scripts.tool_settle(self._redis, keys, args)
            await self._drop_questions(scope, dropped[0] if dropped else [])
        return str(outcome.decode())

    async def invalidate(
        self, scope: Scope, *, entry: str = "", tool: str = "", tag: str = "", session: str = ""
    ) -> int:
        """Drops what fits all that is given, results and computations; how many."""
        args = [entry, tool, tag, to_tag(session)]
        with hot_errors("invalidate tool results"):
            removed, dropped = await scripts.tool_invalidate(self._redis, self._places(scope), args)
            await self._drop_questions(scope, dropped)
        return int(removed)

    async def _drop_questions(self, scope: Scope, entries: Sequence[bytes]) -> None:
        """Removes the questions of entries that are gone before their time. Should this daemon die first, their TTL does."""
        if entries:
            await self._redis.unlink(*(self._keys.question(scope, one.decode()) for one in entries))

    async def counts(self, scope: Scope) -> dict[str, int]:
        """Entries, their bytes, and how claims ended since the cache was last empty."""
        cache, due = self._places(scope)
        with hot_errors("count tool results"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.zcard(due)
                pipe.hmget(cache, [f"#{name}" for name in COUNTS])
                answers: list[Any] = await pipe.execute()
        entries, counts = answers
        return {"entries": int(entries)} | {name: int(raw or 0) for name, raw in zip(COUNTS, counts, strict=True)}


def _claimed(answer: Sequence[Any]) -> Claimed:
    outcome, *rest = answer
    text = rest[1] if len(rest) > 1 and isinstance(rest[1], bytes) else b""
    return Claimed(outcome.decode(), int(rest[0]) / 1000 if rest else 0.0, text)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
