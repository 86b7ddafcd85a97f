"""memoryd seen"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output


@options.scoped
def seen(
    target: options.Target,
    text: Annotated[str, typer.Argument(help="The content, or the question.", show_default=False)],
    question: Annotated[bool, typer.Option("--question", help="Was it asked? Else: was it stored?")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Look itself up, not only in the filter.")] = False,
    json: options.Json = False,
) -> None:
    """Ask whether a content was ever stored in a scope, or a question ever asked. The filter's yes is a probably."""

    async def work() -> None:
        async with target.connect() as memory:
            found = await (memory.seen_query if question else memory.seen)(text, exact=exact)
        output.print_one(found, json=json)

    output.run(work())
