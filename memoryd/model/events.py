"""Events: hints that a memory changed, and the place that a listener has reached among those that are kept.

A place says of each bucket which event was seen last. It is text for others to keep, and opaque to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import PLACE_BYTES_MAX

EntryId = tuple[int, int]
"""A stream entry's milliseconds and sequence: they compare in stream order."""

_AT = re.compile(r"([0-9a-f]{2})-(\d{1,20})-(\d{1,20})")
_PLACE = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{1,16}(?:\.[0-9a-f]{3,18}-[0-9a-f]{1,16})*")


class Hint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hint that a memory changed. It carries no text: `get` it."""

    v: int
    op: str
    id: str
    type: str
    session: str
    version: int
    entry: str
    """The journal entry of the change; empty when the change came from the archive."""
    at: str
    """Its bucket, and its id among the bucket's kept events."""
    traceparent: str = ""
    """The span that caused the change; empty where nothing was traced."""


class Event(Hint, frozen=True, kw_only=True):
    """A hint as a listener of the Python client gets it."""

    place: str
    """Everything up to this event: `events(after=place)` goes on with the next one."""


class EventsPage(msgspec.Struct, frozen=True, kw_only=True):
    """The kept events behind a place."""

    events: list[Hint]
    next: str
    """The place behind them."""
    more: bool = False
    """Whether there are more behind `next` already."""
    gap: bool = False
    """Whether events behind the place are gone; then there are none here, and `next` is the place of now."""


@dataclass(frozen=True)
class Place:
    """How far a listener has come. `origin` stands for one project's events in one Redis's data.

    `moment` (milliseconds) vouches for the buckets without an event: everything before it was seen, or was not there.
    """

    origin: str
    moment: int
    seen: Mapping[str, EntryId] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place behind its text. Raises BadRequest for any other text."""
        if len(text) > PLACE_BYTES_MAX or not _PLACE.fullmatch(text):
            raise BadRequest("after: is not a place that memoryd has given", field="after")
        origin, moment, *parts = text.split(".")
        halves = (part[2:].split("-") for part in parts)
        seen = {part[:2]: (int(ms, 16), int(seq, 16)) for part, (ms, seq) in zip(parts, halves, strict=True)}
        return cls(origin, int(moment, 16), seen)

    def __str__(self) -> str:
        parts = (f"{bucket}{ms:x}-{seq:x}" for bucket, (ms, seq) in sorted(self.seen.items()))
        return ".".join((self.origin, f"{self.moment:x}", *parts))

    def holds(self, hint: Hint) -> bool:
        """Whether this event was seen already."""
        bucket, entry = parse_at(hint.at)
        return entry <= self.seen.get(bucket, (0, 0))

    def behind(self, hint: Hint) -> Place:
        """The place once this event is seen, too. Events are seen in the order of their bucket."""
        bucket, entry = parse_at(hint.at)
        return replace(self, moment=max(self.moment, entry[0]), seen={**self.seen, bucket: entry})


def parse_at(at: str) -> tuple[str, EntryId]:
    """The bucket of an event and its id there."""
    parts = _AT.fullmatch(at)
    assert parts, "events come from our own scripts"
    return parts[1], (int(parts[2]), int(parts[3]))
