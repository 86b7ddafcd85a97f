"""What summarising and compressing answer."""

from __future__ import annotations

import msgspec


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says in few words what some memories say. Nothing is stored of it."""

    text: str
    memories: int
    """How many memories it speaks of."""
    chars: int
    """Their characters."""
    made_by: str
