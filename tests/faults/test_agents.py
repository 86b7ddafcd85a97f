"""What an agent relies on while daemons die and connections are cut, in short: the long proofs are commands.

`python -m tests.faults.probes` reads its writes 20,000 times, `python -m tests.faults.reconnects` comes back 200 times,
`python -m tests.faults.outage` writes while MongoDB is away and Redis restarts, `python -m tests.faults.ups` kills `memoryd up`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from memoryd.config import Settings
from tests.faults.failover import SHAPE
from tests.faults.lab import Lab
from tests.faults.probes import probe
from tests.faults.reconnects import reconnect
from tests.faults.ups import kill_again_and_again

PAUSE = (0.2, 0.8)  # between two daemons' deaths


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client asks again after half a second when a daemon has taken its request along."""
    monkeypatch.setattr("memoryd.protocol.connection.RESEND_SECONDS", 0.5)


async def test_an_agent_reads_its_writes_also_across_a_failover() -> None:
    """`get` sees what was stored, `recall` finds it by its words, and by its meaning when the store has waited for that."""
    async with Lab(SHAPE) as lab:
        outcome = await probe(lab, 200, seed := random.SystemRandom().randrange(1_000_000), pause=PAUSE)
    assert not outcome.misses, f"replay: python -m tests.faults.probes --seed {seed}\n" + "\n".join(outcome.misses)
    assert (outcome.probes, outcome.kills > 0) == (200, True)


async def test_an_agent_that_comes_back_again_and_again_misses_no_event() -> None:
    """Each event once for its place, and none of another agent's."""
    async with Lab(SHAPE) as lab:
        outcome = await reconnect(lab, 8, seed := random.SystemRandom().randrange(1_000_000), pause=PAUSE)
    assert not outcome.wrong, f"replay: python -m tests.faults.reconnects --seed {seed}\n" + "\n".join(outcome.wrong)
    assert len(outcome.agent.handled) >= len(outcome.changes) > 50


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_up_that_is_killed_again_and_again_has_what_was_acknowledged(settings: Settings, tmp_path: Path) -> None:
    """Its whole process group, while agents write."""
    seed = random.SystemRandom().randrange(1_000_000)
    outcome = await kill_again_and_again(tmp_path / "data", settings.cache_dir, 2, seed)
    assert not outcome.wrong, f"replay: python -m tests.faults.ups --seed {seed}\n" + "\n".join(outcome.wrong)
    assert outcome.kills == 2
