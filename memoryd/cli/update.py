"""memoryd update"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.cli.store import json_object


@options.scoped
def update(
    target: options.Target,
    id: options.MemoryId,
    content: Annotated[str | None, typer.Option("--content", help="The new content.")] = None,
    importance: Annotated[float | None, typer.Option("--importance", help="0 to 1.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="The new tags; may be repeated.")] = None,
    metadata: Annotated[str | None, typer.Option("--metadata", help="The new JSON object.")] = None,
    if_version: Annotated[int | None, typer.Option("--if-version", help="Only if this is still its version.")] = None,
    durability: options.Durability = "hot",
    wait: options.Wait = None,
    json: options.Json = False,
) -> None:
    """Change a memory; what is not given stays. Every version is kept in the archive."""

    async def work() -> None:
        given: dict[str, Any] = {"content": content, "importance": importance, "tags": tag or None}
        if metadata is not None:
            given["metadata"] = json_object(metadata)
        changes = {name: value for name, value in given.items() if value is not None}
        async with target.connect() as memory:
            changed = await memory.update(id, if_version=if_version, durability=durability, wait=wait, **changes)
        if json:
            output.print_json(changed)
        else:
            output.print_fields({"id": changed.id, "version": changed.version, "outcome": changed.outcome})

    output.run(work())
