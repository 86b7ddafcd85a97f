"""Scratchpads in Redis: one JSON object for an agent's session, its steps atomic, its life short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd.hot import scripts
from memoryd.hot.changes import Request
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import Keys, request_digest
from memoryd.limits import ANSWERS_TTL_SECONDS, SCRATCH_BYTES_MAX, SCRATCH_NAMES_MAX
from memoryd.model.scope import Scope, from_tag, to_tag


class Scratchpads:
    """The pads of one Redis. Each step answers its script's words; the first is the outcome."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def get(self, scope: Scope) -> tuple[dict[str, Any], int, float]:
        """The pad's values, their bytes as JSON, and how many seconds it has to live."""
        key = self._keys.scratch(scope)
        with hot_errors("read a scratchpad"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("JSON.GET", key)
                pipe.pttl(key)
                raw, left = await pipe.execute()
        values: dict[str, Any] = msgspec.json.decode(raw) if raw else {}
        return {from_tag(name): value for name, value in values.items()}, len(raw or b"{}"), max(0, left) / 1000

    async def set(self, scope: Scope, values: Mapping[str, bytes], ttl_seconds: int, request: Request) -> Sequence[bytes]:
        """Writes values, given as JSON: done, full, reused."""
        own = [part for name, text in values.items() for part in (to_tag(name), text)]
        return await self._step("write a scratchpad", scripts.scratch_set, scope, ttl_seconds, request, own)

    async def increment(
        self, scope: Scope, name: str, by: int, ttl_seconds: int, request: Request
    ) -> Sequence[bytes]:
        """Adds to a number: done with the sum, type, range, full, reused."""
        own: list[Encoded] = [to_tag(name), by]
        return await self._step("count in a scratchpad", scripts.scratch_increment, scope, ttl_seconds, request, own)

    async def push(self, scope: Scope, name: str, items: bytes, ttl_seconds: int, request: Request) -> Sequence[bytes]:
        """Puts the items of a JSON list at the end: done with the length, type, full, reused."""
        own: list[Encoded] = [to_tag(name), items]
        return await self._step("push to a scratchpad", scripts.scratch_push, scope, ttl_seconds, request, own)

    async def pop(self, scope: Scope, name: str, *, last: bool, count: int, request: Request) -> Sequence[bytes]:
        """Takes items: done with each as JSON, type, reused."""
        own: list[Encoded] = [to_tag(name), -1 if last else 0, count]
        return await self._step("pop from a scratchpad", scripts.scratch_pop, scope, 0, request, own)

    async def delete(self, scope: Scope, names: Sequence[str], request: Request) -> Sequence[bytes]:
        """Removes values, all without names: done with how many, reused."""
        own: list[Encoded] = [to_tag(name) for name in names]
        return await self._step("delete from a scratchpad", scripts.scratch_delete, scope, 0, request, own)

    async def _step(
        self, doing: str, script: scripts.Script, scope: Scope, ttl_seconds: int, request: Request, own: Sequence[Encoded]
    ) -> Sequence[bytes]:
        keys = [self._keys.scratch(scope), self._keys.answers(scope)]
        control: list[Encoded] = [
            request_digest(request.id), request.fingerprint, ANSWERS_TTL_SECONDS * 1000, ttl_seconds, SCRATCH_BYTES_MAX,
            SCRATCH_NAMES_MAX,
        ]  # fmt: skip
        with hot_errors(doing):
            words: Sequence[bytes] = await script(self._redis, keys, [*control, *own])
        return words
