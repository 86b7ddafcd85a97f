"""The command `memoryd` as people run it: a process of its own, with its exit code and both of its outputs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from memoryd.cli import app
from memoryd.config import Settings

COMMAND = (sys.executable, "-m", "memoryd")
SECONDS_MAX = 180  # a start takes a second; of a busy machine many times that


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def fields(self) -> dict[str, str]:
        """Its stdout as the names and values of a table for people."""
        pairs = (line.split(maxsplit=1) for line in self.out.splitlines())
        return {name: value.strip() for name, value in pairs}


class Commands:
    """Runs commands against one memoryd, for acme / support / scout. A call fails the test on another exit code."""

    def __init__(self, settings: Settings) -> None:
        self.environment = clean_environment() | {
            "MEMORYD_REDIS_URL": settings.redis_url, "MEMORYD_MONGO_URL": settings.mongo_url,
            "MEMORYD_MONGO_DATABASE": settings.mongo_database, "MEMORYD_EMBEDDER": "none",
            "MEMORYD_TENANT": "acme", "MEMORYD_PROJECT": "support", "MEMORYD_AGENT": "scout",
            "COLUMNS": "160",
        }  # fmt: skip

    async def __call__(
        self, *words: str, exits: int = 0, stdin: str = "", environment: Mapping[str, str] | None = None, prints: bool = False
    ) -> Said:
        said = await run(words, {**self.environment, **(environment or {})}, stdin)
        assert said.code == exits, said
        assert "Traceback" not in said.err, said.err
        if exits and exits != 6:  # done in part is the only failure that has something to show
            assert prints or said.out == ""  # what another program prints, which a command runs
            assert said.err
        return said


async def invoke(settings: Settings, *words: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> Said:
    """The same in this process, in a thread: for a test that needs many commands, and none of their starts."""
    environment = {**Commands(settings).environment, **(environment or {})}
    done = await asyncio.to_thread(CliRunner().invoke, app, list(words), input=stdin, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Said(done.exit_code, done.stdout, done.stderr)


def clean_environment() -> dict[str, str]:
    """This process's environment without what a developer has set for a memoryd of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MEMORYD_")}


async def run(words: tuple[str, ...], environment: Mapping[str, str], stdin: str = "") -> Said:
    """Runs one command to its end."""
    child = await asyncio.create_subprocess_exec(
        *COMMAND, *words, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(child.communicate(stdin.encode()), SECONDS_MAX)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return Said(child.returncode, out.decode(), err.decode())
