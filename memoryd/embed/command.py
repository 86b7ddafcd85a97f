"""Runs another program with a time limit, and ends it when the caller has given up."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence

POLL_SECONDS = 0.2

Say = Callable[[str], None]
"""Is told in words what is being done, from whichever thread does it."""


class CommandFailed(Exception):
    """The program did not succeed; the message is the last of what it said."""


class GivenUp(Exception):
    """Nobody waits for the result any more."""


def run(
    command: Sequence[str], *, seconds_max: float, stop: threading.Event, environment: Mapping[str, str] | None = None
) -> None:
    """Run `command` to its end. Blocks. Raises CommandFailed, or GivenUp once `stop` is set; it never goes on."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603  # our own Python, with arguments that we wrote
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        try:
            code = _wait(process, time.monotonic() + seconds_max, stop)
        finally:
            process.kill()
            process.wait()
        if code != 0:
            output.seek(0)
            raise CommandFailed(_last_words(output.read().decode(errors="replace")) or f"exit status {code}")


def _wait(process: subprocess.Popen[bytes], deadline: float, stop: threading.Event) -> int:
    while True:
        try:
            return process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise GivenUp from None
            if time.monotonic() > deadline:
                raise CommandFailed("it took too long") from None


def _last_words(output: str) -> str:
    """The line that says what went wrong: pip's first ERROR, else the last line of a traceback."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines[-1:] or [""])[0][:300]
