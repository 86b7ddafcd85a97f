"""memoryd get"""

from __future__ import annotations

import msgspec

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
        if json:
            output.print_json(one)
        else:
            output.print_fields(msgspec.structs.asdict(one))

    output.run(work())
