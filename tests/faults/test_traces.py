"""The proof of complete traces, small; `python -m tests.faults.traces` runs it with thousands of operations."""

from __future__ import annotations

import random

from tests.faults.traces import run_one


async def test_every_operation_has_its_trace_and_every_effect_its_cause_whoever_is_killed() -> None:
    """A daemon, a sync and Redis are killed meanwhile."""
    seed = random.SystemRandom().randrange(1_000_000)
    told: list[str] = []
    wrong = await run_one(200, seed, faults=3, tell=told.append)
    replay = f"replay: python -m tests.faults.traces --operations 200 --faults 3 --seed {seed}"
    assert not wrong, "\n".join([replay, *told, *wrong[:20]])
