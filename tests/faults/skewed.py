"""`python skewed.py FILE MODULE ARGUMENTS…` runs a module of memoryd with a clock that the laboratory can move.

FILE holds by how many seconds the clock is wrong. The product has no such switch: its one source of time is replaced
here, before the module begins. Redis's own clock is the machine's, and does not jump.
SIGUSR1 makes the process tell what each of its tasks waits for.
"""

from __future__ import annotations

import asyncio
import runpy
import signal
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any


def main() -> None:
    """Becomes the module."""
    file, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    sys.path.pop(0)  # this folder, whose modules are nobody's business
    from memoryd.clock import SystemClock

    true_now = SystemClock.now

    def now(self: SystemClock) -> datetime:
        return true_now(self) + timedelta(seconds=float(file.read_text() or 0))

    SystemClock.now = now  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, tell_tasks)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def tell_tasks(*_: object) -> None:
    """Where each task stands, on stderr."""
    tasks: set[asyncio.Task[object]] = set(asyncio.tasks._all_tasks)  # type: ignore[attr-defined]
    for task in tasks:
        sys.stderr.write(f"{task.get_name()}: {' > '.join(places(task.get_coro()))}\n")


def places(waiting: Any) -> Iterator[str]:
    """File and line of a coroutine, and of each that it waits for."""
    while waiting is not None:
        if frame := getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None):
            yield f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)


if __name__ == "__main__":
    main()
