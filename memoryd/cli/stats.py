"""memoryd stats"""

from __future__ import annotations

import msgspec

from memoryd.cli import options, output


def stats(
    url: options.Url = options.DEFAULT_URL,
    tenant: options.Tenant = "default",
    project: options.Project = "default",
    agent: options.Agent = "",
    session: options.Session = "",
    json: options.Json = False,
) -> None:
    """Count a scope's memories, and show the service's backlog and health."""

    async def work() -> None:
        from memoryd import connect

        async with connect(url, tenant=tenant, project=project, agent=agent, session=session) as memory:
            numbers = await memory.stats()
        if json:
            output.print_json(numbers)
        else:
            output.print_fields(msgspec.to_builtins(numbers))

    output.run(work())
