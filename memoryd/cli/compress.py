"""memoryd compress: many memories in few words, with a way back; memoryd expand: that way; memoryd summarize: the words only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.cli.forget import seconds_of
from memoryd.errors import BadRequest

if TYPE_CHECKING:
    from memoryd.model.summary import Compressed

Types = Annotated[list[str] | None, typer.Option("--type", help="Of one of these types; may be repeated.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="With one of these tags; may be repeated.")]
OlderThan = Annotated[str, typer.Option("--older-than", help="Stored longer ago, for instance 30d.")]
Before = Annotated[str, typer.Option("--before", help="Stored before, for instance 2026-05-08T13:56:00Z.")]
Query = Annotated[str, typer.Option("--query", help="What recall finds for it.")]
Limit = Annotated[int, typer.Option("--limit", help="How many hits of the query at most.")]
Everything = Annotated[bool, typer.Option("--everything", help="The whole scope.")]


@options.scoped
def compress(
    target: options.Target,
    type: Types = None,
    tag: Tags = None,
    older_than: OlderThan = "",
    before: Before = "",
    query: Query = "",
    limit: Limit = 10,
    everything: Everything = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the summaries, and change nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Put summaries in the place of memories, which go to the archive; `memoryd expand` gives them back.

    All that is given must hold. Exit code 6: some stayed as they are, because their summary was no good.
    """

    async def work() -> Compressed:
        selection = _selection(target.session, type, tag, older_than, before, query, limit, everything)
        async with target.connect() as memory:
            await memory.stats()  # says soon that nobody is there; the next answer may take long
            return await memory.compress(dry_run=dry_run, **selection)

    done = output.run(work())
    if json:
        output.print_json(done)
    else:
        rows = [
            [one.outcome, one.agent, one.session, one.memories, one.moved, one.chars, one.summary_chars,
             one.summary or one.text or one.reason]
            for one in done.groups
        ]  # fmt: skip
        columns = ["outcome", "agent", "session", "memories", "moved", "characters", "summary's", "summary, or why not"]
        output.print_table("", columns, rows)
        output.print_fields(
            {
                "memories": done.memories, "moved": done.moved, "characters": done.chars,
                "summaries' characters": done.summary_chars, "refused groups": done.refused,
            }
        )  # fmt: skip
    if done.refused:
        raise typer.Exit(output.PARTIAL)


@options.scoped
def expand(
    target: options.Target,
    id: options.MemoryId,
    restore: Annotated[bool, typer.Option("--restore", help="Bring them back to Redis.")] = False,
    json: options.Json = False,
) -> None:
    """Show what a summary stands for, as it was; with --restore it lives in Redis again."""

    async def work() -> dict[str, Any]:
        async with target.connect() as memory:
            pages = [await memory.expand(id, restore=restore)]
            while (seen := sum(len(one.memories) + one.missing for one in pages)) < pages[0].total:
                pages.append(await memory.expand(id, restore=restore, first=seen))
        return {
            "id": id, "memories": [memory for one in pages for memory in one.memories],
            "missing": sum(one.missing for one in pages), "restored": sum(one.restored for one in pages),
        }  # fmt: skip

    found = output.run(work())
    if json:
        output.print_json(found)
        return
    output.print_table("", ["memory", "when", "content"], [[m.id, m.valid_from, m.content] for m in found["memories"]])
    output.print_fields({"summary": id, "missing": found["missing"], "restored": found["restored"]})


@options.scoped
def summarize(
    target: options.Target,
    type: Types = None,
    tag: Tags = None,
    older_than: OlderThan = "",
    before: Before = "",
    query: Query = "",
    limit: Limit = 10,
    everything: Everything = False,
    chars: Annotated[int, typer.Option("--chars", help="About how long; a tenth without it.", show_default=False)] = 0,
    json: options.Json = False,
) -> None:
    """Say in few words what memories say. Nothing is stored, nothing is changed."""

    async def work() -> Any:
        selection = _selection(target.session, type, tag, older_than, before, query, limit, everything)
        async with target.connect() as memory:
            await memory.stats()
            return await memory.summarize(chars=chars or None, **selection)

    found = output.run(work())
    if json:
        output.print_json(found)
    else:
        typer.echo(found.text)


def _selection(
    session: str, types: list[str] | None, tags: list[str] | None, older_than: str, before: str, query: str, limit: int,
    everything: bool,
) -> dict[str, Any]:  # fmt: skip
    given = {
        "session": session, "types": types, "tags": tags, "older_than_seconds": seconds_of(older_than), "before": before,
        "query": query, "everything": everything,
    }  # fmt: skip
    selection = {name: value for name, value in given.items() if value}
    if not selection:
        raise BadRequest("nothing was selected", hint="give criteria, or --everything for the whole scope; see --help")
    return {**selection, "limit": limit} if query else selection
