"""memoryd forget"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from memoryd.cli import options, output


def forget(
    id: options.MemoryId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    durability: options.Durability = "archived",
    url: options.Url = options.DEFAULT_URL,
    tenant: options.Tenant = "default",
    project: options.Project = "default",
    agent: options.Agent = "",
    session: options.Session = "",
    json: options.Json = False,
) -> None:
    """Remove a memory for good: the record, its vector, its versions, its journal entries. Prints the receipt."""
    if not yes:
        output.confirm(f"Forget {id} with all its versions, in Redis and in MongoDB?")

    async def work() -> None:
        from memoryd import connect

        async with connect(url, tenant=tenant, project=project, agent=agent, session=session) as memory:
            receipt = await memory.forget(id, durability=durability)
        if json:
            output.print_json(receipt)
        else:
            output.print_fields(msgspec.structs.asdict(receipt))

    output.run(work())
