"""What a host may attach to a conversation: the scope's sessions and its agents' state, as JSON. The scope is the client's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.resources import ResourceSecurity

from memoryd import MemoryClient
from memoryd.errors import MemorydError, NotFound

MESSAGES = 100  # the newest of a session: what a model can take in
JSON = "application/json"
# Names are no paths: a session may be called "..", and the daemon percent-encodes every name.
NAMES = ResourceSecurity(exempt_params=frozenset({"session", "agent"}))


def add_resources(server: MCPServer, memory: MemoryClient) -> None:
    """Adds the resources of the scope of `memory` to a server."""

    @server.resource(
        "memoryd://sessions", name="sessions", title="Sessions", mime_type=JSON,
        description="The sessions at work or lately used, those used last first: names, status, how many messages.",
    )  # fmt: skip
    async def sessions() -> str:
        with _told():
            return _json(await memory.sessions())

    @server.resource(
        "memoryd://sessions/{session}", name="session", title="A session", mime_type=JSON, security=NAMES,
        description=f"The newest {MESSAGES} messages of a session, oldest of them first, and its variables.",
    )  # fmt: skip
    async def session(session: str) -> str:
        return await _session(memory, session, None)

    @server.resource(
        "memoryd://agents", name="agents", title="Agents", mime_type=JSON,
        description="The agents of the project: task, status, tools, and whether they were heard of in time.",
    )  # fmt: skip
    async def agents() -> str:
        with _told():
            return _json(await memory.agent.peers())

    if memory.scope.agent:

        @server.resource(
            "memoryd://agent", name="agent", title="This agent", mime_type=JSON,
            description="What this agent has said of itself: task, status, tools, self-model.",
        )  # fmt: skip
        async def agent() -> str:
            with _told():
                return _json(await memory.agent.get())

    else:

        @server.resource(
            "memoryd://agents/{agent}/sessions/{session}", name="agent_session", title="A session of an agent",
            mime_type=JSON, security=NAMES, description="The same of a session that is one agent's.",
        )  # fmt: skip
        async def agent_session(agent: str, session: str) -> str:
            return await _session(memory, session, agent)


async def _session(memory: MemoryClient, name: str, agent: str | None) -> str:
    with _told():
        working = memory.working(name, agent=agent)
        window, state = await working.window(MESSAGES), await working.get()
    told = {"session": name, "messages": window.messages, "total": window.total, "variables": state.value}
    return _json(told)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _told() -> Iterator[None]:
    """Turns our errors into the protocol's."""
    try:
        yield
    except MemorydError as error:
        kind = ResourceNotFoundError if isinstance(error, NotFound) else ResourceError
        raise kind(f"{error.code}: {error.message}") from error
