"""memoryd recall"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output
from memoryd.model.results import Hit


@options.scoped
def recall(
    target: options.Target,
    query: Annotated[str, typer.Argument(help="A question, or some words.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many memories.")] = 10,
    type: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag; may be repeated.")] = None,
    profile: Annotated[str, typer.Option("--profile", help="By which weights; by the types without it.")] = "",
    rerank: Annotated[bool, typer.Option("--rerank", help="Have the daemon's cross-encoder read the best, too.")] = False,
    json: options.Json = False,
) -> None:
    """Find the memories that fit a question, by meaning and by words, with what made their score."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.recall(query, limit=limit, types=type or [], tags=tag or [], profile=profile, rerank=rerank)
        if json:
            output.print_json(found)
            return
        rows = [
            [hit.score, _why(hit), hit.memory.content, hit.memory.session_id, hit.memory.valid_from, hit.memory.id]
            for hit in found
        ]
        output.print_table("", ["score", "why", "content", "session", "valid from", "id"], rows)
        typer.echo(f"recall: {found.recall_id}", err=True)
        if found.degraded:
            typer.echo(f"note: {found.degraded}", err=True)

    output.run(work())


def _why(hit: Hit) -> dict[str, float]:
    """What made the score, short enough for a table; `memoryd explain` and --json tell all."""
    shown = {name: round(part.contribution, 2) for name, part in hit.why.items()}
    return {name: contribution for name, contribution in shown.items() if contribution}
