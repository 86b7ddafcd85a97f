"""Summaries: what one is, and what summarising and compressing answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from memoryd.model.memory import Memory

SUMMARY = "summary"  # the tag of a summary that stands for archived memories, and the name of what its metadata say of it
MADE_BY = "compress"  # its source_tool
DAY = "day"  # the tag, besides that, of the summary of a day, whose sources stay where they are


def is_summary(memory: Memory) -> bool:
    """Whether this memory stands for others."""
    return SUMMARY in memory.tags and memory.source_tool == MADE_BY


def of_a_day(memory: Memory) -> date | None:
    """The day whose summary this memory is; None for any other one."""
    return memory.valid_from.date() if is_summary(memory) and DAY in memory.tags else None


def for_a_model(memory: Memory) -> Mapping[str, Any]:
    """Its metadata as a model reads them: without the words by which a summary is found, which are many more than its own."""
    told = memory.metadata.get(SUMMARY)
    if not is_summary(memory) or not isinstance(told, Mapping):
        return memory.metadata
    return {**memory.metadata, SUMMARY: {name: value for name, value in told.items() if name != "words"}}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A text that says in few words what some memories say. Nothing is stored of it."""

    text: str
    memories: int
    """How many memories it speaks of."""
    chars: int
    """Their characters."""
    made_by: str


class CompressedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Memories that belong together, and what became of them."""

    outcome: str
    """compressed; planned (a dry run); refused, see `reason`; finished: they had their summary, and have moved now."""
    agent: str
    session: str
    memories: int
    moved: int = 0
    """How many of them are in the archive only by now; the others follow by themselves, or were changed meanwhile."""
    chars: int
    summary: str = ""
    """The summary's id."""
    summary_chars: int = 0
    text: str = ""
    """The summary itself, of a dry run."""
    reason: str = ""


class Compressed(msgspec.Struct, frozen=True, kw_only=True):
    """What a compression did, or would do."""

    groups: list[CompressedGroup]
    memories: int
    """How many were looked at; what is archived already, and summaries themselves, are not among them."""
    moved: int
    chars: int
    summary_chars: int
    refused: int
    """Groups that stayed as they are."""


class Expanded(msgspec.Struct, frozen=True, kw_only=True):
    """What a summary stands for, as it was; of any other memory itself."""

    id: str
    memories: list[Memory]
    total: int
    missing: int = 0
    """How many of them this scope does not hold (any more)."""
    restored: int = 0
    """How many have been brought back to Redis."""
