"""What runs by the clock: once for all of a fleet and for all that was missed, with a report, and nothing dies of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

import memoryd.jobs.asking
import memoryd.jobs.runner
from memoryd import keys as names
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import Settings
from memoryd.errors import ArchiveUnavailable, NoAnswer, NotFound
from memoryd.jobs.asking import Jobs
from memoryd.jobs.reports import JobRuns
from memoryd.jobs.runner import Job, Runner
from memoryd.jobs.state import JobStates, Standing
from memoryd.model.job import TIMES, At, JobRun
from memoryd_schemas.mongo_apply import apply_mongo
from tests.fakes import FakeClock
from tests.integration.commands import Said, invoke
from tests.integration.test_compression import remember
from tests.waiting import PATIENCE_SECONDS, eventually, settles
from tests.world import World

NIGHT = datetime(2026, 3, 1, 3, tzinfo=UTC)
NOON = NIGHT + timedelta(hours=9)
DAY = timedelta(days=1)


@dataclass
class Fleet:
    """Processes with one job, `tidy`, at three in the night; the test moves the time, and says how the job ends."""

    archive: Archive
    states: JobStates
    clock: FakeClock
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    runs: list[str] = field(default_factory=list)
    error: Exception | None = None
    hangs: bool = False

    def process(self, name: str = "one") -> Runner:
        """A new one."""
        return Runner(self.states, self.archive, self.clock, name=name, spread=lambda: 0.0)

    @property
    def job(self) -> Job:
        """What they do."""
        return Job("tidy", At(3, 0), self._work)

    @property
    def jobs(self) -> Jobs:
        """What a person sees of it."""
        return Jobs(self.states, JobRuns(self.archive), self.clock)

    async def step(self, *processes: Runner) -> None:
        """Each looks once."""
        await asyncio.gather(*(one.step(self.job, self.stop) for one in processes or [self.process()]))

    async def reports(self) -> list[JobRun]:
        """All of them, newest first."""
        return list(await JobRuns(self.archive).latest("tidy"))

    async def _work(self, given: str) -> dict[str, int]:
        self.runs.append(given)
        await asyncio.sleep(0.05)  # so that the others look meanwhile
        if self.error:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        return {"moved": 2}


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes no time."""
    monkeypatch.setattr(memoryd.jobs.runner, "JOB_LOOK_SECONDS", 0.02)


@pytest.fixture
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    """One that has known its job since noon."""
    async with World(settings) as world:
        await apply_mongo(world.archive.database)
        fleet = Fleet(world.archive, JobStates(world.redis), FakeClock(NOON))
        await fleet.step()
        assert fleet.runs == []
        yield fleet


async def test_a_job_runs_at_its_time_in_one_process_of_the_fleet(fleet: Fleet) -> None:
    """And leaves a report of when, by whom and how."""
    fleet.clock.moment = NIGHT + DAY - timedelta(seconds=1)
    fleet_of_three = [fleet.process(name) for name in ("one", "two", "three")]
    await fleet.step(*fleet_of_three)
    assert fleet.runs == []
    fleet.clock.moment = NIGHT + DAY
    await fleet.step(*fleet_of_three)
    await fleet.step(*fleet_of_three)
    assert fleet.runs == [""]
    [report] = await fleet.reports()
    assert (report.job, report.why, report.outcome, report.done) == ("tidy", "due", "ok", {"moved": 2})
    assert report.by in ("one", "two", "three")
    assert NIGHT + DAY <= report.started_at <= report.finished_at < NIGHT + DAY + timedelta(seconds=1)
    assert report.bytes_before.keys() == report.bytes_after.keys() == {"redis", "mongodb", "archive"}
    [status] = await fleet.jobs.all()
    assert (status.job, status.when, status.last_outcome, status.running) == ("tidy", "daily 03:00", "ok", "")
    assert status.due_at == NIGHT + 2 * DAY


async def test_who_looked_before_another_one_was_done_does_not_do_it_again(fleet: Fleet) -> None:
    """The turn is free by the time that it is asked for."""

    class Late(JobStates):
        looks = 0

        async def of(self, job: str) -> Standing:
            self.looks += 1
            return before if self.looks == 1 else await super().of(job)

    fleet.clock.moment = NIGHT + DAY
    before = await fleet.states.of("tidy")
    await fleet.step()
    await fleet.step(Runner(Late(fleet.states.redis), fleet.archive, fleet.clock, name="late", spread=lambda: 0.0))
    assert len(fleet.runs) == 1


async def test_after_a_downtime_it_runs_once_and_begins_a_little_late(fleet: Fleet) -> None:
    """Not once for each night that was missed; and many fleets do not begin in the same second."""
    fleet.clock.moment = NIGHT + 10 * DAY + timedelta(seconds=20)
    await fleet.step()
    await fleet.step()
    assert len(fleet.runs) == 1
    late = Runner(fleet.states, fleet.archive, fleet.clock, name="late", spread=lambda: 0.5)
    fleet.clock.moment = NIGHT + 11 * DAY + timedelta(seconds=29)
    await fleet.step(late)
    assert len(fleet.runs) == 1
    fleet.clock.moment = NIGHT + 11 * DAY + timedelta(seconds=31)
    await fleet.step(late)
    assert len(fleet.runs) == 2


async def test_what_a_job_raises_is_reported_and_ends_nothing(fleet: Fleet) -> None:
    """Its next time comes; where a server was away, sooner."""
    fleet.clock.moment = NIGHT + DAY
    process = fleet.process()
    fleet.error = ArchiveUnavailable("it is away")
    await fleet.step(process)
    await fleet.step(process)
    assert len(fleet.runs) == 1, "it is not tried again at once"
    fleet.clock.moment += timedelta(seconds=1)
    fleet.error = ValueError("a memory's text")
    await fleet.step(fleet.process("two"))  # which has not waited
    await fleet.step(fleet.process("three"))
    assert len(fleet.runs) == 2
    reports = await fleet.reports()
    assert [one.outcome for one in reports] == ["ValueError", "archive_unavailable"]
    assert "text" not in repr(reports)


async def test_a_pause_survives_a_restart_and_what_was_missed_is_done_once(fleet: Fleet) -> None:
    """A person has it run all the same."""
    assert (await fleet.jobs.pause("tidy")).paused
    fleet.clock.moment = NIGHT + 3 * DAY
    await fleet.step(fleet.process("restarted"))
    assert fleet.runs == []
    asked = asyncio.create_task(fleet.jobs.run("tidy", "something"))
    while not asked.done():
        await fleet.step()
    assert ((await asked).why, fleet.runs) == ("asked", ["something"])
    fleet.clock.moment = NIGHT + 5 * DAY
    await fleet.step()
    status = await fleet.jobs.resume("tidy")
    assert (status.paused, len(fleet.runs)) == (False, 1)
    await fleet.step()
    await fleet.step()
    assert fleet.runs == ["something", ""]


async def test_a_job_that_is_cut_off_is_begun_again_by_another(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stop, or because its process has lost its turn."""
    monkeypatch.setattr(memoryd.jobs.runner, "JOB_LEASE_SECONDS", 0.04)
    fleet.clock.moment, fleet.hangs = NIGHT + DAY, True
    stopped = asyncio.create_task(fleet.step())
    await eventually(lambda: fleet.runs, what="it is at it")
    assert (await fleet.jobs.all())[0].running == "one"
    fleet.stop.set()
    await asyncio.wait_for(stopped, PATIENCE_SECONDS)
    fleet.stop.clear()
    fleet.clock.moment += timedelta(seconds=1)
    lost = asyncio.create_task(fleet.step(fleet.process("two")))
    await eventually(lambda: len(fleet.runs) == 2, what="another one is at it")
    await fleet.states.redis.delete(names.job_lease("tidy"))
    await asyncio.wait_for(lost, PATIENCE_SECONDS)
    fleet.clock.moment += timedelta(seconds=1)
    fleet.hangs = False
    await fleet.step(fleet.process("three"))
    assert [(one.by, one.outcome) for one in await fleet.reports()] == [("three", "ok"), ("two", "stopped"), ("one", "stopped")]


async def test_who_asks_for_a_job_that_nobody_does_hears_it_soon(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is not done later."""
    monkeypatch.setattr(memoryd.jobs.asking, "JOB_ASK_SECONDS", 0.1)
    with pytest.raises(NotFound, match="there are tidy"):
        await fleet.jobs.run("sweep")
    with pytest.raises(NoAnswer):
        await fleet.jobs.run("tidy")
    await fleet.step()
    assert fleet.runs == []


async def test_the_daemon_and_sync_have_jobs_and_the_command_a_hand_for_them(world: World) -> None:
    """Those of the daemon and that of sync alike."""

    async def command(*words: str) -> Said:
        return await invoke(world.settings, "jobs", *words)

    async def told(**times: str) -> None:
        listed = {one["job"]: one["when"] for one in (await command("list", "--json")).json}
        assert listed == {"tiers": "every 600 s", **dict.fromkeys(TIMES, "off"), **times}

    await settles(told)  # whenever this runs
    nothing = {"verify": ("memories", "differences", "unsound"), "tiers": ("used", "rested", "moved", "lightened", "brought")}
    for job, done in nothing.items():
        run = (await command("run", job, "--json")).json
        assert (run["job"], run["outcome"], run["done"]) == (job, "ok", dict.fromkeys(done, 0))
    assert "paused" in (await command("pause", "tiers")).out
    assert "paused" in (await command("list")).out
    assert not (await command("resume", "tiers", "--json")).json["paused"]
    assert (await command("run", "tidy")).code == 3
    assert [one["job"] for one in (await command("runs", "--json")).json] == ["tiers", "verify"]

    for part in ("daemon", "sync"):
        await world.stop(part)
    world.settings = world.settings.model_copy(update={"jobs": {}})
    await world.start("daemon", "sync")
    await settles(lambda: told(verify="sun 04:00", duplicates="sun 05:00"))
    assert "sun 04:00" in (await command("list")).out


async def test_a_session_that_has_gone_quiet_is_compressed_once(settings: Settings) -> None:
    """What was refused is not tried again before something was added; what holds something pinned stays as it is."""
    async with World(settings.model_copy(update={"summaries_after_seconds": 0.001})) as world, world.connect() as memory:
        await world.start("daemon", "sync")
        talk = await remember(memory, "s1")
        await memory.store("Alone in its session.", type="episodic", session="s2")
        await remember(memory, "s3", tags=["pinned"])
        await world.drained(memory)
        jobs = Jobs(JobStates(world.redis), JobRuns(world.archive), SystemClock())
        assert (await jobs.run("summaries")).done == {"sessions": 2, "compressed": len(talk), "refused": 1}
        assert {(await memory.get(one)).tier for one in talk} == {"archive"}
        assert (await jobs.run("summaries")).done == {"sessions": 0, "compressed": 0, "refused": 0}
        await remember(memory, "s2")
        await world.drained(memory)
        assert (await jobs.run("summaries")).done["sessions"] == 1
