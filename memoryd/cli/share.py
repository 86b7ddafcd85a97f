"""memoryd share, memoryd unshare"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output

if TYPE_CHECKING:
    from memoryd.model.results import Stored


@options.scoped
def share(
    target: options.Target,
    id: options.MemoryId,
    with_agent: Annotated[str, typer.Option("--with", help="The agent of the project that is to see it.", show_default=False)],
    durability: options.Durability = "hot",
    json: options.Json = False,
) -> None:
    """Let another agent of the project see a memory. It stays one memory, and its owner's."""

    async def work() -> None:
        async with target.connect() as memory:
            _print(await memory.share(id, with_agent, durability=durability), json)

    output.run(work())


@options.scoped
def unshare(
    target: options.Target,
    id: options.MemoryId,
    with_agent: Annotated[
        str | None, typer.Option("--with", help="The agent that is to see it no more; all without it.", show_default=False)
    ] = None,
    durability: options.Durability = "hot",
    json: options.Json = False,
) -> None:
    """Let an agent, or all with whom it is shared, see a memory no more."""

    async def work() -> None:
        async with target.connect() as memory:
            _print(await memory.unshare(id, with_agent, durability=durability), json)

    output.run(work())


def _print(done: Stored, json: bool) -> None:
    if json:
        output.print_json(done)
    else:
        output.print_fields({"id": done.id, "version": done.version, "outcome": done.outcome})
