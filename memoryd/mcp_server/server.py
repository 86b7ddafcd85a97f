"""The MCP server: which tools and resources there are, and what a host may assume of each."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations

from memoryd import MemoryClient, __version__
from memoryd.mcp_server.resources import add_resources
from memoryd.mcp_server.tools import Tools

INSTRUCTIONS = """What you store here outlives this conversation. Search before you answer from memory; store what will
matter later, one self-contained sentence a memory; correct what has changed with update_memory instead of storing the
opposite beside it; forget only when you are asked to."""


def mcp_server(memory: MemoryClient) -> MCPServer:
    """An MCP server with memoryd's tools, for the scope of `memory`, which must be connected."""
    tools = Tools(memory)
    server = MCPServer(
        "memoryd",
        title="memoryd",
        version=__version__,
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        tools=[
            _tool(tools.store_memory, ToolAnnotations(destructive_hint=False)),
            _tool(tools.search_memory, ToolAnnotations(read_only_hint=True)),
            _tool(tools.get_memory, ToolAnnotations(read_only_hint=True)),
            _tool(tools.update_memory, ToolAnnotations(destructive_hint=False)),
            _tool(tools.forget_memory, ToolAnnotations(destructive_hint=True, idempotent_hint=True)),
            _tool(tools.summarize_memory, ToolAnnotations(read_only_hint=True)),
            *([_tool(tools.introspect, ToolAnnotations(read_only_hint=True))] if memory.scope.agent else []),
            _tool(tools.memory_stats, ToolAnnotations(read_only_hint=True)),
        ],
    )
    add_resources(server, memory)
    return server


def _tool(verb: Any, annotations: ToolAnnotations) -> Tool:
    annotations.open_world_hint = False  # a memory is no world of strangers
    tool = Tool.from_function(verb, annotations=annotations)
    # The SDK ignores arguments that a tool does not have; a model that sent a `project` would believe it chose one.
    arguments = tool.fn_metadata.arg_model
    arguments.model_config["extra"] = "forbid"
    arguments.model_rebuild(force=True)
    tool.parameters = arguments.model_json_schema(by_alias=True)
    return tool
