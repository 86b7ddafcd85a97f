"""Python's garbage collector in a process that serves for weeks."""

from __future__ import annotations

import gc

# Objects that are made, and not gone again, between two looks at the youngest: of Python's own 700 a recall makes many.
YOUNGEST_MAX = 20_000


def collect_rarely() -> None:
    """Has the collector leave alone what has lived since the start, and look at the rest less often.

    A full collection looks at every object, and nothing else runs meanwhile: whoever waits for an answer waits for that, too.
    To be called once, when the process is ready. Nothing is leaked: references still free at once, and
    cycles when they are looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST_MAX, 20, 20)
