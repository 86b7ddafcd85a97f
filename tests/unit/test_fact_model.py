"""What saying a fact does to those that are known, as a pure decision: whatever comes in whatever order, nothing contradicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from memoryd.model.fact import FACT, NewFact, fact_fields, found_by, holds, planned, settled, to_metadata
from memoryd.model.memory import Memory, MemoryType, NewMemory
from memoryd.model.scope import Scope
from memoryd.storing import born

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = [START + timedelta(days=n) for n in range(8)]
SAYINGS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.one_of(st.none(), st.integers(1, 3)), st.booleans()), max_size=12
)


def as_memory(number: int, new: NewFact, start: datetime, until: datetime | None) -> Memory:
    given = NewMemory(content=new.object, type=MemoryType.FACT, metadata={FACT: to_metadata(new)})
    fresh = born(f"mem_{number:032x}", Scope("t", "p"), given, START)
    return replace(fresh, version=1, valid_from=start, valid_until=until)


@given(SAYINGS)
def test_at_every_moment_one_object_holds_unless_there_are_many(sayings: list[tuple[str, int, int | None, bool]]) -> None:
    """And what was said last about a moment is what holds then."""
    known: dict[str, Memory] = {}
    alone = True
    for number, (object_, day, length, many) in enumerate(sayings):
        start = DAYS[day]
        new = NewFact(
            subject="s", predicate="p", object=object_, many=many, valid_from=start,
            valid_until=start + timedelta(days=length) if length else None,
        )  # fmt: skip
        alone = alone and not many
        plan = planned(list(known.values()), new, start)
        if settled(list(known.values()), new, start):
            assert plan == planned([one for one in known.values() if one.valid_from <= start], new, start)
        for change in plan.changes:
            known[change.memory.id] = replace(change.memory, **change.values)
        if plan.known is None:
            fact = as_memory(number, new, start, plan.until)
            known[fact.id] = fact
        then = [one.content for one in known.values() if holds(one, start)]
        assert object_ in then
        assert many or then == [object_]
        for moment in DAYS:
            held = [one.content for one in known.values() if holds(one, moment)]
            assert len(held) == len(set(held)), "one object holds twice"
            assert not alone or len(held) <= 1


def test_all_ways_to_write_a_part_are_one() -> None:
    """Case, spaces, underscores and composed letters; nothing is empty, and what is long has a digest."""
    assert found_by(" Lives  In ") == found_by("lives_in") == "lives in"
    assert found_by("Caf\u0065\u0301") == found_by("CAFÉ")
    assert found_by("_") == "_"
    assert len(found_by("x" * 5000)) == 64
    assert found_by("x" * 5000) != found_by("x" * 5001)


def test_metadata_that_only_looks_like_a_fact_does_no_harm() -> None:
    """People edit metadata by hand."""
    assert fact_fields({"fact": "water is wet"}) == {}
    assert fact_fields({"fact": {"find": 3, "confidence": "much"}}) == {"confidence": 1.0}
    assert fact_fields({"fact": {"find": {"subject": 1, "object": "a b"}, "confidence": 0.5}}) == {
        "object": "a%20b", "confidence": 0.5,
    }  # fmt: skip
