"""memoryd retention: what is forgotten by policy, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from memoryd.cli import options, output
from memoryd.cli.jobs import opened as opened_jobs
from memoryd.cli.jobs import report

if TYPE_CHECKING:
    from memoryd.lifecycle.retaining import Planned, Retaining
    from memoryd.model.job import JobRun

app = typer.Typer(help="What is forgotten by policy (MEMORYD_RETENTION), and why.", no_args_is_help=True)


@app.command("plan")
def plan(
    explain: Annotated[
        bool, typer.Option("--explain", help="List each memory with its reason and the numbers behind it.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what a run would forget now, by this MEMORYD_RETENTION. Nothing is changed."""
    planned, rows = output.run(_planned())
    if json:
        listed = {"listed": rows} if explain else {}
        output.print_json({"memories": len(rows), "more": planned.cut, "digest": planned.digest, "counts": _counts(rows), **listed})
        return
    _show(planned, rows)
    if explain:
        shown = [[one["id"], one["version"], one["type"], one["where"], one["why"]] for one in rows]
        output.print_table("", ["memory", "version", "type", "where", "why"], shown)


@app.command("run")
def run(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: forget what is due by the daemons' own rules.")] = False,
    json: options.Json = False,
) -> None:
    """Have a daemon forget now what is due. Shows the plan and asks; what is then forgotten begins with exactly this plan."""
    digest = ""
    if not yes:
        planned, rows = output.run(_planned())
        if not json:
            _show(planned, rows)
        more = ", and what is due after them," if planned.cut else ""
        output.confirm(f"Forget these {len(rows)} memories{more} for good?")
        digest = planned.digest

    async def work() -> JobRun:
        async with opened_jobs() as jobs:
            return await jobs.run("retention", digest)

    report(output.run(work()), json=json)


async def _planned() -> tuple[Planned, list[dict[str, Any]]]:
    """The plan, and a row for each memory of it: those that are due, and those that were made of them."""
    from memoryd.lifecycle.retaining import DERIVED

    rows: dict[str, dict[str, Any]] = {}
    async with _opened() as retaining:
        planned = await retaining.plan()
        async for project, due, batch in retaining.batches(planned):
            for one in batch.targets:
                reason = due[one.id].reason.name.lower() if one.id in due else DERIVED
                rows.setdefault(one.id, {
                    "tenant": project.tenant, "project": project.project, "id": one.id, "version": one.version,
                    "type": str(one.type), "where": one.where, "why": one.reason, "reason": reason,
                })  # fmt: skip
    return planned, list(rows.values())


def _counts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counted = Counter((one["tenant"], one["project"], one["reason"]) for one in rows)
    return [
        {"tenant": tenant, "project": project, "reason": reason, "memories": count}
        for (tenant, project, reason), count in sorted(counted.items())
    ]


def _show(planned: Planned, rows: list[dict[str, Any]]) -> None:
    output.print_table("", ["tenant", "project", "reason", "memories"], [list(one.values()) for one in _counts(rows)])
    if planned.cut:
        typer.echo("more is due than one plan holds; a run goes on with the next", err=True)


async def _asks_nothing(*_: Any) -> NoReturn:
    raise AssertionError("a plan of ids asks no question")


@asynccontextmanager
async def _opened() -> AsyncIterator[Retaining]:
    from memoryd.clock import SystemClock
    from memoryd.config import load_settings
    from memoryd.lifecycle.planning import Planner
    from memoryd.lifecycle.retaining import Retaining
    from memoryd.stores import open_both

    settings, clock = load_settings(), SystemClock()
    async with open_both(settings) as (records, archive, _):
        planner = Planner(records, archive, _asks_nothing, (), clock)
        yield Retaining(records, archive, planner, settings.retention, settings.tiers, clock)
