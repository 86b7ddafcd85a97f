"""The code of the pages about agents is run as it stands there, in order, by one agent."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from memoryd import MemoryClient
from tests.world import World

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page", ["agents.md", "agents-sessions.md", "agents-log-and-tools.md", "agents-knowledge.md", "agents-together.md"]
)
async def test_the_code_of_the_page_runs(world: World, memory: MemoryClient, page: str) -> None:
    """With `memory` connected as acme / support / scout, and `connect` for other agents of the project."""
    blocks = BLOCK.findall((DOCS / page).read_text("utf-8"))
    assert blocks
    names: dict[str, Any] = {"memory": memory, "connect": world.connect}
    for block in blocks:
        code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.isawaitable(running):
            await running
