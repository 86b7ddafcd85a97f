"""memoryd lease show | take | renew | release | run"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output
from memoryd.errors import BadRequest, LeaseLost

if TYPE_CHECKING:
    from memoryd.model.lease import Lease
    from memoryd.protocol.leases import Held

app = typer.Typer(help="Who works on a task: one at a time in the whole project.", no_args_is_help=True)

TOKEN = "MEMORYD_LEASE_TOKEN"  # noqa: S105 - a number, and no secret
STOP_SECONDS = 10.0  # what a command that lost its lease has to end by itself; then it is killed

Task = Annotated[str, typer.Argument(metavar="TASK", help="The task's name in the project.", show_default=False)]
Token = Annotated[int, typer.Option("--token", min=1, help="The token that the lease was taken with.", show_default=False)]
Seconds = Annotated[float, typer.Option("--seconds", min=1, max=3600, help="How long it lasts, unless it is renewed.")]


@app.command("show")
@options.scoped
def show(target: options.Target, task: Task, json: options.Json = False) -> None:
    """Show who works on a task, and for how long at most unless they renew it."""

    async def work() -> None:
        async with target.connect() as memory:
            lease = await memory.leases.get(task)
        if lease is None and not json:
            typer.echo("nobody has it", err=True)
        elif lease is None:
            output.print_json(None)
        else:
            output.print_one(lease, json=json)

    output.run(work())


@app.command("take")
@options.scoped
def take(target: options.Target, task: Task, seconds: Seconds = 30, json: options.Json = False) -> None:
    """Take the lease of a task, if nobody has it."""

    async def work() -> None:
        async with target.connect() as memory:
            output.print_one(await memory.leases.take(task, ttl_seconds=seconds), json=json)

    output.run(work())


@app.command("renew")
@options.scoped
def renew(target: options.Target, task: Task, token: Token, seconds: Seconds = 30, json: options.Json = False) -> None:
    """Give a lease its whole life again, while it is still one's own."""

    async def work() -> None:
        async with target.connect() as memory:
            output.print_one(await memory.leases.renew(_taken(task, token), ttl_seconds=seconds), json=json)

    output.run(work())


@app.command("release")
@options.scoped
def release(target: options.Target, task: Task, token: Token, json: options.Json = False) -> None:
    """Give a lease back. One that has ended stays as it is, whoever has it by now."""

    async def work() -> None:
        async with target.connect() as memory:
            released = await memory.leases.release(_taken(task, token))
        if json:
            output.print_json({"released": released})
        else:
            output.print_fields({"released": released})

    output.run(work())


@app.command("run")
@options.scoped
def run(
    target: options.Target,
    task: Task,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="What to run, with its arguments.", show_default=False)
    ],
    seconds: Seconds = 30,
    wait: Annotated[float, typer.Option("--wait", min=0, help="How many seconds to wait for one's turn.")] = 0,
) -> None:
    """Run a command while holding the lease of a task. It is renewed, and given back at the end.

    The command finds its token in MEMORYD_LEASE_TOKEN. It is told to end when the lease is lost. Ends with its exit code.
    """

    async def work() -> int:
        async with target.connect() as memory, memory.leases.hold(task, ttl_seconds=seconds, wait_seconds=wait) as held:
            return await _while_held(held, command)

    raise typer.Exit(output.run(work()))


async def _while_held(held: Held, command: Sequence[str]) -> int:
    """The command's exit code. Raises LeaseLost when the lease was lost before it ended."""
    import asyncio

    try:
        child = await asyncio.create_subprocess_exec(*command, env={**os.environ, TOKEN: str(held.token)})
    except OSError as error:
        raise BadRequest(f"{command[0]}: cannot be run ({error.strerror})", field="command") from None
    ended, lost = asyncio.create_task(child.wait()), asyncio.create_task(held.lost.wait())
    try:
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            code = ended.result()
            return code if code >= 0 else 128 - code  # ended by a signal, as a shell says it
        raise LeaseLost(f"{held.lease.task}: the lease {held.token} was lost before the command had ended")
    finally:
        lost.cancel()
        if not ended.done():
            child.terminate()
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
        if not ended.done():
            child.kill()
            await ended


def _taken(task: str, token: int) -> Lease:
    """The lease of which a caller knows these two: all that proves it."""
    from memoryd.clock import EPOCH
    from memoryd.model.lease import Lease

    return Lease(task=task, token=token, agent="", session="", since=EPOCH, seconds_left=0)
