"""memoryd session list | show | checkpoints | rollback"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output

app = typer.Typer(help="An agent's sessions: what it works with, and the states to roll back to.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="SESSION", help="The session's name.", show_default=False)]


@app.command("list")
@options.scoped
def list_(
    target: options.Target,
    archived: Annotated[
        bool, typer.Option("--archived", help="All that MongoDB holds, not only those in Redis.")
    ] = False,
    after: Annotated[str, typer.Option("--after", help="Go on behind the last page, which says where.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many sessions.")] = 50,
    json: options.Json = False,
) -> None:
    """List sessions, those used last first."""

    async def work() -> None:
        async with target.connect() as memory:
            page = await memory.sessions(archived=archived, after=after, limit=limit)
        if json:
            output.print_json(page)
            return
        rows = [[one.session, one.agent, one.status, one.messages, one.updated_at] for one in page.sessions]
        output.print_table("", ["session", "agent", "status", "messages", "last change"], rows)
        if page.after:
            typer.echo(f"there are more: --after {page.after}", err=True)

    output.run(work())


@app.command("show")
@options.scoped
def show(
    target: options.Target,
    name: Name,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=4000, help="How many messages.")] = 20,
    json: options.Json = False,
) -> None:
    """Show the newest messages of a session and its variables. An expired one is brought back from MongoDB."""

    async def work() -> None:
        async with target.connect() as memory:
            session = memory.working(name)
            window, state = await session.window(last), await session.get()
        if json:
            output.print_json({"window": window, "variables": state.value})
            return
        rows = [[one.number, one.at, one.name or one.role, one.content or one.tool_calls] for one in window.messages]
        output.print_table("", ["number", "at", "who", "message"], rows)
        output.print_fields({"messages": window.total, "version": window.version, **state.value})

    output.run(work())


@app.command("checkpoints")
@options.scoped
def checkpoints(target: options.Target, name: Name, json: options.Json = False) -> None:
    """List the checkpoints of a session, oldest first."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.working(name).checkpoints()
        if json:
            output.print_json(found)
            return
        rows = [[one.number, one.label, one.at, one.messages] for one in found]
        output.print_table("", ["number", "label", "at", "messages"], rows)

    output.run(work())


@app.command("rollback")
@options.scoped
def rollback(
    target: options.Target,
    name: Name,
    number: Annotated[int, typer.Argument(min=1, help="The checkpoint's number.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Make a session what it was at a checkpoint. What it is now becomes a checkpoint too, so it can be undone."""

    async def work() -> None:
        async with target.connect() as memory:
            done = await memory.working(name).rollback(number)
        output.print_one(done, json=json)

    output.run(work())
