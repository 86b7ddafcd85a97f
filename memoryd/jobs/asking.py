"""Looking at the jobs of a fleet from outside, and having one run now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from memoryd.clock import Clock
from memoryd.errors import NoAnswer, NotFound
from memoryd.jobs.reports import JobRuns
from memoryd.jobs.state import JobStates, Standing
from memoryd.limits import JOB_ASK_SECONDS
from memoryd.model.job import JobRun, JobStatus, due_after

LOOK_SECONDS = 0.2  # how often one who waits for a run looks


class Jobs:
    """The jobs of one memoryd, whoever does them."""

    def __init__(self, states: JobStates, reports: JobRuns, clock: Clock) -> None:
        self._states = states
        self.reports = reports
        self._clock = clock

    async def all(self) -> list[JobStatus]:
        """How each stands. Raises HotUnavailable, ArchiveUnavailable."""
        return [await self._status(job, standing) for job, standing in (await self._states.all()).items()]

    async def _status(self, job: str, standing: Standing) -> JobStatus:
        latest = await self.reports.latest(job, count=1)
        due = None if standing.paused or standing.last is None else due_after(standing.when, standing.last)
        return JobStatus(
            job=job, when=standing.when, paused=standing.paused, running=await self._states.holder(job),
            last_run_at=standing.last if standing.ran else None, last_outcome=latest[0].outcome if latest else "",
            due_at=max(due, self._clock.now()) if due else None,
        )  # fmt: skip

    async def pause(self, job: str) -> JobStatus:
        """Has it rest until it is resumed. Raises NotFound."""
        return await self._change(job, self._states.pause)

    async def resume(self, job: str) -> JobStatus:
        """Has it run again when it is due; what it has missed it does once. Raises NotFound."""
        return await self._change(job, self._states.resume)

    async def _change(self, job: str, change: Callable[[str], Awaitable[None]]) -> JobStatus:
        await self._known(job)
        await change(job)
        return await self._status(job, await self._states.of(job))

    async def run(self, job: str, given: str = "") -> JobRun:
        """Has it run now, paused or not, by a process that has it, and waits for the report. Raises NotFound, and NoAnswer."""
        await self._known(job)
        run = await self._states.ask(job, given)
        until = asyncio.get_running_loop().time() + JOB_ASK_SECONDS
        while await self._states.asked_for(job, run):
            late = asyncio.get_running_loop().time() > until and not await self._states.holder(job)
            if late and await self._states.withdraw(job, run):
                raise NoAnswer(
                    f"{job}: no process has begun it",
                    hint="start a daemon (memoryd serve), for verify a sync (memoryd sync); nothing was done",
                )
            await asyncio.sleep(LOOK_SECONDS)
        while True:
            at_it = await self._states.holder(job)  # asked first: who does it reports before it lets go
            if found := await self.reports.get(run):
                return found
            if not at_it:
                raise NoAnswer(f"{job}: it ended without a report", hint="look at the log of the daemons and of sync")
            await asyncio.sleep(LOOK_SECONDS)

    async def _known(self, job: str) -> None:
        if job not in (known := await self._states.all()):
            raise NotFound(f"{job}: no process has had such a job; there are {', '.join(known) or 'none'}", job=job)
