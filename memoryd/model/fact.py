"""A triple: a fact that says of which subject it says what, since when, until when, and how surely.

It is a memory of type `fact`; what makes it a triple is the name `fact` of its metadata. `find` in there is what it is found
by: the three parts in one form for all ways to write them. The index has these as fields of their own (`fact_fields`).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import FACT_NAME_BYTES_MAX, FACT_OBJECT_BYTES_MAX
from memoryd.model.memory import Durability, Importance, Memory, in_utc
from memoryd.model.scope import Scope, check_unicode, to_tag

FACT = "fact"
PARTS = ("subject", "predicate", "object")
FIELDS = (*PARTS, "confidence")  # of the index, beside a memory's

Confidence = Annotated[float, msgspec.Meta(ge=0, le=1)]


class NewFact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives to `fact.put`."""

    subject: str
    predicate: str
    object: str
    confidence: Confidence = 1.0
    many: bool = False
    text: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    session: str | None = None
    importance: Importance = 0.5
    tags: list[str] = []
    source_tool: str = ""
    derived_from: list[str] = []


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One triple, and how far it holds."""

    id: str
    subject: str
    predicate: str
    object: str
    confidence: float
    text: str
    valid_from: datetime
    valid_until: datetime | None
    recorded_at: datetime
    version: int
    agent: str
    session: str
    importance: float
    tags: list[str]
    source_tool: str
    derived_from: list[str]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a search of facts found."""

    facts: list[Fact]
    degraded: str = ""
    """Why something was not searched; empty when all was."""


class Believed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a fact that was said, and which it has ended."""

    id: str
    version: int
    outcome: str
    """stored, updated (its confidence or its end is another), or reinforced (it was known)."""
    ended: list[str]
    """The facts whose validity it closed."""
    durability: Durability = Durability.HOT
    replayed: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that hold no longer."""

    ended: list[str]


@dataclass(frozen=True)
class FactFilter:
    """What narrows a search of facts beyond its scope; empty and None mean all. Times in microseconds since 1970."""

    subject: str = ""
    predicate: str = ""
    object: str = ""
    at: int | None = None
    confidence_min: float = 0.0

    def parts(self) -> dict[str, str]:
        """The parts that are given, as they are found by."""
        return {name: found_by(text) for name in PARTS if (text := getattr(self, name))}


@dataclass(frozen=True)
class Change:
    """What another fact makes of one that is known: the values of its memory that are new."""

    memory: Memory
    values: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What saying a fact does: the memory that says it already, or until when the new one holds; and what it changes."""

    known: Memory | None = None
    until: datetime | None = None
    changes: list[Change] = field(default_factory=list)


def check_fact(new: NewFact) -> NewFact:
    """This with its times in UTC, if its parts can be told apart and found again. Raises BadRequest that names the field."""
    check_parts(new.subject, new.predicate, new.object)
    check_confidence("confidence", new.confidence)
    times = {name: in_utc(name, moment) for name in ("valid_from", "valid_until") if (moment := getattr(new, name))}
    return msgspec.structs.replace(new, **times)


def check_confidence(field: str, value: float) -> None:
    """Raises BadRequest unless it is a number from 0 to 1."""
    if not 0 <= value <= 1:  # not a number is not, either
        raise BadRequest(f"{field}: is no number from 0 to 1", field=field)


def check_parts(subject: str, predicate: str, object_: str, *, some: bool = False) -> None:
    """Raises BadRequest unless the parts are text within the limits; with `some` they may be left out."""
    for name, text, most in zip(
        PARTS, (subject, predicate, object_), (FACT_NAME_BYTES_MAX, FACT_NAME_BYTES_MAX, FACT_OBJECT_BYTES_MAX), strict=True
    ):
        check_unicode(name, text)
        if not text.strip() and (text or not some):
            raise BadRequest(f"{name}: is empty, expected text", field=name)
        if len(text.encode()) > most:
            raise BadRequest(f"{name}: is longer than {most} bytes", field=name)


def found_by(text: str) -> str:
    """A part in the one form of all ways to write it: case and spaces do not matter, nor do _ and spaces differ.

    What is long is found by its digest, because an index's words are short.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split()) or text
    return folded if len(folded.encode()) <= FACT_NAME_BYTES_MAX else hashlib.sha256(folded.encode()).hexdigest()


def key_of(scope: Scope, subject: str, predicate: str) -> str:
    """The one name of what is said of a subject in a scope: facts that could contradict each other share it."""
    names = (scope.tenant, scope.project, scope.agent, scope.session, found_by(subject), found_by(predicate))
    return hashlib.sha256(msgspec.json.encode(names)).hexdigest()[:32]


def said(new: NewFact) -> str:
    """A triple in words, to be recalled by."""
    return new.text or f"{new.subject} {new.predicate.replace('_', ' ')} {new.object}"


def to_metadata(new: NewFact) -> dict[str, Any]:
    """What the metadata says of a new fact."""
    parts = {name: getattr(new, name) for name in PARTS}
    return {**parts, "confidence": new.confidence, "find": {name: found_by(text) for name, text in parts.items()}}


def triple_of(memory: Memory) -> dict[str, Any] | None:
    """What a memory says as a triple, if it is one. Whoever edits the metadata by hand may leave anything there."""
    triple = memory.metadata.get(FACT)
    return triple if isinstance(triple, dict) and all(isinstance(triple.get(name), str) for name in PARTS) else None


def fact_fields(metadata: Mapping[str, Any]) -> dict[str, str | float]:
    """The index's fields of a triple; those that it does not have, or has in another form, are left out."""
    triple = metadata.get(FACT)
    if not isinstance(triple, dict):
        return {}
    find = triple.get("find")
    given = find if isinstance(find, dict) else {}
    fields: dict[str, str | float] = {
        name: to_tag(text) for name in PARTS if isinstance(text := given.get(name), str) and text
    }
    return {**fields, "confidence": confidence_of(triple)}


def confidence_of(triple: Mapping[str, Any]) -> float:
    """How sure a triple is; surely, when it does not say."""
    value = triple.get("confidence")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 1.0


def to_fact(memory: Memory, triple: Mapping[str, Any]) -> Fact:
    """The fact behind a memory."""
    return Fact(
        id=memory.id, subject=triple["subject"], predicate=triple["predicate"], object=triple["object"],
        confidence=confidence_of(triple), text=memory.content, valid_from=memory.valid_from,
        valid_until=memory.valid_until, recorded_at=memory.recorded_at, version=memory.version, agent=memory.agent_id,
        session=memory.session_id, importance=memory.importance, tags=memory.tags, source_tool=memory.source_tool,
        derived_from=memory.derived_from,
    )  # fmt: skip


def facts_of(memories: Sequence[Memory]) -> list[Fact]:
    """Those of the memories that are triples, as facts."""
    return [to_fact(memory, triple) for memory in memories if (triple := triple_of(memory))]


# --- what a fact does to those that are known ---------------------------------------------------------------------------
# A period is [valid_from, valid_until). Of one key only one object holds at a time, unless it is said that it has many.


def settled(known: Sequence[Memory], new: NewFact, start: datetime) -> bool:
    """Whether these facts of a key alone tell what saying `new` does: one of them holds then, and none begins later."""
    rivals = _rivals(known, new)
    return any(holds(one, start) for one in rivals) and not any(one.valid_from > start for one in rivals)


def planned(known: Sequence[Memory], new: NewFact, start: datetime) -> Plan:
    """What saying `new` at `start` does to the facts of its key.

    What holds then is ended then, unless it says the same; and the new one ends where the next one begins. A period that
    it interrupts does not go on after it: who knows that says so.
    """
    rivals = _rivals(known, new)
    same = next((one for one in rivals if holds(one, start) and _object(one) == found_by(new.object)), None)
    others = [_ended(one, start) for one in rivals if holds(one, start) and one is not same]
    next_begins = [one.valid_from for one in rivals if one.valid_from > start and one.valid_until != one.valid_from]
    until = min([*next_begins, *([new.valid_until] if new.valid_until else [])], default=None)
    if same is None:
        return Plan(until=until, changes=others)
    values = _differences(same, new.confidence, until if new.valid_until else same.valid_until)
    return Plan(known=same, changes=[*([Change(same, values)] if values else []), *others])


def ending(known: Sequence[Memory], object_: str, moment: datetime) -> list[Change]:
    """What it takes that none of these facts (of one object, if it is named) holds from `moment` on."""
    meant = [one for one in known if not object_ or _object(one) == found_by(object_)]
    return [_ended(one, moment) for one in meant if holds(one, moment)]


def holds(memory: Memory, moment: datetime) -> bool:
    """Whether it is true at a moment."""
    return memory.valid_from <= moment and (memory.valid_until is None or moment < memory.valid_until)


def _rivals(known: Sequence[Memory], new: NewFact) -> list[Memory]:
    return [one for one in known if not new.many or _object(one) == found_by(new.object)]


def _object(memory: Memory) -> str:
    triple = triple_of(memory)
    return found_by(triple["object"]) if triple else ""


def _ended(memory: Memory, moment: datetime) -> Change:
    return Change(memory, {"valid_until": moment})


def _differences(memory: Memory, confidence: float, until: datetime | None) -> dict[str, Any]:
    """What is said otherwise of the same triple."""
    triple = triple_of(memory) or {}
    values: dict[str, Any] = {}
    if confidence_of(triple) != confidence:
        values["metadata"] = {**memory.metadata, FACT: {**triple, "confidence": confidence}}
    if until != memory.valid_until:
        values["valid_until"] = until
    return values
