"""`python skewed.py FILE MODULE ARGUMENTS…` runs a module of memoryd with a clock that the laboratory can move.

FILE holds by how many seconds the clock is wrong. The product has no such switch: its one source of time is replaced
here, before the module begins. Redis's own clock is the machine's, and does not jump.
"""

from __future__ import annotations

import runpy
import sys
from datetime import datetime, timedelta
from pathlib import Path


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
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
