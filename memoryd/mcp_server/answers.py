"""What the tools answer: as much of a memory as a model needs, described for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field


class Kept(BaseModel):
    """A write that is acknowledged."""

    id: str
    version: int
    outcome: Annotated[str, Field(description="stored, updated, or reinforced: the same was remembered already.")]


class Remembered(BaseModel):
    """A memory as a model needs it."""

    id: str
    content: str
    type: str
    version: int
    agent: str
    session: str
    importance: float
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    valid_from: Annotated[datetime, Field(description="Since when it is true, or when it happened.")]
    valid_until: datetime | None


class Found(Remembered):
    """A search's hit."""

    score: Annotated[float, Field(description="To be compared within one search only.")]


class Search(BaseModel):
    """What a search found, best first."""

    memories: list[Found]
    note: Annotated[str, Field(description="Why the search was not complete; empty when it was.")]


class Forgotten(BaseModel):
    """What a forget removed."""

    id: str
    outcome: Annotated[str, Field(description="forgotten, or already when it had been forgotten before.")]
    forgotten_at: datetime
    receipt: Annotated[str, Field(description="The proof's id, for people; empty when there was nothing left to forget.")]


class Summarized(BaseModel):
    """What memories say, in few words. It is made for this answer, and is not stored."""

    summary: str
    memories: Annotated[int, Field(description="How many memories it speaks of.")]
    made_by: Annotated[str, Field(description="Which summariser has made it.")]


class ToolCalls(BaseModel):
    """How one of the agent's tools went."""

    tool: str
    calls: int
    success_rate: float | None
    error_kinds: dict[str, int]
    p50_ms: float | None
    p95_ms: float | None


class Known(BaseModel):
    """What this agent knows of itself; counted, not guessed."""

    memories: int
    by_type: dict[str, int]
    by_age: Annotated[dict[str, int], Field(description="How many are at most an hour, a day, a week … old.")]
    since: Annotated[datetime | None, Field(description="From when the oldest memory is.")]
    topics: Annotated[dict[str, int], Field(description="What it is about most, and in how many memories.")]
    entities: Annotated[dict[str, int], Field(description="Names that come up most.")]
    facts: Annotated[int, Field(description="Facts that hold now, of those with a confidence.")]
    doubtful: Annotated[int, Field(description="How many of these are not believed much.")]
    calls: Annotated[int, Field(description="Tool calls and the like in this time.")]
    success_rate: float | None
    tools: list[ToolCalls]
    gaps: Annotated[dict[str, int], Field(description="Questions to which nothing was found, and how often.")]
    note: Annotated[str, Field(description="Why something was not looked at; empty when all was.")]


class Counts(BaseModel):
    """How much is remembered here."""

    memories: int
    by_type: dict[str, int]
    pending: Annotated[int, Field(description="Stored, and found by their words only until they are embedded.")]
    archive_available: bool
