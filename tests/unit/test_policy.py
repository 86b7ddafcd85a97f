"""Which memories change their tier: for whatever memories there are, nothing is lost, held, moved for nothing or moved twice."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memoryd.config import load_settings
from memoryd.errors import ConfigError
from memoryd.lifecycle.policy import Candidate, Move, Pressure, Reason, plan, resting
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.rules import DAY, Rules, rules_of

NOW = 1_800_000_000.0
TIERS = (Tier.SHORT, Tier.LONG)

candidates = st.builds(
    Candidate,
    memory_id=st.just(""),
    tier=st.sampled_from([*TIERS, Tier.ARCHIVE]),
    memory_type=st.sampled_from(MemoryType),
    importance=st.floats(0, 1),
    last_used=st.floats(NOW - 20 * DAY, NOW + DAY),
    agent=st.sampled_from(["a", "b"]),
    accesses=st.integers(0, 100),
    worth=st.floats(-0.5, 1),
    used=st.booleans(),
    held=st.sampled_from(["", "", "", "pinned"]),
    size=st.integers(0, 5_000),
)
worlds = st.lists(candidates, max_size=60).map(
    lambda found: [replace(one, memory_id=f"mem_{number}") for number, one in enumerate(found)]
)
pressures = st.builds(Pressure, used=st.integers(0, 300_000), most=st.sampled_from([0, 200_000]))
ruled = st.builds(
    Rules,
    short_of_agent=st.integers(1, 40), short_of_project=st.integers(1, 60), spare=st.floats(0, 0.5),
    cold=st.floats(0, 1), short_seconds=st.floats(60, 3 * DAY), content_seconds=st.floats(3 * DAY, 10 * DAY),
    high=st.floats(0.5, 1), low=st.floats(0.1, 0.4),
)  # fmt: skip


def one(number: int, **details: Any) -> Candidate:
    """A memory that was used just now."""
    usual: dict[str, Any] = {"tier": Tier.SHORT, "memory_type": MemoryType.SEMANTIC, "importance": 0.5, "last_used": NOW}
    return Candidate(f"mem_{number:04}", **{**usual, **details})


def carried_out(memories: Sequence[Candidate], moves: Sequence[Move], before: Pressure) -> tuple[list[Candidate], Pressure]:
    """The world after a plan: who came down was not used since, and Redis has what was freed."""
    to = {move.memory_id: move.to for move in moves}
    after = [replace(one, tier=to[one.memory_id], used=False) if one.memory_id in to else one for one in memories]
    sign: Mapping[Tier, int] = {Tier.SHORT: 1, Tier.LONG: -1}
    change = sum(one.size * sign[to[one.memory_id]] for one in memories if one.memory_id in to)
    return after, Pressure(before.used + change, before.most)


@given(worlds, pressures, ruled)
def test_a_plan_moves_each_memory_once_with_a_reason_and_never_one_that_is_held(
    memories: list[Candidate], pressure: Pressure, rules: Rules
) -> None:
    """A memory is in one tier before and after; what is in another tier than these two is nobody's business here."""
    moves = plan(memories, NOW, pressure, rules)
    known = {one.memory_id: one for one in memories}
    assert max(Counter(move.memory_id for move in moves).values(), default=1) == 1
    for move in moves:
        memory = known[move.memory_id]
        assert {memory.tier, move.to} == set(TIERS)
        assert not memory.held
        assert (move.reason is Reason.USED) == (move.to is Tier.SHORT)
        assert memory.used or move.to is Tier.LONG
        if move.reason in (Reason.AGED, Reason.AGENT_LIMIT, Reason.PROJECT_LIMIT, Reason.PRESSURE):
            assert move.measured > move.mark
        if move.reason is Reason.COLD:
            assert move.heat == move.measured < move.mark


@given(worlds, pressures, ruled)
def test_a_plan_that_was_carried_out_leaves_nothing_to_plan(
    memories: list[Candidate], pressure: Pressure, rules: Rules
) -> None:
    """Otherwise memories would go down and come back for ever."""
    after, then = carried_out(memories, plan(memories, NOW, pressure, rules), pressure)
    assert plan(after, NOW, then, rules) == []


@given(worlds, pressures, ruled)
def test_limits_hold_afterwards_unless_everything_that_is_left_is_held(
    memories: list[Candidate], pressure: Pressure, rules: Rules
) -> None:
    """Those of each agent, that of the project, and Redis's own."""
    after, then = carried_out(memories, plan(memories, NOW, pressure, rules), pressure)
    short = [one for one in after if one.tier is Tier.SHORT]
    for some, limit in (
        *(([one for one in short if one.agent == agent], rules.short_of_agent) for agent in "ab"),
        (short, rules.short_of_project),
    ):
        assert len(some) <= limit or all(one.held for one in some)
    assert not then.most or then.used <= rules.high * then.most or all(one.held for one in short)


@given(st.permutations([one(number, importance=number % 3 / 3) for number in range(12)]))
def test_a_plan_does_not_depend_on_the_order_of_the_memories(memories: list[Candidate]) -> None:
    """So that two runs over the same memories say the same."""
    rules = Rules(short_of_agent=5)
    assert plan(memories, NOW, Pressure(), rules) == plan(sorted(memories, key=lambda one: one.memory_id), NOW, Pressure(), rules)


def test_limits_are_respected_at_a_size_at_which_they_matter() -> None:
    """The coldest go, and there is some room afterwards."""
    memories = [one(number, importance=number / 20_000) for number in range(20_000)]
    moves = plan(memories, NOW, Pressure(), Rules())
    assert len(moves) == 20_000 - 900
    assert {move.reason for move in moves} == {Reason.AGENT_LIMIT}
    assert max(move.heat for move in moves) < 19_100 / 20_000


@pytest.mark.parametrize(
    ("memory", "pressure", "expected"),
    [
        (one(1), Pressure(), None),
        (one(1, last_used=NOW - 8 * DAY, importance=1.0, accesses=50), Pressure(), Reason.AGED),
        (one(1, last_used=NOW - 2 * DAY, importance=0.1), Pressure(), Reason.COLD),
        (one(1, last_used=NOW - DAY / 2, importance=0.1), Pressure(), None),
        (one(1, last_used=NOW - 2 * DAY, importance=0.1, accesses=5), Pressure(), None),
        (one(1, last_used=NOW - 2 * DAY, importance=0.2, worth=1.0), Pressure(), None),
        (one(1, size=10), Pressure(85, 100), Reason.PRESSURE),
        (one(1, size=10), Pressure(79, 100), None),
        (one(1, size=10, held="pinned", last_used=0), Pressure(99, 100), None),
        (one(1, tier=Tier.LONG, used=True), Pressure(), Reason.USED),
        (one(1, tier=Tier.LONG), Pressure(), None),
        (one(1, tier=Tier.LONG, used=True, size=10), Pressure(65, 100), None),
    ],
)
def test_each_reason(memory: Candidate, pressure: Pressure, expected: Reason | None) -> None:
    """One memory alone under the usual rules."""
    assert [move.reason for move in plan([memory], NOW, pressure, Rules())] == ([expected] if expected else [])


def test_rules_come_by_project_and_are_checked() -> None:
    """A project's own, its tenant's, everybody's; a wrong one is named."""
    configured = {"acme": {"support": {"cold": 0.1}, "*": {"cold": 0.2}}, "*": {"*": {"cold": 0.3}}}
    tiers = load_settings(tiers=configured).tiers
    assert [rules_of(tiers, *place).cold for place in (("acme", "support"), ("acme", "x"), ("b", "c"))] == [0.1, 0.2, 0.3]
    assert rules_of({}, "a", "b") == Rules()
    assert Rules(half_life_seconds={MemoryType.FACT: 60.0}).half_life(MemoryType.FACT) == 60.0
    wrong: list[dict[str, Any]] = [{"high": 0.5, "low": 0.6}, {"content_seconds": 60}, {"colt": 0.1}, {"short_of_agent": 0}]
    for rules in wrong:
        with pytest.raises(ConfigError, match="MEMORYD_TIERS"):
            load_settings(tiers={"acme": {"support": rules}})


def test_pythons_collector_has_nothing_to_do_with_what_a_sweep_holds() -> None:
    """It would stop the daemon to look at each of hundreds of thousands."""
    [move] = plan([one(1, last_used=NOW - 20 * DAY, importance=0.1)], NOW, Pressure(), Rules())
    assert not gc.is_tracked(one(1))
    assert not gc.is_tracked(move)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=30), st.integers(1, 20))
def test_the_sessions_of_an_agent_are_no_more_than_it_may_have_and_the_newest_used_stay(idle: dict[str, float], most: int) -> None:
    gone = resting(idle, most)
    assert len(idle) - len(gone) == min(most, len(idle))
    assert len(set(gone)) == len(gone)
    assert all(idle[one] >= idle[other] for one in gone for other in idle.keys() - set(gone))
    assert resting({one: idle[one] for one in idle.keys() - set(gone)}, most) == []
