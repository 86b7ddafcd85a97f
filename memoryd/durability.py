"""What a write has survived when its caller is told: Redis, its disk, or the archive. See docs/durability.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from redis.asyncio import Redis

from memoryd.errors import DurabilityNotReached
from memoryd.hot.client import entry_order
from memoryd.hot.journal import archived_up_to
from memoryd.keys import Keys
from memoryd.limits import ARCHIVED_TIMEOUT_SECONDS
from memoryd.model.memory import Durability
from memoryd.retry import heedful_sleep
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inner

K = TypeVar("K")
W = TypeVar("W")


class Journaled(Protocol):
    """What an atomic step did: to what, at which version, and its journal entry."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def outcome(self) -> str: ...
    @property
    def entry(self) -> str: ...


async def not_archived(redis: Redis, keys: Keys, written: Mapping[K, Journaled]) -> Collection[K]:
    """Waits until the archive's place has passed each write; those that it has not passed in time."""

    async def left(waiting: Mapping[K, Journaled]) -> Mapping[K, Journaled]:
        buckets = {keys.bucket(one.id) for one in waiting.values()}
        places = await archived_up_to(redis, keys, buckets)
        return {key: one for key, one in waiting.items() if entry_order(one.entry) > places[keys.bucket(one.id)]}

    if not written:
        return []
    with inner(telemetry.WAIT, {telemetry.WAITED_FOR: Durability.ARCHIVED}):
        return await outwaited(written, left, ARCHIVED_TIMEOUT_SECONDS)


async def outwaited(
    waiting: Mapping[K, W], left: Callable[[Mapping[K, W]], Awaitable[Mapping[K, W]]], seconds: float, *,
    pause_seconds_max: float = 0.05,
) -> Collection[K]:  # fmt: skip
    """Asks what is `left`, with a growing pause, until nothing is; the writes that are left when the time is up."""
    pause = 0.002
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while waiting and (waiting := await left(waiting)):
                await heedful_sleep(pause)
                pause = min(pause_seconds_max, pause * 1.5)
    return waiting.keys()


def not_durable(written: Journaled, wanted: Durability, reached: Durability) -> DurabilityNotReached:
    """The answer to a write that is stored, but not as durably as was asked."""
    return DurabilityNotReached(
        f"{written.id}: is stored, but {wanted} was not confirmed in time",
        id=written.id, version=written.version, outcome=written.outcome, wanted=wanted, reached=reached,
    )  # fmt: skip


async def confirm(redis: Redis, keys: Keys, written: Journaled, fsynced: bool, wanted: Durability) -> None:
    """Raises DurabilityNotReached unless the write has survived what was asked for."""
    if not fsynced:
        raise not_durable(written, wanted, Durability.HOT)
    if wanted is Durability.ARCHIVED and await not_archived(redis, keys, {0: written}):
        raise not_durable(written, wanted, Durability.FSYNC)
