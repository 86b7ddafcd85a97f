"""memoryd stats"""

from __future__ import annotations

import msgspec

from memoryd.cli import options, output


@options.scoped
def stats(
    target: options.Target,
    json: options.Json = False,
) -> None:
    """Count a scope's memories, and show the service's backlog and health."""

    async def work() -> None:
        async with target.connect() as memory:
            numbers = await memory.stats()
        if json:
            output.print_json(numbers)
        else:
            output.print_fields(msgspec.to_builtins(numbers))

    output.run(work())
