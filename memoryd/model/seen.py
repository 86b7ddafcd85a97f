"""What "Have I seen this?" is answered, and what the filters behind it say of themselves."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something was seen in a scope; true and false like that.

    From the filter, a no is sure, and a yes means probably: about one in a thousand is wrong, and what was forgotten is
    seen still. Whoever asks exactly is told what is there now.
    """

    seen: bool
    exact: bool
    """Whether it was looked for itself, not only in the filter."""
    ids: list[str] = []
    """Of content, exactly: memories that say it, a few at most."""
    asked_at: datetime | None = None
    """Of a question, exactly: when it was asked last."""

    def __bool__(self) -> bool:
        return self.seen


class FilterStats(msgspec.Struct, frozen=True, kw_only=True):
    """The Bloom filters of one kind, one a bucket, together."""

    items: int
    """What was put in: an entry for each scope that sees it, and the memory's id."""
    capacity: int
    """Room for so many at the error rate; beyond it a filter grows by a layer twice as large."""
    fill: float
    """Items to capacity, in the fullest bucket."""
    layers: int
    """Of the bucket that has grown most."""
    bytes: int
    error_rate: float
    """At most so many of what was never put in are taken for seen."""
