"""The canary proof, small; `make canaries` runs it with ten thousand."""

from __future__ import annotations

import random

from tests.faults.canaries import run_one


async def test_nothing_forgotten_is_found_in_any_byte() -> None:
    """Forgotten in ten ways while others store, change and recall, and a rebuild goes on."""
    seed = random.SystemRandom().randrange(1_000_000)
    told: list[str] = []
    wrong = await run_one(100, seed, tell=told.append)
    assert not wrong, "\n".join([f"replay: python -m tests.faults.canaries --canaries 100 --seed {seed}", *told, *wrong])
