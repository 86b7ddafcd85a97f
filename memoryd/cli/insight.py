"""memoryd insight list | seed"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from memoryd.insight.library import SavedQuery

app = typer.Typer(help="Saved queries for Redis Insight: to paste, or in its Query Library.", no_args_is_help=True)

Tag = Annotated[str, typer.Option("--tag", help="Which tag the queries that need one ask for.")]
Words = Annotated[str, typer.Option("--words", help="Which words the queries by words look for; any of them.")]
Id = Annotated[str, typer.Option("--id", help="Which memory the queries about one memory mean (mem_…).")]
Hours = Annotated[
    float, typer.Option("--hours", min=0, help="How far back the queries by time look; 0: everything.")
]


@app.command("list")
@options.scoped
def list_(
    target: options.Target,
    tag: Tag = "",
    words: Words = "",
    id: Id = "",
    hours: Hours = 0.0,
    json: options.Json = False,
) -> None:
    """Print the queries, ready to paste into Redis Insight's Workbench or redis-cli."""

    async def work() -> None:
        queries = await _filled(target, tag, words, id, hours)
        if json:
            output.print_json(queries)
            return
        for one in queries:
            typer.echo(f"# {one.name} ({one.index}): {one.about}\n{one.text}\n")

    output.run(work())


@app.command("seed")
@options.scoped
def seed(
    target: options.Target,
    insight_url: Annotated[
        str, typer.Option("--insight-url", envvar="MEMORYD_INSIGHT_URL", help="Where Redis Insight (3.4 or later) answers.")
    ] = "http://127.0.0.1:5540",
    db: Annotated[str, typer.Option("--db", help="The id of the database in Redis Insight.")] = "0",
    tag: Tag = "",
    words: Words = "",
    id: Id = "",
    json: options.Json = False,
) -> None:
    """Put the queries into Redis Insight's Query Library; again: add what is missing, replace what has changed."""

    async def work() -> None:
        from memoryd.insight.seed import Library

        queries = await _filled(target, tag, words, id, 0.0)
        import asyncio

        done = await asyncio.to_thread(Library(insight_url, db).seed, queries)
        if json:
            output.print_json(done)
        else:
            typer.echo(f"{done.added} added, {done.replaced} replaced, {done.unchanged} unchanged")

    output.run(work())


async def _filled(target: options.Target, tag: str, words: str, id: str, hours: float) -> list[SavedQuery]:
    from memoryd.hot.client import open_redis
    from memoryd.insight.library import Filling, filled, saved_queries
    from memoryd.insight.vector import vector_of

    scope = Scope(target.tenant, target.project, target.agent, target.session).check()
    vector = None
    if id:
        async with open_redis(target.url) as redis:
            vector = await vector_of(redis, scope, id)
    since = int((time.time() - hours * 3600) * 1e6) if hours else 0
    filling = Filling(scope, tag, words, id, vector, since)
    return [query for one in saved_queries() if (query := filled(one, filling))]
