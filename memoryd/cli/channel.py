"""memoryd channel publish | read | follow"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.errors import BadRequest

if TYPE_CHECKING:
    from memoryd.model.channel import ChannelMessage

app = typer.Typer(help="What the agents of a project say to each other.", no_args_is_help=True)

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name in the project.", show_default=False)]


@app.command("publish")
@options.scoped
def publish(
    target: options.Target,
    channel: Channel,
    data: Annotated[str, typer.Argument(metavar="JSON", help="What to say, as JSON; - reads it from stdin.", show_default=False)],
    json: options.Json = False,
) -> None:
    """Say something to all who listen, and to who reads later."""

    async def work() -> None:
        said = _json(sys.stdin.read() if data == "-" else data)
        async with target.connect() as memory:
            done = await memory.channels.publish(channel, said)
        output.print_one(done, json=json)

    output.run(work())


@app.command("read")
@options.scoped
def read(
    target: options.Target,
    channel: Channel,
    after: Annotated[str, typer.Option("--after", help="Only what was said behind this position.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many messages.")] = 100,
    json: options.Json = False,
) -> None:
    """Show what was said in a channel, from its beginning on: it keeps its newest messages."""

    async def work() -> None:
        async with target.connect() as memory:
            page = await memory.channels.read(channel, after=after, limit=limit)
        if json:
            output.print_json(page)
            return
        output.print_table("", ["number", "at", "agent", "said", "position"], [_row(one) for one in page.messages])
        if page.more:
            typer.echo(f"there are more: --after {page.next}", err=True)

    output.run(work())


@app.command("follow")
@options.scoped
def follow(
    target: options.Target,
    channel: Channel,
    after: Annotated[
        str | None, typer.Option("--after", help="Begin behind this position; from now on without it.", show_default=False)
    ] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Leave after so many.", show_default=False)] = None,
) -> None:
    """Print what is said in a channel, each message a line of JSON, until Ctrl-C."""

    async def work() -> None:
        left = count
        async with target.connect() as memory:
            async for message in memory.channels.subscribe(channel, after=after):
                output.print_json(message)
                sys.stdout.flush()
                left = None if left is None else left - 1
                if left == 0:
                    return

    output.run(work())


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.MsgspecError:
        raise BadRequest("JSON: is not valid JSON", hint="text is JSON in quotes: '\"the shop is up\"'") from None


def _row(message: ChannelMessage) -> list[Any]:
    said = message.data if isinstance(message.data, str) else msgspec.json.encode(message.data).decode()
    return [message.number, message.at, message.agent, said, message.position]
