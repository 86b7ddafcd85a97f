"""What the long proofs print: the machine, rates, and how long things took."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Times:
    """How long each of many calls of one kind took, in milliseconds."""

    name: str
    milliseconds: list[float] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Times the block."""
        started = time.perf_counter()
        yield
        self.milliseconds.append((time.perf_counter() - started) * 1000)

    def __str__(self) -> str:
        if len(self.milliseconds) < 2:
            return f"{self.name}: {len(self.milliseconds)} times"
        cuts = statistics.quantiles(self.milliseconds, n=1000)
        worst = max(self.milliseconds)
        return (
            f"{self.name}: p50 {cuts[499]:.1f} ms, p99 {cuts[989]:.1f} ms, p99.9 {cuts[998]:.1f} ms, "
            f"longest {worst:.0f} ms ({len(self.milliseconds)} times)"
        )


def machine() -> str:
    """Where the numbers were measured, and what else was going on there."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {load:.1f} before"


def say(line: object) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def tell(wrong: Sequence[str], most: int = 20) -> int:
    """Says what was wrong; the exit code."""
    for one in wrong[:most]:
        say(f"    {one}")
    say(f"{len(wrong)} failures" if wrong else "no failure")
    return 1 if wrong else 0
