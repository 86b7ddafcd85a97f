"""memoryd forget"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from memoryd.cli import options, output


@options.scoped
def forget(
    target: options.Target,
    id: options.MemoryId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    durability: options.Durability = "archived",
    json: options.Json = False,
) -> None:
    """Remove a memory for good: the record, its vector, its versions, its journal entries. Prints the receipt."""
    if not yes:
        output.confirm(f"Forget {id} with all its versions, in Redis and in MongoDB?")

    async def work() -> None:
        async with target.connect() as memory:
            receipt = await memory.forget(id, durability=durability)
        if json:
            output.print_json(receipt)
        else:
            output.print_fields(msgspec.structs.asdict(receipt))

    output.run(work())
