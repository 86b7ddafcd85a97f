"""How Python runs in a process that serves for weeks."""

from __future__ import annotations

import gc
import sys

from memoryd.limits import THREAD_TURN_SECONDS

# Objects that are made, and not gone again, between two looks at the youngest: of Python's own 700 a recall makes many.
YOUNGEST_MAX = 20_000


def serve_for_weeks() -> None:
    """Has the collector leave alone what has lived since the start, and look at the rest less often; and threads give way soon.

    A full collection looks at every object, and a thread that computes keeps the others for its turn: whoever waits for an
    answer waits for both. To be called once, when the process is ready. Nothing is leaked: references still free at once, and
    cycles when they are looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNGEST_MAX, 20, 20)
    sys.setswitchinterval(THREAD_TURN_SECONDS)
