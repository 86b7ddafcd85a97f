"""memoryd duplicates"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.limits import DUPLICATE_OVERLAP_MIN, DUPLICATES_LOOKED_MAX, DUPLICATES_PAGE_MAX

if TYPE_CHECKING:
    from memoryd.model.duplicates import DuplicatePage


@options.scoped
def duplicates(
    target: options.Target,
    merge: Annotated[
        bool, typer.Option("--merge", help="Make one memory of each group; without it nothing is changed.")
    ] = False,
    min_overlap: Annotated[
        float,
        typer.Option(
            "--min-overlap", min=DUPLICATE_OVERLAP_MIN, max=1.0, help="What two texts must have in common, in runs of three words."
        ),
    ] = 0.8,
    after: Annotated[str, typer.Option("--after", help="Go on after this id, as the last run has said it.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=DUPLICATES_LOOKED_MAX, help="How many memories to look at, at most.")
    ] = DUPLICATES_LOOKED_MAX,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before merging.")] = False,
    json: options.Json = False,
) -> None:
    """Find memories that say nearly the same, and propose what could be one; --merge makes them one.

    Of one scope and type, near in meaning and nearly the same word for word. A merged memory keeps all texts as versions, and
    `memoryd expand` gives the others back. Exit code 6: some were not merged, and say why.
    """
    if merge and not yes:
        output.confirm("Merge all memories of this scope that say nearly the same?")
    found = output.run(_look(target, after=after, limit=limit, min_overlap=min_overlap, merge=merge))
    if json:
        output.print_json(found)
    else:
        _print(found)
    if found["refused"]:
        raise typer.Exit(output.PARTIAL)


async def _look(target: options.Target, *, after: str, limit: int, **how: Any) -> dict[str, Any]:
    """All pages, as one answer."""
    pages: list[DuplicatePage] = []
    looked = 0
    async with target.connect() as memory:
        stats = await memory.stats()  # says soon that nobody is there; the next answer may take long
        with output.progress() as progress:
            bar = progress.add_task("comparing", total=min(limit, stats.memories))
            while looked < limit and (after or not pages):
                pages.append(await memory.duplicates(after=after, limit=min(DUPLICATES_PAGE_MAX, limit - looked), **how))
                after = pages[-1].next
                looked += pages[-1].looked
                progress.update(bar, completed=looked)
    return {
        "groups": [group for one in pages for group in one.groups], "looked": looked, "next": after,
        "merged": sum(one.merged for one in pages), "refused": sum(one.refused for one in pages),
    }  # fmt: skip


def _print(found: dict[str, Any]) -> None:
    rows = []
    for number, group in enumerate(found["groups"], 1):
        rows.append([number, group.outcome, group.agent, group.survivor, "", group.text, group.reason])
        rows += [[number, "", "", one.id, one.overlap, one.text, ""] for one in group.memories]
    if rows:
        output.print_table("", ["group", "outcome", "agent", "memory", "overlap", "text", "why not"], rows)
    output.print_fields(
        {
            "memories looked at": found["looked"], "groups": len(found["groups"]), "merged": found["merged"],
            "not merged": found["refused"], "go on with --after": found["next"],
        }
    )  # fmt: skip
