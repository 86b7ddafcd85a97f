"""A process that serves is not held up by a look at all that it has loaded."""

from __future__ import annotations

import gc

from memoryd.interpreter import YOUNGEST_MAX, serve_for_weeks


def test_what_lives_since_the_start_is_left_alone_and_cycles_still_go() -> None:
    thresholds = gc.get_threshold()
    try:
        serve_for_weeks()
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold()[0] == YOUNGEST_MAX
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
