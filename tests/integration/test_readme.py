"""The README's example is run as it stands there, and its output is the one that stands there."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memoryd.config import Settings
from memoryd.embed.open import load_onnx
from memoryd.embed.thread import ThreadEmbedder
from tests.world import World

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
PLACE = "redis://127.0.0.1:6379"


@pytest.fixture
async def real_world(settings: Settings, model_dir: Path) -> AsyncIterator[World]:
    """A memoryd with the real model, because the README shows what it finds by meaning."""
    embedder = await ThreadEmbedder.load(settings.model, lambda: load_onnx(model_dir, threads=1))
    async with World(settings) as world:
        world.embedder = embedder  # type: ignore[assignment]
        await world.start("daemon", "sync")
        yield world
    await embedder.close()


async def test_the_example_prints_what_the_readme_shows(real_world: World) -> None:
    """In a process of its own, as a reader would run it. The id in it is a hash of the content: it is the reader's too."""
    [code] = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    [shown] = re.findall(r"^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert PLACE in code

    program = code.replace(PLACE, real_world.settings.redis_url)
    reader = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE, stderr=PIPE)
    printed, complaints = await asyncio.wait_for(reader.communicate(), 120)

    assert complaints.decode() == ""
    assert printed.decode() == shown


def test_the_readme_points_at_files_that_exist() -> None:
    """A renamed file would leave the newcomer in front of nothing."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (Path(__file__).parents[2] / link).exists()] == []
