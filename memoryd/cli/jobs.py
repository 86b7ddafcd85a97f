"""memoryd jobs: what runs by the clock, how it went, and a hand for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.errors import BY_CODE, MemorydError

if TYPE_CHECKING:
    from memoryd.jobs.asking import Jobs
    from memoryd.model.job import JobRun

app = typer.Typer(help="What the daemons and sync do by the clock, and how it went.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The job, as `memoryd jobs list` shows it.", show_default=False)]


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the jobs: when each runs (UTC), who is at it, how its last run ended."""
    found = output.run(_with_jobs(lambda jobs: jobs.all()))
    if json:
        output.print_json(found)
        return
    rows = [
        [one.job, one.when, "paused" if one.paused else one.running, one.last_run_at, one.last_outcome, one.due_at] for one in found
    ]
    output.print_table("", ["job", "when", "running", "last run", "ended", "due"], rows)


@app.command("runs")
def runs(
    name: Annotated[str, typer.Argument(help="Of this job only.", show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 20,
    json: options.Json = False,
) -> None:
    """List the reports of the latest runs, newest first: what each has done, and what the stores took before and after."""
    found = output.run(_with_jobs(lambda jobs: jobs.reports.latest(name, count=limit)))
    if json:
        output.print_json(found)
        return
    rows = [
        [one.started_at, one.job, one.outcome, (one.finished_at - one.started_at).total_seconds(), one.done, one.bytes_before,
         one.bytes_after, one.by]
        for one in found
    ]  # fmt: skip
    output.print_table("", ["began", "job", "ended", "seconds", "done", "bytes before", "bytes after", "by"], rows)


@app.command("run")
def run(name: Name, json: options.Json = False) -> None:
    """Have a job run now, paused or not, by a process that has it, and wait for its report. Exit code 5: none has begun it."""
    report(output.run(_with_jobs(lambda jobs: jobs.run(name))), json=json)


@app.command("pause")
def pause(name: Name, json: options.Json = False) -> None:
    """Have a job rest, over restarts too, until it is resumed."""
    output.print_one(output.run(_with_jobs(lambda jobs: jobs.pause(name))), json=json)


@app.command("resume")
def resume(name: Name, json: options.Json = False) -> None:
    """Have a job run again when it is due. What it has missed it does once, at once."""
    output.print_one(output.run(_with_jobs(lambda jobs: jobs.resume(name))), json=json)


def report(done: JobRun, *, json: bool) -> None:
    """Shows how a run has ended; a failure ends the command."""
    from memoryd_telemetry.names import OK

    if done.outcome != OK:
        error = BY_CODE.get(done.outcome, MemorydError)
        output.fail(error(f"{done.job}: ended with {done.outcome}", hint=f"the log of {done.by} has the cause"))
    output.print_one(done, json=json)


async def _with_jobs(work: Callable[[Jobs], Awaitable[Any]]) -> Any:
    async with opened() as jobs:
        return await work(jobs)


@asynccontextmanager
async def opened() -> AsyncIterator[Jobs]:
    """The jobs of the memoryd that is configured."""
    from memoryd.clock import SystemClock
    from memoryd.config import load_settings
    from memoryd.jobs.asking import Jobs
    from memoryd.jobs.reports import JobRuns
    from memoryd.jobs.state import JobStates
    from memoryd.stores import open_both

    async with open_both(load_settings()) as (records, archive, _):
        yield Jobs(JobStates(records.redis), JobRuns(archive), SystemClock())
