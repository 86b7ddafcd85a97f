"""How much two texts have in common, word for word, and which memories may be one. Pure.

A text is its words and signs in their order; a shingle is three of them in a row. The overlap of two texts is the share of all
their shingles that both have (Jaccard): 1 is the same text, and one other word in the middle of twenty takes it to about 0.7.
Nearness in meaning plays no part here: "he moves in" and "he moves out" are near.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from unicodedata import normalize

from memoryd.limits import DUPLICATES_GROUP_MAX
from memoryd.model.episode import event_of
from memoryd.model.fact import FACT
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.summary import is_summary

SHINGLE = 3  # words: two meet by chance in texts about one thing, four let a short text have none
_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIGIT = re.compile(r"\d")
_ENDS = " \t\n.!;,…"  # a sentence is the same with a full stop and without one; with a question mark it asks


class Overlaps:
    """The overlaps of some memories' texts; each text is taken apart once."""

    def __init__(self, memories: Mapping[str, Memory]) -> None:
        self._memories = memories
        self._known: dict[str, tuple[frozenset[tuple[str, ...]], list[str]]] = {}

    def of(self, one: str, other: str) -> float:
        """0 to 1. Texts with different numbers are about different things, however much else they share: 0."""
        (left, numbers), (right, others) = self._parts(one), self._parts(other)
        return len(left & right) / len(left | right) if numbers == others else 0.0

    def _parts(self, memory_id: str) -> tuple[frozenset[tuple[str, ...]], list[str]]:
        if memory_id not in self._known:
            words = _words(self._memories[memory_id])
            shingles = [tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))]
            self._known[memory_id] = frozenset(shingles), sorted(word for word in words if _DIGIT.search(word))
        return self._known[memory_id]


def _words(one: Memory) -> list[str]:
    """Its words and signs. How something is done may be code, in which case matters: `A` and `a` are two names there."""
    text = normalize("NFC", one.content).rstrip(_ENDS)
    return _TOKEN.findall(text if one.memory_type is MemoryType.PROCEDURAL else text.casefold())


def may_repeat(one: Memory) -> bool:
    """Whether a memory can be a duplicate at all: two equal events are two, and a triple, an event of a log and a summary are
    what they are by more than their text."""
    structured = event_of(one) is not None or FACT in one.metadata or is_summary(one)
    return one.memory_type.dedups and one.tier is not Tier.ARCHIVE and not one.pending and not structured


def of_one_kind(one: Memory, other: Memory) -> bool:
    """Whether two memories belong to the same scope, are of the same type, are seen by the same agents and true as long."""
    return _place(one) == _place(other)


def _place(one: Memory) -> tuple[object, ...]:
    return one.scope, one.memory_type, frozenset(one.shared_with), one.valid_until


def groups_of(
    looked_at: Sequence[str], near: Mapping[str, Sequence[str]], memories: Mapping[str, Memory], overlap_min: float
) -> Iterator[tuple[list[Memory], Overlaps]]:
    """Groups among the `memories`, each told where its lowest id is looked at, and none in two of them.

    `near` are each one's nearest by meaning. In a group every text overlaps with every other: of three where only neighbours
    do, two are a group, and the third meets what became of them the next time.
    """
    overlaps, taken = Overlaps(memories), set[str]()
    for one in sorted(looked_at):
        alike = {
            other: overlap
            for other in near[one]
            if other != one and other in memories and of_one_kind(memories[one], memories[other])
            if (overlap := overlaps.of(one, other)) >= overlap_min
        }
        if one in taken or min(alike, default=one) < one:
            continue
        group = [one]
        for other in sorted(alike.keys() - taken, key=lambda other: (-alike[other], other)):
            if len(group) < DUPLICATES_GROUP_MAX and all(overlaps.of(other, member) >= overlap_min for member in group):
                group.append(other)
        taken |= set(group)
        if len(group) > 1:
            yield [memories[member] for member in group], overlaps


def first_and_others(group: Sequence[Memory]) -> tuple[Memory, list[Memory]]:
    """The survivor, and the others in the order in which they were said. It is the one that was said first, so that what is
    written over it is newer; of a merge that was cut off, the one that has taken another's text already."""

    def taken_in(one: Memory) -> bool:
        return any(other.id in one.derived_from and other.content_hash == one.content_hash for other in group)

    first, *others = sorted(group, key=lambda one: (not taken_in(one), one.recorded_at, one.id))
    return first, sorted(others, key=lambda one: (one.recorded_at, one.id))


def objection(group: Sequence[Memory], pin_tags: Sequence[str]) -> str:
    """Why people should merge them, if anybody; empty when nothing speaks against it."""
    if any(set(one.tags) & set(pin_tags) for one in group):
        return "one of them is pinned, and what is pinned never moves"
    if any(one.metadata != other.metadata for one, other in combinations(group, 2)):
        return "what is said of them in their metadata differs"
    return ""
