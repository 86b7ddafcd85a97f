"""memoryd mcp"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output

Port = Annotated[
    int | None,
    typer.Option(
        "--http", min=1, max=65535, help="Serve streamable HTTP at http://127.0.0.1:PORT/mcp instead of stdio.",
        metavar="PORT",
    ),
]  # fmt: skip


@options.scoped
def mcp(
    target: options.Target,
    http: Port = None,
) -> None:
    """Give a model this memory: an MCP server on stdio, for the host (an editor, a desktop assistant) that starts it.

    The model sees and changes the memories of this scope, and cannot name another one.
    """

    async def work() -> None:
        from memoryd.mcp_server.server import mcp_server

        async with target.connect() as memory:
            server = mcp_server(memory)
            if http is None:
                await server.run_stdio_async()
            else:
                typer.echo(f"serving MCP at http://127.0.0.1:{http}/mcp", err=True)
                await server.run_streamable_http_async(host="127.0.0.1", port=http)

    output.run(work())
