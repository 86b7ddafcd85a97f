"""memoryd day"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output

if TYPE_CHECKING:
    from memoryd.model.day import DaySummary


@options.scoped
def day(
    target: options.Target,
    date: Annotated[str, typer.Argument(help="Which day, for instance 2026-11-26 (UTC).", show_default=False)],
    make: Annotated[bool, typer.Option("--make", help="Make its summary now, if it has none.")] = False,
    json: options.Json = False,
) -> None:
    """Tell in few words what happened on a day of an agent, and what that was made of.

    `memoryd expand` shows what the summary stands for, as it was. Exit code 3: the day has no summary.
    """

    async def work() -> DaySummary:
        async with target.connect() as memory:
            return await memory.day(date, make=make)

    found = output.run(work())
    if json:
        output.print_json(found)
        return
    typer.echo(found.text)
    output.print_fields(
        {
            "date": found.date, "agent": found.agent, "summary": found.summary, "memories": found.memories,
            "characters": found.chars, "left out": found.left_out, "made by": found.made_by, "made at": found.made_at,
            "made of": len(found.sources),
        }
    )  # fmt: skip
