"""memoryd recall"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output


@options.scoped
def recall(
    target: options.Target,
    query: Annotated[str, typer.Argument(help="A question, or some words.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many memories.")] = 10,
    type: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag; may be repeated.")] = None,
    json: options.Json = False,
) -> None:
    """Find the memories that fit a question, by meaning and by words, with the reasons."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.recall(query, limit=limit, types=type or [], tags=tag or [])
        if json:
            output.print_json(found)
            return
        rows = [
            [hit.score, hit.why, hit.memory.content, hit.memory.session_id, hit.memory.valid_from, hit.memory.id]
            for hit in found
        ]
        output.print_table("", ["score", "why", "content", "session", "valid from", "id"], rows)
        if found.degraded:
            typer.echo(f"note: {found.degraded}", err=True)

    output.run(work())
