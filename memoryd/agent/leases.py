"""Leases of tasks: at most one holder at a time, as far as time can be trusted; beyond that the token decides."""

from __future__ import annotations

from memoryd.errors import LeaseHeld, LeaseLost
from memoryd.hot.changes import Request
from memoryd.hot.leases import TaskLeases
from memoryd.model.lease import Lease, LeaseState, Released
from memoryd.model.scope import Scope, check_name
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure


class Leases:
    """The verbs of leases. A lease is the project's: whichever of its agents holds it."""

    def __init__(self, leases: TaskLeases) -> None:
        self._leases = leases

    async def take(self, scope: Scope, task: str, *, ttl_seconds: float, request: Request) -> Lease:
        """Takes the lease of a task. Raises LeaseHeld."""
        check_name("task", task)
        mine, lease = await self._leases.take(scope, task, ttl_seconds=ttl_seconds, request=request)
        measure(telemetry.LEASES, 1, {telemetry.OUTCOME: "taken" if mine else "held"})
        if not mine:
            raise LeaseHeld(
                f"{task}: another one has the lease", task=task, agent=lease.agent, session=lease.session,
                token=lease.token, retry_after_seconds=lease.seconds_left,
            )  # fmt: skip
        return lease

    async def renew(self, scope: Scope, task: str, token: int, *, ttl_seconds: float) -> Lease:
        """Gives a lease its whole life again. Raises LeaseLost."""
        check_name("task", task)
        lease = await self._leases.renew(scope, task, token, ttl_seconds=ttl_seconds)
        if lease is None:
            measure(telemetry.LEASES, 1, {telemetry.OUTCOME: "lost"})
            raise LeaseLost(f"{task}: the lease {token} has ended", task=task, token=token)
        return lease

    async def release(self, scope: Scope, task: str, token: int) -> Released:
        """Gives a lease back; one that has ended is nobody's to give."""
        check_name("task", task)
        return Released(released=await self._leases.release(scope, task, token))

    async def get(self, scope: Scope, task: str) -> LeaseState:
        """Who has the lease of a task."""
        check_name("task", task)
        return LeaseState(lease=await self._leases.get(scope, task))
