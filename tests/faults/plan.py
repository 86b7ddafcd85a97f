"""What a seed decides: the shape of the deployment, the faults with their times, and each client's random numbers."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BLOCK = 16  # consecutive seeds share a shape, so that processes live on from run to run
SPAN_SECONDS = 3.0  # faults begin within this time; the clients work for about as long

# How often each fault is chosen, and for how long it lasts at most.
FAULTS: dict[str, tuple[int, float]] = {
    "daemon_kill": (4, 0.5),
    "daemon_pause": (4, 3.0),
    "sync_kill": (4, 0.5),
    "sync_pause": (4, 6.0),  # longer than the lease of 4 s
    "redis_kill": (3, 1.0),
    "redis_power": (3, 1.0),
    "redis_pause": (2, 2.0),
    "redis_full": (2, 1.0),
    "mongo_kill": (3, 1.0),
    "mongo_pause": (2, 3.0),
    "mongo_stepdown": (3, 1.0),
    "redis_cut": (2, 0.0),
    "redis_reset": (2, 0.0),
    "redis_half_close": (2, 0.5),
    "redis_delay": (2, 2.0),
    "redis_deaf": (2, 2.0),
    "mongo_cut": (2, 0.0),
    "mongo_reset": (2, 0.0),
    "mongo_half_close": (1, 0.5),
    "mongo_delay": (1, 2.0),
    "mongo_deaf": (1, 2.0),
    "redis_disk_full": (2, 1.5),
    "mongo_disk_full": (2, 1.0),
    "mongo_refuses": (2, 1.5),
    "daemon_clock": (3, 3.0),
    "sync_clock": (2, 3.0),
    "redeliver": (5, 1.0),
    "reassign": (5, 1.0),
    "place_lost": (3, 0.5),
    "history_lost": (2, 0.5),
}
THREE_MEMBERS_ONLY = frozenset({"mongo_stepdown"})
ONE_MEMBER_ONLY = frozenset({"mongo_cut", "mongo_reset", "mongo_half_close", "mongo_delay", "mongo_deaf", "history_lost"})
EVERYSEC_ONLY = frozenset({"redis_power"})  # with `always` there is nothing that a loss of power could take
SESSION = "lake"  # of all clients of a run whose events are read in context
FLUSH_EVERY = 6  # every so many runs end with a Redis that is emptied after everything was archived


@dataclass(frozen=True)
class Shape:
    """How many of what run. `aof` is Redis's appendfsync: always | everysec. `turns_after`: how many later events a vector reads
    besides the two before it; None where vectors are of the text alone."""

    aof: str
    members: int
    daemons: int
    syncs: int
    turns_after: int | None = None

    def __str__(self) -> str:
        told = f"{self.aof} mongo×{self.members} daemon×{self.daemons} sync×{self.syncs}"
        return told if self.turns_after is None else f"{told} context+{self.turns_after}"


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins, whom it meets (by number), how long it lasts."""

    at: float
    kind: str
    target: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.kind}@{self.at:.1f}"


@dataclass(frozen=True)
class Plan:
    """Everything that a seed decides before a run begins."""

    seed: int
    shape: Shape
    faults: tuple[Fault, ...]
    clients: int
    steps: int
    flush: bool

    @property
    def in_context(self) -> bool:
        """Whether the vectors of its events are made in context."""
        return self.shape.turns_after is not None

    def moment(self, chance: random.Random) -> datetime | None:
        """A time for an event that is to stand between others; of most, and where nothing is read in context, none."""
        if not self.in_context or chance.random() < 2 / 3:
            return None
        return datetime.now(UTC) - timedelta(seconds=chance.uniform(0, SPAN_SECONDS))

    def random(self, who: str) -> random.Random:
        """The random numbers of one actor: the same for the same seed, whatever the others do."""
        return random.Random(f"{self.seed}:{who}")


def make_plan(seed: int, *, aof: str = "", quick: bool = False, only: Collection[str] = ()) -> Plan:
    """The plan of a seed. With `aof` the fsync policy is given, with `only` the faults; `quick` makes it shorter."""
    chance = random.Random(f"{seed}:plan")
    shape = shape_of(seed, aof=aof, quick=quick)
    span = 0.8 * SPAN_SECONDS if quick else SPAN_SECONDS
    kinds = [kind for kind in _kinds(shape) if not only or kind in only]
    weights = [FAULTS[kind][0] for kind in kinds]
    chosen = chance.choices(kinds, weights, k=chance.randint(2, 4) if quick else chance.randint(3, 5))
    faults = [
        Fault(chance.uniform(0.1, span), kind, chance.randrange(6), chance.uniform(0, FAULTS[kind][1]))
        for kind in chosen
    ]
    steps = chance.randint(15, 25) if quick else chance.randint(20, 30)
    return Plan(
        seed=seed, shape=shape, faults=tuple(sorted(faults, key=lambda one: one.at)), clients=chance.randint(3, 5),
        steps=steps, flush=chance.randrange(FLUSH_EVERY) == 0,
    )  # fmt: skip


def shape_of(seed: int, *, aof: str, quick: bool) -> Shape:
    """The shape that a seed shares with its neighbours."""
    chance = random.Random(f"{seed // BLOCK}:shape")
    policy = chance.choice(("always", "everysec"))
    members = 3 if chance.random() < 0.25 else 1
    daemons, syncs = chance.choice((1, 2, 2)), chance.choice((1, 2, 2))
    turns_after = random.Random(f"{seed // BLOCK}:context").choice((None, None, 0, 1, 2))
    return Shape(aof or policy, 1 if quick else members, daemons, syncs, turns_after)


def _kinds(shape: Shape) -> list[str]:
    unfit = THREE_MEMBERS_ONLY if shape.members == 1 else ONE_MEMBER_ONLY
    if shape.aof == "always":
        unfit |= EVERYSEC_ONLY
    return [kind for kind in FAULTS if kind not in unfit]
