"""What the verbs of the scratchpad answer."""

from __future__ import annotations

from typing import Any

import msgspec


class Pad(msgspec.Struct, frozen=True, kw_only=True):
    """A scratchpad, or the part of it that was asked for."""

    values: dict[str, Any]
    names: int
    bytes: int
    """Of the whole pad as JSON."""
    seconds_left: float


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a write left behind."""

    value: int = 0
    """The sum, the list's length, or how many were removed."""


class Popped(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from a list, in the order in which it was taken."""

    values: list[Any]
