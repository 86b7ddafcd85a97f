"""memoryd recall, memoryd count"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output

if TYPE_CHECKING:
    from memoryd.model.results import Hit


@options.scoped
def recall(
    target: options.Target,
    among: options.Among,
    query: Annotated[str, typer.Argument(help="A question, or some words.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many memories.")] = 10,
    profile: Annotated[str, typer.Option("--profile", help="By which weights; by the types without it.")] = "",
    deep: Annotated[bool, typer.Option("--deep", help="Look through the tier archive, too, by meaning.")] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="Have the daemon's cross-encoder read the best, too.")] = False,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Only with at least this score.", show_default=False)
    ] = None,
    min_likeness: Annotated[
        float, typer.Option("--min-likeness", min=0, max=1, help="Only if at least so alike in meaning.")
    ] = 0,
    diversity: Annotated[
        float, typer.Option("--diversity", min=0, max=1, help="0: best first; more: what repeats others comes later.")
    ] = 0,
    per_session: Annotated[
        int | None,
        typer.Option("--per-session", min=1, help="Session by session, so many of each.", show_default=False),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", help="A page: '' for the first, then what the one before told.", show_default=False),
    ] = None,
    deadline_ms: Annotated[
        int | None, typer.Option("--deadline-ms", min=1, help="Answer by then, if only in part.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Find the memories that fit a question, by meaning and by words, with what made their score."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.recall(
                query, limit=limit, profile=profile, min_score=min_score, min_likeness=min_likeness, diversity=diversity,
                per_session=per_session, cursor=cursor, deadline_ms=deadline_ms, rerank=rerank, deep=deep,
                **among.given(),
            )  # fmt: skip
        if json:
            output.print_json(found)
            return
        rows = [
            [hit.score, _why(hit), hit.memory.content, hit.memory.session_id, hit.memory.valid_from, hit.memory.id]
            for hit in found
        ]
        output.print_table("", ["score", "why", "content", "session", "valid from", "id"], rows)
        for one in (hit.memory for hit in found if hit.shared):
            typer.echo(f"shared: {one.id} is a memory of {one.agent_id or 'the project'}", err=True)
        typer.echo(f"recall: {found.recall_id}", err=True)
        if found.degraded:
            typer.echo(f"note: {found.degraded}", err=True)
        if found.next:
            typer.echo(f"next page: --cursor {found.next}", err=True)

    output.run(work())


@options.scoped
def count(
    target: options.Target,
    among: options.Among,
    query: Annotated[str, typer.Argument(help="Count those with one of its words, too.", show_default=False)] = "",
    json: options.Json = False,
) -> None:
    """Count the memories that pass some filters, and those of them that have one of the words."""

    async def work() -> None:
        async with target.connect() as memory:
            counted = await memory.count(query, **among.given())
        if json:
            output.print_json(counted)
            return
        told = {"memories": counted.memories, "with one of the words": counted.with_words}
        output.print_fields({name: value for name, value in told.items() if value is not None})

    output.run(work())


def _why(hit: Hit) -> dict[str, float]:
    """What made the score, short enough for a table; `memoryd explain` and --json tell all."""
    shown = {name: round(part.contribution, 2) for name, part in hit.why.items()}
    return {name: contribution for name, contribution in shown.items() if contribution}
