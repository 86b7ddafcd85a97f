"""memoryd agent list | peers | show | set | introspect | know | snapshot | history | verify | restore"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.cli.store import json_object

if TYPE_CHECKING:
    from memoryd.model.introspection import Introspection

app = typer.Typer(help="What agents say of themselves, what they know, and how well they do.", no_args_is_help=True)


@app.command("list")
@options.scoped
def list_(target: options.Target, json: options.Json = False) -> None:
    """List the agents of the scope, those that changed last first."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.agent.list()
        if json:
            output.print_json(found)
            return
        rows = [[one.agent, one.status, one.alive, one.heartbeat_at, one.task] for one in found.agents]
        output.print_table("", ["agent", "status", "alive", "last heard of", "task"], rows)
        if found.degraded:
            typer.echo(found.degraded, err=True)

    output.run(work())


@app.command("peers")
@options.scoped
def peers(target: options.Target, json: options.Json = False) -> None:
    """Show what all agents of the project are at, as each of them sees it, also with --agent."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.agent.peers()
        if json:
            output.print_json(found)
            return
        rows = [[one.agent, one.status, one.alive, one.heartbeat_at, one.task, one.tools] for one in found.peers]
        output.print_table("", ["agent", "status", "alive", "last heard of", "task", "tools"], rows)
        if found.degraded:
            typer.echo(found.degraded, err=True)

    output.run(work())


@app.command("show")
@options.scoped
def show(target: options.Target, json: options.Json = False) -> None:
    """Show what an agent says of itself."""

    async def work() -> None:
        async with target.connect() as memory:
            output.print_one(await memory.agent.get(), json=json)

    output.run(work())


@app.command("set")
@options.scoped
def set_(
    target: options.Target,
    task: Annotated[str | None, typer.Option("--task", help="What it is at.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option("--status", help="idle, working or error.", show_default=False)] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", help="One of its tools; may be repeated.", show_default=False)
    ] = None,
    self_model: Annotated[str | None, typer.Option("--self-model", help="A JSON object.", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Say something of an agent. What is left out stays as it is."""

    async def work() -> None:
        given: dict[str, Any] = {"task": task, "status": status, "tools": tool or None}
        given["self_model"] = None if self_model is None else json_object(self_model, "--self-model")
        async with target.connect() as memory:
            state = await memory.agent.set(**{name: value for name, value in given.items() if value is not None})
        output.print_one(state, json=json)

    output.run(work())


@app.command("introspect")
@options.scoped
def introspect(
    target: options.Target,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Days of its log to report on.")] = 30,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="How long the lists are.")] = 10,
    json: options.Json = False,
) -> None:
    """Report what an agent knows, about what, how surely, since when, and how well it is doing."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.introspect(days=days, limit=limit)
        if json:
            output.print_json(found)
            return
        output.print_fields(_known(found))
        output.print_table("", ["tool", "calls", "success", "p50 ms", "p95 ms", "errors"], _done(found))
        if found.gaps:
            rows = [[one.query, one.times, one.last_at] for one in found.gaps]
            output.print_table("", ["nothing was found for", "times", "last"], rows)
        if found.degraded:
            typer.echo(found.degraded, err=True)

    output.run(work())


def _known(found: Introspection) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in ("memories", "by_type", "by_tier", "by_age", "since", "latest")}
    fields |= {f"facts: {name}": value for name, value in msgspec.structs.asdict(found.surety).items()}
    for name in ("topics", "entities"):
        fields[name] = [f"{one.name} ({one.memories})" for one in getattr(found, name)]
    return fields


def _done(found: Introspection) -> list[list[Any]]:
    rows = []
    for one in (*found.doing.tools, found.doing.all):
        times = [one.latency.p50_us / 1000, one.latency.p95_us / 1000] if one.latency else [None, None]
        rows.append([one.tool or "all", one.calls, one.success_rate, *times, one.error_kinds])
    return rows


@app.command("know")
@options.scoped
def know(
    target: options.Target,
    about: Annotated[str, typer.Argument(help="A name, some words or a question.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="How many memories.")] = 10,
    json: options.Json = False,
) -> None:
    """Show what is known of something, and on what grounds."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.what_do_i_know(about, limit=limit)
        if json:
            output.print_json(found)
            return
        rows: list[list[Any]] = [
            [f"{one.subject} {one.predicate} {one.object}", one.confidence, "fact", one.valid_from, one.valid_until]
            for one in found.facts
        ]
        rows += [
            [one.content, one.confidence, f"fits {one.fit:.2f}", one.valid_from, one.valid_until] for one in found.evidence
        ]
        output.print_table("", ["what", "confidence", "how", "since", "until"], rows)
        if found.degraded:
            typer.echo(found.degraded, err=True)

    output.run(work())


@app.command("snapshot")
@options.scoped
def snapshot(
    target: options.Target,
    label: Annotated[str, typer.Argument(help="What it is to be called.")] = "",
    json: options.Json = False,
) -> None:
    """Keep an agent's state as it is, as the next link of its chain."""

    async def work() -> None:
        async with target.connect() as memory:
            output.print_one(await memory.agent.snapshot(label), json=json)

    output.run(work())


@app.command("history")
@options.scoped
def history(
    target: options.Target,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Only those below this number.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")] = 20,
    json: options.Json = False,
) -> None:
    """List an agent's snapshots, newest first."""

    async def work() -> None:
        async with target.connect() as memory:
            page = await memory.agent.history(before=before, limit=limit)
        if json:
            output.print_json(page)
            return
        rows = [[one.number, one.at, "(forgotten)" if one.forgotten else one.label, one.hash] for one in page.snapshots]
        output.print_table("", ["number", "at", "label", "hash"], rows)
        if page.more:
            typer.echo(f"there are more: --before {page.snapshots[-1].number}", err=True)

    output.run(work())


@app.command("verify")
@options.scoped
def verify(target: options.Target, json: options.Json = False) -> None:
    """Follow the chain of an agent's snapshots in both stores; says where it is broken."""

    async def work() -> None:
        async with target.connect() as memory:
            output.print_one(await memory.agent.verify(), json=json)

    output.run(work())


@app.command("restore")
@options.scoped
def restore(
    target: options.Target,
    number: Annotated[int, typer.Argument(min=1, help="The snapshot's number.", show_default=False)],
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Also from a chain that is broken.")] = False,
    json: options.Json = False,
) -> None:
    """Make an agent's state what it was at a snapshot. What it is now becomes one first, so it can be undone."""

    async def work() -> None:
        async with target.connect() as memory:
            done = await memory.agent.restore(number, verify=not no_verify)
        if json:
            output.print_json(done)
        else:
            output.print_fields({**msgspec.structs.asdict(done.state), "undo": done.undo})

    output.run(work())
