"""memoryd feedback"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output


@options.scoped
def feedback(
    target: options.Target,
    recall_id: Annotated[str, typer.Argument(help="Which recall: what `memoryd recall` printed.", show_default=False)],
    useful: Annotated[list[str] | None, typer.Option("--useful", help="A memory that was of use; may be repeated.")] = None,
    useless: Annotated[list[str] | None, typer.Option("--useless", help="One that was not; may be repeated.")] = None,
    undo: Annotated[list[str] | None, typer.Option("--undo", help="One to take that back of; may be repeated.")] = None,
    json: options.Json = False,
) -> None:
    """Say which memories of a recall were of use: they come earlier, or later, the next time."""

    async def work() -> None:
        async with target.connect() as memory:
            judged = await memory.feedback(recall_id, useful=useful or [], useless=useless or [], undo=undo or [])
        if json:
            output.print_json(judged)
        else:
            output.print_fields({"judged": judged.judged, "unchanged": judged.unchanged, "gone": judged.gone})

    output.run(work())
