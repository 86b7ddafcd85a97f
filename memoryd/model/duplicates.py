"""Memories that say nearly the same: what is proposed, and what became of it."""

from __future__ import annotations

import msgspec

from memoryd.model.memory import MemoryType


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """One memory of a group."""

    id: str
    overlap: float
    """Of its text with the survivor's: the share of their shingles that both have."""
    text: str
    """How it begins."""


class DuplicateGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Memories of one scope and type, each of which says nearly what every other says."""

    outcome: str
    """proposed; merged; refused, see `reason`."""
    survivor: str
    """The id of the one that the others are merged into: the one that was said first."""
    agent: str
    session: str
    type: MemoryType
    text: str
    """How the survivor begins."""
    memories: list[Duplicate]
    """The others, in the order in which they were said; the last one's text becomes the survivor's."""
    moved: int = 0
    """How many of them are in the archive only by now; the others follow by themselves, or were changed meanwhile."""
    reason: str = ""
    """Why it is not merged, or would not be."""


class DuplicatePage(msgspec.Struct, frozen=True, kw_only=True):
    """What was found among some memories of a scope."""

    groups: list[DuplicateGroup]
    looked: int
    """How many memories were looked at."""
    next: str = ""
    """The id after which the next page begins; empty at the end."""
    merged: int = 0
    """Groups that are one memory now."""
    refused: int = 0
    """Groups that were not merged."""
