"""The judge can fail: each promise, planted broken, is found; and what a killed Redis may undo is not held against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.model import Done, Evidence, Model, Seen
from tests.faults.plan import FAULTS, make_plan

ID = "mem_" + "0a" * 16
TEXT = "tea cnry00000000000000aa"
LATER = "coffee cnry00000000000000bb"


def done(outcome: str, version: int, content: str | None, at: float, **details: Any) -> Done:
    values: dict[str, Any] = {"durability": "hot", "request": f"r{version}", **details}
    return Done(ID, outcome, version, content, at=at, **values)


def told(*history: Done, always: bool = True, kills: tuple[float, ...] = ()) -> Model:
    model = Model(always=always)
    model.kills = list(kills)
    for one in history:
        model.done(one)
    return model


def kept(*contents: str, version: int | None = None, count: int = 0, request: str = "") -> Evidence:
    """Stores that hold the last of these contents, and all of them in the history."""
    newest = Seen(version or len(contents), contents[-1], count, request)
    history = [Seen(number, one) for number, one in enumerate(contents, 1)]
    return Evidence(hot={ID: newest}, archived={ID: newest}, versions={ID: history})


def forgotten() -> Evidence:
    return Evidence(hot={}, archived={ID: Seen(2, None)}, versions={})


STORED = done("stored", 1, TEXT, at=1)
UPDATED = done("updated", 2, LATER, at=2)
FORGOTTEN = done("forgotten", 2, None, at=2)


def words(wrong: list[str]) -> set[str]:
    return {one.partition(":")[0] for one in wrong}


@pytest.mark.parametrize(
    ("history", "evidence"),
    [((STORED,), kept(TEXT)), ((STORED, UPDATED), kept(TEXT, LATER)), ((STORED, FORGOTTEN), forgotten())],
)
def test_what_is_as_it_was_acknowledged_passes(history: tuple[Done, ...], evidence: Evidence) -> None:
    assert told(*history).judge(evidence) == []


def test_what_a_person_did_in_mongodb_must_stand() -> None:
    """Whatever version memoryd has given it; of two changes at once only the last has one."""
    by_hand = {"durability": "archived", "request": ""}
    once, again = done("edited", 0, "milk cnry00000000000000cc", 2, **by_hand), done("edited", 0, LATER, 3, **by_hand)
    deleted = done("deleted", 0, None, 4, **by_hand)

    assert told(STORED, once, again).judge(kept(TEXT, LATER)) == []
    assert words(told(STORED, once, again).judge(kept(TEXT, once.content or ""))) == {"lost"}
    assert told(STORED, again, deleted).judge(forgotten()) == []
    assert words(told(STORED, again, deleted).judge(kept(TEXT, LATER))) == {"resurrected"}


def test_what_was_seen_while_the_archive_was_on_its_way_acknowledges_nothing() -> None:
    """Redis lost its last second, the owner saw the version before, and MongoDB had the later one (seed 601050)."""
    archived = done("updated", 2, LATER, at=2, durability="archived")
    model = told(STORED, archived, always=False, kills=(2.5,))
    model.seen(ID, 1, TEXT)
    assert model.judge(kept(TEXT, LATER)) == []
    assert "lost" in words(model.judge(kept(TEXT)))

    model.seen(ID, 3, TEXT)
    assert "lost" in words(model.judge(kept(TEXT, LATER)))


@pytest.mark.parametrize("store", ["hot", "archived", "versions"])
def test_a_loss_in_any_store_is_found(store: str) -> None:
    evidence = kept(TEXT)
    setattr(evidence, store, {})
    assert words(told(STORED).judge(evidence)) == {"lost"}


def test_an_update_that_is_gone_is_found() -> None:
    assert "lost" in words(told(STORED, UPDATED).judge(kept(TEXT)))


def test_a_version_that_is_only_missing_from_the_history_is_found() -> None:
    evidence = replace(kept(TEXT, LATER), versions={ID: [Seen(2, LATER)]})
    assert words(told(STORED, UPDATED).judge(evidence)) == {"lost"}


@pytest.mark.parametrize("store", ["hot", "archived"])
def test_a_resurrection_in_any_store_is_found(store: str) -> None:
    evidence = forgotten()
    setattr(evidence, store, {ID: Seen(1, TEXT)})
    assert words(told(STORED, FORGOTTEN).judge(evidence)) == {"resurrected"}


def test_a_forgotten_text_in_any_byte_is_found() -> None:
    evidence = forgotten()
    evidence.canaries = {"cnry00000000000000aa": "MongoDB: versions"}
    assert words(told(STORED, FORGOTTEN).judge(evidence)) == {"resurrected"}


def test_a_forgotten_text_that_was_stored_again_may_be_there() -> None:
    again = done("stored", 3, TEXT, at=3)
    seen = Seen(3, TEXT)
    evidence = Evidence({ID: seen}, {ID: seen}, {ID: [seen]}, canaries={"cnry00000000000000aa": "Redis: aether:memory"})
    assert told(STORED, FORGOTTEN, again).judge(evidence) == []


@pytest.mark.parametrize("kills", [(), (1.5,)])
def test_a_request_with_two_effects_is_found(kills: tuple[float, ...]) -> None:
    """Also where Redis was killed: a repeat meets what the archive has kept."""
    one = Seen(1, TEXT, request="r1")
    evidence = replace(kept(TEXT, request="r1"), hot={ID: one, "mem_twin": one})
    assert words(told(STORED, always=False, kills=kills).judge(evidence)) == {"duplicated"}


def test_a_version_that_counts_a_request_twice_is_found() -> None:
    assert words(told(STORED, UPDATED).judge(kept(TEXT, LATER, version=3))) == {"duplicated"}


@pytest.mark.parametrize(("count", "word"), [(0, "lost"), (2, "duplicated")])
def test_a_wrong_count_of_repetitions_is_found(count: int, word: str) -> None:
    history = [replace(STORED, shared=True), done("reinforced", 1, TEXT, at=2, shared=True, request="again")]
    assert words(told(*history).judge(kept(TEXT, count=count))) == {word}


def test_a_read_that_goes_back_is_found() -> None:
    model = told(STORED, UPDATED)
    model.read(ID, 1, began=2.5, at=2.6)
    assert words(model.judge(kept(TEXT, LATER))) == {"regression"}


def test_a_read_that_began_before_the_write_may_see_the_old() -> None:
    model = told(STORED, UPDATED)
    model.read(ID, 1, began=1.9, at=2.6)
    assert model.judge(kept(TEXT, LATER)) == []


def test_a_memory_that_its_owner_does_not_find_is_found() -> None:
    model = told(STORED)
    model.missing(ID, began=2)
    assert words(model.judge(kept(TEXT))) == {"lost"}


def test_whatever_else_is_wrong_is_reported() -> None:
    assert told(STORED).judge(replace(kept(TEXT), other=["dead letter: archive"])) == ["dead letter: archive"]


# --- what a killed Redis may undo ---------------------------------------------------------------------------------------
NOTHING = Evidence(hot={}, archived={}, versions={})


def test_with_everysec_a_hot_write_just_before_the_kill_may_be_lost() -> None:
    assert told(STORED, always=False, kills=(1.5,)).judge(NOTHING) == []


@pytest.mark.parametrize(
    ("always", "durability", "kill"),
    [(True, "hot", 1.5), (False, "fsync", 1.5), (False, "archived", 1.5), (False, "hot", 9)],
)
def test_no_other_write_may_be_lost_by_a_kill(always: bool, durability: str, kill: float) -> None:
    model = told(replace(STORED, durability=durability), always=always, kills=(kill,))
    assert words(model.judge(NOTHING)) == {"lost"}


def test_with_everysec_a_forget_just_before_the_kill_may_be_undone() -> None:
    kills = (2.5,)
    early = replace(STORED, at=-9)
    assert told(early, FORGOTTEN, always=False, kills=kills).judge(kept(TEXT)) == []
    assert told(early, FORGOTTEN, always=False, kills=kills).judge(forgotten()) == []


# --- the plan -----------------------------------------------------------------------------------------------------------
def test_a_seed_always_makes_the_same_plan() -> None:
    assert make_plan(7) == make_plan(7)
    assert make_plan(7) != make_plan(8)
    assert make_plan(7).random("a client").random() == make_plan(7).random("a client").random()


def test_every_fault_is_met_in_two_hundred_seeds() -> None:
    """Of twelve shapes, some of which have three members of MongoDB."""
    met = {fault.kind for seed in range(200) for fault in make_plan(seed).faults}
    assert met == set(FAULTS)


def test_neighbouring_seeds_share_a_shape() -> None:
    assert len({make_plan(seed).shape for seed in range(8)}) == 1
    assert len({make_plan(seed).shape for seed in range(200)}) > 4
