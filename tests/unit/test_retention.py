"""What is forgotten by policy: for whatever memories there are, nothing that is pinned or held, and no more than is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.config import load_settings
from memoryd.errors import ConfigError
from memoryd.lifecycle.retention import Aging, Due, Planning, Reason, plan
from memoryd.model.memory import MemoryType
from memoryd.model.retention import Retention, retention_of

agings = st.builds(
    Aging,
    memory_id=st.just(""),
    memory_type=st.sampled_from(MemoryType),
    agent=st.sampled_from(["a", "b", "c"]),
    age=st.floats(0, 1_000),
    heat=st.sampled_from([0.0, 0.1, 0.1, 0.5]) | st.floats(0, 2),
    kept=st.sampled_from([False, False, True]),
)
worlds = st.lists(agings, max_size=60).map(
    lambda found: [replace(one, memory_id=f"mem_{number:04}") for number, one in enumerate(found)]
)
ruled = st.builds(
    Retention,
    max_age_seconds=st.dictionaries(st.sampled_from(MemoryType), st.floats(1, 1_000), max_size=2),
    floor=st.none() | st.floats(0.01, 1),
    keep_of_agent=st.none() | st.integers(1, 20),
    keep_of_project=st.none() | st.integers(1, 40),
)


def one(number: int, **details: Any) -> Aging:
    """A warm, new memory."""
    usual: dict[str, Any] = {"memory_type": MemoryType.SEMANTIC, "agent": "a", "age": 0.0, "heat": 1.0, "kept": False}
    return Aging(f"mem_{number:04}", **{**usual, **details})


def without(memories: Sequence[Aging], due: Sequence[Due]) -> list[Aging]:
    """What is left when a plan is carried out."""
    gone = {one.memory_id for one in due}
    return [one for one in memories if one.memory_id not in gone]


@given(worlds, ruled)
def test_what_is_pinned_or_held_is_never_due_and_nothing_is_due_twice_or_without_a_reason(
    memories: list[Aging], rules: Retention
) -> None:
    """Whatever the rules are."""
    due = plan(memories, rules)
    known = {one.memory_id: one for one in memories}
    assert max(Counter(one.memory_id for one in due).values(), default=1) == 1
    for verdict in due:
        assert not known[verdict.memory_id].kept
        if verdict.reason is Reason.COLD:
            assert verdict.measured == known[verdict.memory_id].heat < verdict.mark == rules.floor
        else:
            assert verdict.measured > verdict.mark
    assert due == [] or rules.forgets


@given(worlds, ruled, st.integers(1, 70))
def test_a_plan_that_was_carried_out_leaves_nothing_to_plan(memories: list[Aging], rules: Retention, most: int) -> None:
    """However small its parts are; and all parts together forget what one would."""
    whole, left, parts = plan(memories, rules, most=1_000), memories, 0
    while part := plan(left, rules, most=most):
        assert len(part) <= most
        left, parts = without(left, part), parts + 1
        assert parts <= len(memories)
    assert {one.memory_id for one in left} == {one.memory_id for one in without(memories, whole)}
    assert plan(without(memories, whole), rules) == []


@given(worlds, ruled)
def test_limits_hold_afterwards_unless_everything_that_is_left_must_stay(memories: list[Aging], rules: Retention) -> None:
    """And the best are what is left: nothing that went for a budget was warmer than what stayed beside it."""
    due = plan(memories, rules)
    left = without(memories, due)
    for some, limit in (
        *(([one for one in left if one.agent == agent], rules.keep_of_agent) for agent in "abc"),
        (left, rules.keep_of_project),
    ):
        assert limit is None or len(some) <= limit or all(one.kept for one in some)
    heat = {one.memory_id: one.heat for one in memories}
    agent = {one.memory_id: one.agent for one in memories}
    for verdict in due:
        anyones = verdict.reason is Reason.PROJECT_LIMIT
        beside = [one for one in left if not one.kept and (anyones or one.agent == agent[verdict.memory_id])]
        if verdict.reason in (Reason.AGENT_LIMIT, Reason.PROJECT_LIMIT):
            assert all(heat[verdict.memory_id] <= one.heat for one in beside)
    for stays in left:
        assert stays.kept or stays.age <= rules.max_age_seconds.get(stays.memory_type, stays.age)
        assert stays.kept or rules.floor is None or stays.heat >= rules.floor


@given(worlds, ruled, st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_the_memories(memories: list[Aging], rules: Retention, random: Any) -> None:
    """The two stores give them in orders of their own."""
    mixed = random.sample(memories, len(memories))
    assert sorted(plan(mixed, rules), key=lambda one: one.memory_id) == sorted(plan(memories, rules), key=lambda one: one.memory_id)


def test_budgets_hold_at_a_size_at_which_they_matter() -> None:
    """The coldest go; in parts, where one plan does not hold them all."""
    memories = [one(number, heat=(number * 7919 % 20_000) / 20_000, agent=str(number % 7)) for number in range(20_000)]
    rules = Retention(keep_of_project=1_000)
    due = plan(memories, rules)
    assert len(due) == 19_000
    assert {one.reason for one in due} == {Reason.PROJECT_LIMIT}
    assert {one.heat for one in without(memories, due)} == {number / 20_000 for number in range(19_000, 20_000)}
    assert len(plan(memories, rules, most=500)) == 500


def test_what_others_forget_between_the_two_looks_is_not_forgotten_twice() -> None:
    """Otherwise less than the budget would be left."""
    memories = [one(number, heat=number / 100) for number in range(20)]
    planning = Planning(Retention(keep_of_agent=12, keep_of_project=11))
    for memory in memories:
        planning.count(memory)
    assert planning.allot(100) == 91
    for memory in memories[6:]:
        planning.choose(memory)
    assert [one.memory_id for one in planning.due()] == ["mem_0006", "mem_0007", "mem_0008"]
    assert not planning.cut


@pytest.mark.parametrize(
    ("memory", "rules", "expected"),
    [
        (one(1, age=100, memory_type=MemoryType.EPISODIC), {"max_age_seconds": {"episodic": 99}}, Reason.AGED),
        (one(1, age=100), {"max_age_seconds": {"episodic": 99}}, None),
        (one(1, age=99, memory_type=MemoryType.EPISODIC), {"max_age_seconds": {"episodic": 99}}, None),
        (one(1, heat=0.009), {"floor": 0.01}, Reason.COLD),
        (one(1, heat=0.01), {"floor": 0.01}, None),
        (one(1, heat=0.0, age=1e9, kept=True), {"floor": 0.01, "max_age_seconds": {"semantic": 1}}, None),
        (one(1, heat=0.0, age=1e9), {}, None),
    ],
)
def test_each_reason(memory: Aging, rules: dict[str, Any], expected: Reason | None) -> None:
    """One memory alone."""
    assert [one.reason for one in plan([memory], Retention(**rules))] == ([expected] if expected else [])


def test_nothing_is_forgotten_unless_it_is_configured_and_a_wrong_rule_is_named() -> None:
    """A project's own rules, its tenant's, everybody's; a project that says nothing is spared."""
    assert load_settings().retention == {}
    configured = load_settings(
        retention={"acme": {"support": {"floor": 0.1}, "legal": {}, "*": {"floor": 0.2}}, "*": {"*": {"keep_of_agent": 3}}}
    ).retention
    found = [retention_of(configured, *place) for place in (("acme", "support"), ("acme", "x"), ("b", "c"))]
    assert [rules and (rules.floor, rules.keep_of_agent) for rules in found] == [(0.1, None), (0.2, None), (None, 3)]
    assert retention_of(configured, "acme", "legal") is None
    assert retention_of({"acme": {"support": Retention(floor=0.1)}}, "acme", "other") is None
    wrong: list[dict[str, Any]] = [
        {"floor": 0}, {"floor": 2}, {"flor": 0.1}, {"keep_of_agent": 0}, {"max_age_seconds": {"episodes": 1}},
        {"max_age_seconds": {"episodic": 0}}, {"hold_tags": [""]}, {"keep_of_project": "many"},
    ]  # fmt: skip
    for rules in wrong:
        with pytest.raises(ConfigError, match="MEMORYD_RETENTION"):
            load_settings(retention={"acme": {"support": rules}})
