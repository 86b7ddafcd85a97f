"""What passes by itself within minutes or days: kept tool results, scratchpads, and answers for repeats. A forget does
not wait for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis

from memoryd.hot.client import hot_errors
from memoryd.hot.tools import ToolCache
from memoryd.keys import Keys
from memoryd.model.scope import Scope, from_tag

SCAN = 1000  # keys of one look: a millisecond of Redis


class Passing:
    """All of it that one Redis holds for a scope."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._tools = ToolCache(redis, keys)

    async def count(self, scope: Scope, pad: Callable[[str], bool]) -> dict[str, int]:
        """How many tool results there are, and how many scratchpads whose text is one that `pad` means."""
        with hot_errors("look for what passes"):
            results = 0
            for agent in await self._agents(scope):
                results += await self._redis.zcard(self._keys.tool_cache_due(agent))
            questions = await self._redis.zcard(self._keys.questions(scope))
            return {"tool_results": results, "scratchpads": len(await self._pads(scope, pad)), "questions": questions}

    async def drop(self, scope: Scope, pad: Callable[[str], bool]) -> dict[str, int]:
        """Drops them, every answer of the scope's agents, and which memories their recalls gave. Nobody can tell whose a digest
        of a question is: all go."""
        with hot_errors("drop what passes"):
            results = 0
            for agent in await self._agents(scope):
                results += await self._tools.invalidate(agent)
            match = self._keys.questions_kept(scope)
            asked = [key async for key in self._redis.scan_iter(match=match, count=SCAN)]  # whatever was left of one
            pads = await self._pads(scope, pad)
            _, answers, _, recalls = self._keys.patterns(scope)
            noted = [key for match in (answers, recalls) async for key in self._redis.scan_iter(match=match, count=SCAN)]
            questions = await self._redis.zcard(self._keys.questions(scope))
            await self._redis.delete(*pads, *noted, *asked, self._keys.questions(scope))
            return {"tool_results": results, "scratchpads": len(pads), "questions": questions}

    async def _agents(self, scope: Scope) -> list[Scope]:
        """The agents of the scope that have kept results."""
        found = [key.decode() async for key in self._redis.scan_iter(match=self._keys.patterns(scope)[0], count=SCAN)]
        return [Scope(scope.tenant, scope.project, from_tag(key.rpartition(":")[2])) for key in found]

    async def _pads(self, scope: Scope, pad: Callable[[str], bool]) -> list[bytes]:
        found = [key async for key in self._redis.scan_iter(match=self._keys.patterns(scope)[2], count=SCAN)]
        return [key for key in found if pad((await self._redis.execute_command("JSON.GET", key) or b"").decode())]
