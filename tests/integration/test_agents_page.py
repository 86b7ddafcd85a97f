"""The code of the page about agents is run as it stands there, in order, by one agent."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from memoryd import MemoryClient
from tests.world import World

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


async def test_the_code_of_the_page_runs(world: World, memory: MemoryClient) -> None:
    """With `memory` connected as acme / support / scout, and `connect` for other agents of the project."""
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert blocks
    names: dict[str, Any] = {"memory": memory, "connect": world.connect}
    for block in blocks:
        code = compile(block, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.isawaitable(running):
            await running
