"""memoryd store"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.errors import BadRequest


@options.scoped
def store(
    target: options.Target,
    content: Annotated[str, typer.Argument(help="What to remember; - reads it from stdin.", show_default=False)],
    type: Annotated[str, typer.Option("--type", help="fact, episodic, procedural or semantic.")] = "semantic",
    importance: Annotated[float, typer.Option("--importance", help="0 to 1.")] = 0.5,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")] = None,
    metadata: Annotated[str, typer.Option("--metadata", help="A JSON object.")] = "{}",
    source_tool: Annotated[str, typer.Option("--source-tool", help="The tool that it came from.")] = "",
    valid_from: Annotated[
        str, typer.Option("--valid-from", help="Since when it is true, e.g. 2026-05-08T13:56:00Z.")
    ] = "",
    durability: options.Durability = "hot",
    wait: options.Wait = None,
    json: options.Json = False,
) -> None:
    """Remember something. The same fact stored twice is one memory, reinforced."""
    details: dict[str, Any] = {
        "type": type, "importance": importance, "tags": tag or [], "source_tool": source_tool, "durability": durability,
        "wait": wait,
    }  # fmt: skip
    if valid_from:
        details["valid_from"] = valid_from

    async def work() -> None:
        details["metadata"] = json_object(metadata)
        text = sys.stdin.read() if content == "-" else content
        async with target.connect() as memory:
            kept = await memory.store(text, **details)
        if json:
            output.print_json(kept)
        else:
            output.print_fields(
                {"id": kept.id, "version": kept.version, "outcome": kept.outcome, "durability": kept.durability}
            )

    output.run(work())


def json_object(text: str, option: str = "--metadata") -> dict[str, Any]:
    """What an option gives as a JSON object. Raises BadRequest."""
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, Any])
    except msgspec.MsgspecError:
        raise BadRequest(f"{option}: is not a JSON object", hint='for instance \'{"source": "chat"}\'') from None
