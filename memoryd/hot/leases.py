"""Leases of tasks in Redis: each a key that goes by itself, its token from a number that only grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from memoryd.clock import from_microseconds
from memoryd.hot import scripts
from memoryd.hot.changes import Request
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.keys import Keys, request_digest
from memoryd.model.lease import Lease
from memoryd.model.scope import Scope, from_tag, to_tag


class TaskLeases:
    """The leases of one Redis. A step answers whether the lease is the caller's, and the lease that there is."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._keys = keys

    async def take(self, scope: Scope, task: str, *, ttl_seconds: float, request: Request) -> tuple[bool, Lease]:
        """Takes a free lease; the repeat of a request that took it has it still."""
        me = request_digest(f"{scope.agent}:{scope.session}:{request.id}")
        own = [to_tag(scope.agent), to_tag(scope.session), me]
        answer = await self._step(scope, task, ["take", "", _milliseconds(ttl_seconds), *own])
        return answer[0] == b"mine", _lease(task, answer[1:])

    async def renew(self, scope: Scope, task: str, token: int, *, ttl_seconds: float) -> Lease | None:
        """Gives it its whole life again; None when it is the caller's no more."""
        answer = await self._step(scope, task, ["renew", str(token), _milliseconds(ttl_seconds)])
        return _lease(task, answer[1:]) if answer[0] == b"mine" else None

    async def release(self, scope: Scope, task: str, token: int) -> bool:
        """Gives it back, if it is the caller's."""
        return bool((await self._step(scope, task, ["release", str(token)]))[0] == b"released")

    async def get(self, scope: Scope, task: str) -> Lease | None:
        """The lease of a task."""
        key = self._keys.lease(scope, task)
        with hot_errors("look at a lease"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(key, ["token", "agent", "session", "since"])
                pipe.pttl(key)
                (token, agent, session, since), left = await pipe.execute()
        return None if token is None else _lease(task, [token, left, agent, session, since])

    async def _step(self, scope: Scope, task: str, args: Sequence[Encoded]) -> Sequence[Any]:
        with hot_errors("lease a task"):
            answer: Sequence[Any] = await scripts.task_lease(
                self._redis, [self._keys.lease(scope, task), self._keys.fences(scope)], args
            )
        return answer


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _lease(task: str, parts: Sequence[Any]) -> Lease:
    token, left, agent, session, since = parts
    return Lease(
        task=task, token=int(token), agent=from_tag(agent.decode()), session=from_tag(session.decode()),
        since=from_microseconds(int(since)), seconds_left=max(0, int(left)) / 1000,
    )  # fmt: skip
