"""The client's leases: `memory.leases`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from memoryd.errors import LeaseHeld, LeaseLost, MemorydError
from memoryd.model.lease import Lease, LeaseState, Released
from memoryd.protocol.connection import Connection
from memoryd.retry import finish

LOOK_SECONDS = 0.25  # how often who waits for a lease asks; less often only when it surely lasts longer


class Held:
    """A lease that this process holds and renews. `check` before each step that nobody else may do meanwhile."""

    def __init__(self, lease: Lease, until: float) -> None:
        self.lease = lease
        self.lost = asyncio.Event()
        """Set when the lease is another one's, or can no longer be proven to be ours."""
        self._until = until

    @property
    def token(self) -> int:
        """What is written under this lease carries this; who guards it refuses a lower one than it has seen."""
        return self.lease.token

    def check(self) -> None:
        """Raises LeaseLost when the lease has ended, or may have: renewing it did not work in time."""
        if self.lost.is_set() or time.monotonic() >= self._until:
            self.lost.set()
            raise LeaseLost(f"{self.lease.task}: the lease {self.token} has ended", task=self.lease.task, token=self.token)

    def renewed(self, lease: Lease, until: float) -> None:
        """Notes that it lasts until then, by this process's monotonic clock."""
        self.lease, self._until = lease, until

    @property
    def seconds_left(self) -> float:
        """How long it surely lasts."""
        return max(0.0, self._until - time.monotonic())


class LeaseClient:
    """The right to work on a task: one holder in the whole project at a time. `hold` is all that an agent needs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def hold(self, task: str, *, ttl_seconds: float = 30.0, wait_seconds: float = 0.0) -> AsyncIterator[Held]:
        """Holds the lease of a task while inside, renewing it; waits for it as long as is wanted. Raises LeaseHeld.

        Who can lose time (a paused process, a network that is away) can lose the lease without noticing: ask `check`, watch
        `lost`, and give `token` to what must not be written by two.
        """
        held = await self._taken(task, ttl_seconds, wait_seconds)
        renewing = asyncio.create_task(self._renew(held, ttl_seconds), name=f"lease {task}")
        try:
            yield held
        finally:
            await finish(renewing)
            with contextlib.suppress(MemorydError):  # it ends by itself
                await self.release(held.lease)

    async def take(self, task: str, *, ttl_seconds: float = 30.0, request_id: str | None = None) -> Lease:
        """Takes a free lease. Raises LeaseHeld, which says who has it and for how long at least."""
        return await self._connection.call("lease.take", {"task": task, "ttl_seconds": ttl_seconds}, Lease, request_id)

    async def renew(self, lease: Lease, *, ttl_seconds: float = 30.0) -> Lease:
        """Gives it its whole life again. Raises LeaseLost."""
        args = {"task": lease.task, "token": lease.token, "ttl_seconds": ttl_seconds}
        return await self._connection.call("lease.renew", args, Lease)

    async def release(self, lease: Lease) -> bool:
        """Gives it back; False when it had ended."""
        args = {"task": lease.task, "token": lease.token}
        return (await self._connection.call("lease.release", args, Released)).released

    async def get(self, task: str) -> Lease | None:
        """Who has the lease of a task, if anybody."""
        return (await self._connection.call("lease.get", {"task": task}, LeaseState)).lease

    async def _taken(self, task: str, ttl_seconds: float, wait_seconds: float) -> Held:
        deadline = time.monotonic() + wait_seconds
        while True:
            began = time.monotonic()
            try:
                return Held(await self.take(task, ttl_seconds=ttl_seconds), began + ttl_seconds)
            except LeaseHeld:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
            await asyncio.sleep(min(left, LOOK_SECONDS))

    async def _renew(self, held: Held, ttl_seconds: float) -> None:
        """Renews it three times a life, as long as it is ours; every life is counted from before the request."""
        while held.seconds_left:
            await asyncio.sleep(min(ttl_seconds / 3, held.seconds_left))
            began = time.monotonic()
            try:
                async with asyncio.timeout(held.seconds_left):
                    held.renewed(await self.renew(held.lease, ttl_seconds=ttl_seconds), began + ttl_seconds)
            except LeaseLost:
                break
            except (MemorydError, TimeoutError):
                continue  # there is time for another try, or there is none left
        held.lost.set()
