"""Which texts say nearly the same, word for word; no server is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from memoryd.lifecycle.overlap import Overlaps, first_and_others, groups_of, may_repeat, objection, of_one_kind
from memoryd.limits import DUPLICATES_GROUP_MAX
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory, MemoryType, Tier

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG = "the house on elm street has a red door and a garden in which the neighbours grow beans and roses"


def memory(number: int, content: str = LONG, **fields: Any) -> Memory:
    """A memory that was said `number` seconds after noon."""
    at = NOON + timedelta(seconds=number)
    usual = {
        "id": f"mem_{number:032x}", "tenant": "acme", "project": "support", "agent_id": "scout",
        "memory_type": MemoryType.SEMANTIC, "content": content, "content_hash": hash_content(content), "importance": 0.5,
        "created_at": at, "last_accessed": at, "version": 1, "valid_from": at, "recorded_at": at, "embedding_model": "m",
    }  # fmt: skip
    return Memory(**{**usual, **fields})


def overlap(one: str, other: str, memory_type: MemoryType = MemoryType.SEMANTIC) -> float:
    """Of two texts."""
    both = {str(number): memory(number, text, memory_type=memory_type) for number, text in enumerate((one, other))}
    return Overlaps(both).of("0", "1")


def grouped(*memories: Memory, overlap_min: float = 0.8) -> list[set[str]]:
    """The texts of each group, when each memory is near every other."""
    known = {one.id: one for one in memories}
    near = {key: list(known) for key in known}
    return [{one.content for one in group} for group, _ in groups_of(list(known), near, known, overlap_min)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada prefers tea to coffee", "ada prefers tea to coffee."),
        ("Ada prefers  tea\nto coffee", "Ada prefers tea to coffee!"),
        ("Andre\u0301 likes tea", "Andr\u00e9 likes tea"),
    ],
)
def test_case_spaces_and_the_end_of_a_sentence_make_no_other_text(one: str, other: str) -> None:
    """Dedup to the letter keeps these apart."""
    assert overlap(one, other) == 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("he moves in on Friday", "he moves out on Friday"),  # near in meaning, and the contrary
        (f"{LONG} since 1987", f"{LONG} since 1988"),
        (f"{LONG} for 5 euros", f"{LONG} for five euros"),
        ("tea", "coffee"),
        ("!", "?"),
    ],
)
def test_another_word_or_another_number_is_another_text(one: str, other: str) -> None:
    """However much else they share: a number says what it is about."""
    assert overlap(one, other) < 0.5


def test_a_word_in_the_middle_counts_by_the_length_of_the_text() -> None:
    """Three runs of three words have it; what is left of all runs is the overlap."""
    assert overlap(LONG, LONG.replace("red", "blue")) == pytest.approx(15 / 21)
    assert overlap(LONG, f"{LONG} too") == pytest.approx(18 / 19)


def test_in_a_procedure_case_and_signs_count() -> None:
    """`x > A` is another program than `x < a`."""
    assert overlap("run it if A is set", "run it if a is set", MemoryType.PROCEDURAL) < 0.5
    assert overlap("run it if x > y and go on", "run it if x < y and go on") < 0.6


@pytest.mark.parametrize(
    "other",
    [
        {"agent_id": "other"}, {"session_id": "s1"}, {"project": "sales"}, {"tenant": "other"}, {"shared_with": ["other"]},
        {"memory_type": MemoryType.FACT}, {"valid_until": NOON},
    ],
)  # fmt: skip
def test_only_what_belongs_to_the_same_place_is_compared(other: dict[str, Any]) -> None:
    """Nothing crosses a scope, whatever it says."""
    assert not of_one_kind(memory(1), memory(2, **other))
    assert grouped(memory(1), memory(2, **other)) == []
    assert grouped(memory(1), memory(2)) == [{LONG}]


@pytest.mark.parametrize(
    "other",
    [
        {"memory_type": MemoryType.EPISODIC}, {"tier": Tier.ARCHIVE}, {"embedding_model": ""}, {"metadata": {"fact": {}}},
        {"tags": ["summary"], "source_tool": "compress"},
    ],
)  # fmt: skip
def test_what_is_more_than_its_text_repeats_nothing(other: dict[str, Any]) -> None:
    """Two equal events are two; a triple and a summary are told by what they are."""
    assert may_repeat(memory(1))
    assert not may_repeat(memory(1, **other))


def test_in_a_group_every_text_overlaps_with_every_other() -> None:
    """A chain, in which only neighbours do, is no group as a whole."""
    a, b, c = LONG, f"{LONG} and lilies and peas", f"{LONG} and lilies and peas and leeks and chard"
    assert (overlap(a, b) >= 0.8, overlap(b, c) >= 0.8, overlap(a, c) >= 0.8) == (True, True, False)
    assert grouped(memory(1, a), memory(2, b), memory(3, c)) == [{a, b}]
    many = [memory(number, f"{LONG} {word}") for number, word in enumerate("abcdefghijkl", 1)]
    assert [len(group) for group in grouped(*many)] == [DUPLICATES_GROUP_MAX]


def test_the_one_that_was_said_first_survives_and_the_newest_text_comes_last() -> None:
    """But one that has taken another's text in already goes on with it: a merge was cut off."""
    a, b, c = memory(3, "a"), memory(1, "b"), memory(2, "c")
    assert first_and_others([a, b, c]) == (b, [c, a])
    begun = memory(9, "b", derived_from=[b.id])
    assert first_and_others([b, begun]) == (begun, [b])
    told = memory(9, "d", derived_from=[b.id])  # somebody has said so; its text is another
    assert first_and_others([b, told]) == (b, [told])


def test_what_is_pinned_or_said_of_them_speaks_against_a_merge() -> None:
    """A person may still merge them by hand."""
    assert objection([memory(1), memory(2)], ["pinned"]) == ""
    assert "pinned" in objection([memory(1), memory(2, tags=["pinned"])], ["pinned"])
    assert "metadata" in objection([memory(1, metadata={"speaker": "Ada"}), memory(2, metadata={"speaker": "Ben"})], [])
