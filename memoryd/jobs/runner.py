"""Does jobs when they are due: one process of the fleet at a time each, once for all that was missed, with a report of every run.

A job may be cut off anywhere, and is begun again then: its process was told to stop, lost its turn, or died. When it has run last
is noted at its end, so that none is missed. What it raises is reported, and ends nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from memoryd.archive.client import ArchiveRefused
from memoryd.archive.store import Archive
from memoryd.clock import Clock
from memoryd.errors import ArchiveUnavailable, HotUnavailable, Overloaded
from memoryd.hot.lease import Lease
from memoryd.jobs.reports import JobRuns, bytes_of
from memoryd.jobs.state import JobStates, Standing
from memoryd.limits import JOB_LEASE_SECONDS, JOB_LOOK_SECONDS, JOB_RETRY_SECONDS, JOB_SPREAD_SECONDS_MAX
from memoryd.model.job import OFF, JobRun, When
from memoryd.retry import end, persistently, wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure
from memoryd_telemetry.tracing import error_type, linked_span

log = get_logger("memoryd.jobs")

STOPPED = "stopped"
AWAY = (HotUnavailable, ArchiveUnavailable, Overloaded)  # what they say passes: the job is done again soon

Work = Callable[[str], Awaitable[Mapping[str, int]]]
"""Does a job, however often it is called, and counts what it has done. It is given what was said when somebody asked for it."""


@dataclass(frozen=True)
class Job:
    """Something that is done by the clock; without a time, only when somebody asks for it."""

    name: str
    when: When | None
    run: Work


class Runner:
    """Does the jobs of one process, which is called `name`; `spread` gives a number from 0 to 1."""

    def __init__(
        self, states: JobStates, archive: Archive, clock: Clock, *, name: str, spread: Callable[[], float] = random.random
    ) -> None:
        self._states = states
        self._archive = archive
        self._reports = JobRuns(archive)
        self._clock = clock
        self._name = name
        self._spread = spread
        self._late: dict[str, tuple[datetime, float]] = {}
        self._not_before: dict[str, float] = {}

    def start(self, tasks: asyncio.TaskGroup, jobs: Sequence[Job], stop: asyncio.Event) -> None:
        """Begins to look after these jobs, each by itself: a long one keeps no other waiting."""
        for job in jobs:

            async def look(job: Job = job) -> None:
                await self.step(job, stop)

            tasks.create_task(persistently(look, stop, doing=f"look after {job.name}"), name=f"job {job.name}")

    async def step(self, job: Job, stop: asyncio.Event) -> None:
        """Waits for a moment until a job is due or asked for; then does it, unless another process does. Raises HotUnavailable."""
        standing = await self._states.of(job.name)
        when = str(job.when or OFF)
        if standing.when != when or standing.last is None:
            await self._states.known(job.name, when, self._clock.now())
            standing = await self._states.of(job.name)
        wait = self._wait(job, standing)
        if wait > 0:
            await wait_for_stop(stop, min(wait, JOB_LOOK_SECONDS))
            return
        turn = self._states.turn(job.name, self._name)
        if not await turn.hold():
            await wait_for_stop(stop, JOB_LOOK_SECONDS)
            return
        try:
            standing = await self._states.of(job.name)  # another one may have done it by now
            if self._wait(job, standing) <= 0:
                await self._do(job, standing, turn, stop)
        finally:
            with contextlib.suppress(HotUnavailable):  # it lapses by itself
                await turn.give_back()

    def _wait(self, job: Job, standing: Standing) -> float:
        """Seconds until a job is to be done; 0 or less: now."""
        if standing.asked:
            return 0.0
        if standing.paused or standing.last is None or job.when is None:
            return JOB_LOOK_SECONDS
        due = job.when.after(standing.last)
        known, late = self._late.get(job.name, (standing.last, -1.0))
        if late < 0 or known != standing.last:
            late = self._spread() * min(JOB_SPREAD_SECONDS_MAX, (due - standing.last).total_seconds() / 10)
            self._late[job.name] = (standing.last, late)
        wait = (due - self._clock.now()).total_seconds() + late
        return max(wait, self._not_before.get(job.name, 0.0) - asyncio.get_running_loop().time())

    async def _do(self, job: Job, standing: Standing, turn: Lease, stop: asyncio.Event) -> None:
        asked, _, given = standing.asked.partition(" ")
        if asked:
            await self._states.begun(job.name)
        started_at, before = self._clock.now(), await bytes_of(self._states.redis, self._archive)
        began = asyncio.get_running_loop().time()
        outcome, done, again = await self._watched(job, given, turn, stop)
        seconds = asyncio.get_running_loop().time() - began
        if again:
            self._not_before[job.name] = asyncio.get_running_loop().time() + JOB_RETRY_SECONDS
        elif outcome != STOPPED:
            await self._states.ran(job.name, started_at)
        measure(telemetry.JOB_RUNS, 1, {telemetry.JOB_NAME: job.name, telemetry.OUTCOME: outcome})
        measure(telemetry.JOB_DURATION, seconds, {telemetry.JOB_NAME: job.name})
        log.info("job.ended", job=job.name, outcome=outcome, seconds=round(seconds, 3), **done)
        await self._report(
            JobRun(
                id=asked or secrets.token_hex(8), job=job.name, by=self._name, why="asked" if asked else "due",
                started_at=started_at, finished_at=self._clock.now(), outcome=outcome, done=dict(done), bytes_before=before,
                bytes_after=await bytes_of(self._states.redis, self._archive),
            )
        )  # fmt: skip

    async def _watched(self, job: Job, given: str, turn: Lease, stop: asyncio.Event) -> tuple[str, Mapping[str, int], bool]:
        """Does a job while it is our turn and nobody says stop: how it ended, what it has done, whether to try again soon."""
        work = asyncio.create_task(_traced(job, given), name=f"do {job.name}")
        stopped = asyncio.create_task(stop.wait())
        try:
            while not work.done():
                await asyncio.wait((work, stopped), timeout=JOB_LEASE_SECONDS / 4, return_when=asyncio.FIRST_COMPLETED)
                if not work.done() and (stop.is_set() or not await turn.renew()):
                    break
        finally:
            stopped.cancel()
            await end(work)
        if work.cancelled():
            return STOPPED, {}, False
        if (error := work.exception()) is None:
            return telemetry.OK, work.result(), False
        log.error("job.failed", job=job.name, code=error_type(error), exc_info=error)
        return error_type(error), {}, isinstance(error, AWAY)

    async def _report(self, run: JobRun) -> None:
        try:
            await self._reports.keep(run)
        except (ArchiveUnavailable, ArchiveRefused) as error:
            log.warning("job.not_reported", job=run.job, code=error.code)


async def _traced(job: Job, given: str) -> Mapping[str, int]:
    with linked_span(telemetry.JOB, [], {telemetry.JOB_NAME: job.name}):
        return await job.run(given)
