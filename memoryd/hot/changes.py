"""What is asked of a record in Redis, and what came of it: the arguments and answers of the atomic steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from memoryd.hot.codec import SLOTS
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.record import Record, Tombstone, seal
from memoryd.model.scope import Scope


@dataclass(frozen=True)
class Request:
    """What makes a write repeatable and traceable: its id, a fingerprint of what it asks, its trace, who asked, and when it
    came to Redis, by Redis's clock in microseconds (0: now)."""

    id: str
    fingerprint: str
    traceparent: str = ""
    client: str = ""
    asked_at: int = 0


@dataclass(frozen=True)
class Written:
    """What an atomic step did. `outcome` is the script's first word; the rest is empty where it does not apply."""

    outcome: str
    id: str = ""
    version: int = 0
    entry: str = ""
    replayed: bool = False
    entries_removed: int = 0
    forgotten_at: int = 0
    was_here: bool = False
    """Of a forget: whether Redis had the record."""

    @classmethod
    def parse(cls, raw: Any) -> Written:
        """From a script's answer."""
        words = [part.decode() if isinstance(part, bytes) else part for part in raw]
        outcome = str(words[0])
        if outcome == "conflict":
            return cls(outcome, version=int(words[1]))
        if len(words) == 1:
            return cls(outcome)
        words += [""] * (8 - len(words))
        removed, forgotten_at, here = (int(word or 0) for word in words[5:])
        return cls(
            outcome, words[1], int(words[2]), words[3], words[4] == "replayed", removed, forgotten_at, bool(here)
        )


@dataclass(frozen=True)
class NewRecord:
    """One memory to store: not yet decided whether it is new."""

    memory: Memory
    dedups: bool
    request: Request
    archived_version: int | None = None
    """The version that the archive holds: None before it was asked, 0 when it holds none."""


@dataclass(frozen=True)
class Sighting:
    """What Redis knows of an id: whether it is the arrival's own, and whether the archive would have to say that."""

    here: bool
    perhaps_archived: bool
    buried: int
    """The version at which it was forgotten; 0 when it was not. What the archive has above it was stored again."""


@dataclass(frozen=True)
class Doomed:
    """A memory that is to be forgotten: what it is, where it is stored, and what only the archive may know of it."""

    memory_id: str
    memory_type: MemoryType
    scope: Scope
    inside: Scope
    """A record that is not in here by now stays."""
    request: Request
    archived_version: int = 0
    """The version that the archive holds; 0 when it holds none, or need not be asked because Redis has the record."""
    content_hash: str = ""
    said_before: int = 0
    """Only what was said here, and before this (microseconds, by Redis's clock); 0: whatever it is."""


@dataclass(frozen=True)
class Judgement:
    """What is said of a memory: how much for it and against it. `verdict` names who says it (one recall, one session)."""

    memory_id: str
    kind: str
    verdict: str
    useful: float
    useless: float


@dataclass(frozen=True)
class Attached:
    """A vector for a memory: of which content, by which model. `followed_by`: which events after it the vector has read, as ids
    with commas, of the `turns_after` that vectors of this model read."""

    content_hash: str
    model: str
    context: int
    vector: bytes
    scope: Scope
    traceparent: str
    slot: str = SLOTS[0]
    """Where a record has the vectors of this model."""
    followed_by: str = ""
    turns_after: int = 0


@dataclass(frozen=True)
class Heard:
    """What an event of a session is told of those after it: one is `gone`, or says something else; or one has come. `under_way`:
    the vector that it may wait for is about to be made."""

    traceparent: str
    gone: bool = False
    under_way: bool = False


@dataclass(frozen=True)
class Projection:
    """What the archive holds of one memory, on its way here.

    With `tombstone`, the record's memory gives the place only. `foreign` journals it, so that it is embedded here;
    `moved` journals it as a change of its tier. `away`: it belongs to the archive only. `whole`: its content is wanted here,
    also where its tier keeps it in the archive.
    A follower gives the `fence` of its lease: a newer one shuts it out. `adopted`: it was inserted there by hand, and has
    yet to find its place among the events of its session. `archived`: the archive has this version as it is, in its history
    too, so that a journal entry of it is for other followers only. `copied`: all that the archive has comes, in no order; whoever
    brings it puts the sessions in order afterwards.
    """

    record: Record
    tombstone: Tombstone | None = None
    foreign: bool = False
    traceparent: str = ""
    fence: int | None = None
    adopted: bool = False
    moved: bool = False
    whole: bool = False
    archived: bool = False
    copied: bool = False

    @property
    def light_seal(self) -> str:
        """What a light record of it has for a content; empty when it must be whole here."""
        light = not self.whole and self.tombstone is None and self.record.vector is not None
        return seal(self.record.memory) if light and self.record.memory.tier is Tier.LONG else ""

    @property
    def away(self) -> bool:
        """Whether it must not come here when it is not here."""
        return self.record.memory.tier is Tier.ARCHIVE

    @property
    def journal_as(self) -> str:
        """The journal's word for it; empty when it is not journaled."""
        return "moved" if self.moved else "updated" if self.foreign else ""


def fitted(record: Record, model: str) -> tuple[Record, bool]:
    """`record` as an index of `model`'s vectors takes it, and whether the journal has to bring it a vector of its own.

    Another model's vector would put the memory out of the index, its words included, or stand among strangers. And one
    without a vector may have lost the journal entry that would have brought it, with the Redis that held it.
    """
    if record.memory.embedding_model == model:
        return record, False
    return Record(record.memory), bool(model)


def brought_back(record: Record, model: str) -> Projection:
    """What only the archive has of a memory, on its way back because it is used.

    One that was archived lives hot again, as a version of its own; its vector is made anew, because the archive's is less exact.
    """
    memory = record.memory
    if memory.tier is not Tier.ARCHIVE:
        fit, unembedded = fitted(record, model)
        return Projection(fit, foreign=unembedded, whole=True)
    hot = msgspec.structs.replace(memory, tier=Tier.SHORT, version=memory.version + 1, embedding_model="")
    return Projection(Record(hot), moved=True)
