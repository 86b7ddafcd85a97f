"""memoryd get"""

from __future__ import annotations

import msgspec

from memoryd.cli import options, output


def get(
    id: options.MemoryId,
    url: options.Url = options.DEFAULT_URL,
    tenant: options.Tenant = "default",
    project: options.Project = "default",
    agent: options.Agent = "",
    session: options.Session = "",
    json: options.Json = False,
) -> None:
    """Show one memory as it is now, wherever it lives."""

    async def work() -> None:
        from memoryd import connect

        async with connect(url, tenant=tenant, project=project, agent=agent, session=session) as memory:
            one = await memory.get(id)
        if json:
            output.print_json(one)
        else:
            output.print_fields(msgspec.structs.asdict(one))

    output.run(work())
