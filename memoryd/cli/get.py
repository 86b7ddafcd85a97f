"""memoryd get"""

from __future__ import annotations

from memoryd.cli import options, output


@options.scoped
def get(
    target: options.Target,
    id: options.MemoryId,
    json: options.Json = False,
) -> None:
    """Show one memory as it is now, wherever it lives."""

    async def work() -> None:
        async with target.connect() as memory:
            one = await memory.get(id)
        output.print_one(one, json=json)

    output.run(work())
