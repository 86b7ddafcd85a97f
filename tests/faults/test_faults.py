"""A short sample of the fault laboratory: the same seeds each time, and others that a failure names.

`make faults RUNS=100 SEED=1` runs more; `tests/faults/__main__.py` says what a replay repeats.
"""

from __future__ import annotations

import random

import pytest

from tests.faults.plan import BLOCK, Plan, make_plan
from tests.faults.series import Series


@pytest.mark.parametrize(("seed", "aof"), [(3, "always"), (101, "everysec")])
async def test_nothing_acknowledged_is_lost_and_nothing_forgotten_returns(seed: int, aof: str) -> None:
    """The same two faults and the same requests each time; the second reads events in context."""
    await judged(make_plan(seed, aof=aof, quick=True))


async def test_nothing_is_lost_or_returns_with_seeds_that_nobody_chose() -> None:
    """Two runs that are different each time."""
    seed = random.SystemRandom().randrange(1_000_000) // BLOCK * BLOCK  # both of one shape
    await judged(make_plan(seed, quick=True), make_plan(seed + 1, quick=True))


async def judged(*plans: Plan) -> None:
    async with Series() as series:
        for plan in plans:
            verdict = await series.run(plan)
            assert not verdict.wrong, f"replay: {replay(plan)}\n" + "\n".join(verdict.wrong)
            assert verdict.writes >= plan.clients * plan.steps / 3


def replay(plan: Plan) -> str:
    return f"python -m tests.faults --runs 1 --seed {plan.seed} --aof {plan.shape.aof} --quick"
