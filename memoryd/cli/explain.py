"""memoryd explain"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from memoryd.cli import options, output


@options.scoped
def explain(
    target: options.Target,
    among: options.Among,
    query: Annotated[str, typer.Argument(help="A question, or some words.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=190, help="How many memories come.")] = 5,
    almost: Annotated[int, typer.Option("--almost", min=0, max=10, help="How many that almost came.")] = 3,
    profile: Annotated[str, typer.Option("--profile", help="By which weights; by the types without it.")] = "",
    json: options.Json = False,
) -> None:
    """Show why memories come, and what almost came: each signal's value, weight and share of the score."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.recall(query, limit=limit + almost, profile=profile, **among.given())
        if json:
            hits = {"hits": found.hits[:limit], "almost": found.hits[limit:]}
            output.print_json(
                {**hits, "searched": found.searched, "profile": found.profile, "degraded": found.degraded, "missing": found.missing}
            )
            return
        for title, hits_shown in (("came", found.hits[:limit]), ("almost came", found.hits[limit:])):
            if hits_shown:
                rows = [row for hit in hits_shown for row in _rows(hit)]
                output.print_table(title, ["score", "memory", "signal", "value", "weight", "share"], rows)
        typer.echo(f"profile: {found.profile}; searched: {', '.join(found.searched) or 'nothing'}")
        if found.degraded:
            typer.echo(f"note: {found.degraded}", err=True)

    output.run(work())


def _told(hit: Any) -> str:
    """The memory, where it lives, and which searches brought it."""
    return f"{hit.memory.content}\n{hit.memory.id}\n{hit.memory.tier}, by {', '.join(hit.found_by) or 'its neighbours'}"


def _rows(hit: Any) -> list[list[Any]]:
    """A line a signal, what says most first; the memory stands beside the first."""
    parts = sorted(hit.why.items(), key=lambda one: -abs(one[1].contribution))
    told = [[name, part.value, part.weight, part.contribution] for name, part in parts]
    heads = [[hit.score, _told(hit)], *(["", ""] for _ in told)]
    return [[*head, *line] for head, line in zip(heads, told, strict=False)]
