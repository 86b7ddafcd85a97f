"""By which rules a project's memories change their tier: `MEMORYD_TIERS`, checked when it is read. See docs/tiers.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memoryd.limits import SHORT_MEMORIES_OF_PROJECT_MAX, WORKING_OF_AGENT_MAX
from memoryd.model.memory import MemoryType

DAY = 24 * 3600.0
OTHERS = "*"
Seconds = Annotated[float, Field(gt=0, le=3650 * DAY)]
Share = Annotated[float, Field(gt=0, le=1)]

HALF_LIVES = {  # chosen, not measured: an event is old after a week, how something is done hardly ever
    MemoryType.EPISODIC: 7 * DAY, MemoryType.SEMANTIC: 30 * DAY, MemoryType.FACT: 90 * DAY, MemoryType.PROCEDURAL: 180 * DAY,
}  # fmt: skip


class Rules(BaseModel):
    """The rules of one project. Whatever is left out is as for every project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_seconds: dict[MemoryType, Seconds] = {}
    """Until a memory that nobody uses is half as warm, by type."""
    short_seconds: Seconds = DAY
    """So long after its last use a memory stays, however cold, unless there is no room."""
    content_seconds: Seconds = 7 * DAY
    """So long after its last use its content stays in Redis, however warm it is."""
    cold: Annotated[float, Field(ge=0, le=1)] = 0.25
    """The heat below which a memory need not stay: that of one of importance 0.5 which is unused for one half-life."""
    working_of_agent: Annotated[int, Field(ge=1, le=WORKING_OF_AGENT_MAX)] = 50
    """Sessions that an agent may have in Redis; those that were unused for longest leave, and come back when they are used."""
    short_of_agent: Annotated[int, Field(ge=1, le=SHORT_MEMORIES_OF_PROJECT_MAX)] = 1_000
    short_of_project: Annotated[int, Field(ge=1, le=SHORT_MEMORIES_OF_PROJECT_MAX)] = 100_000
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """The share of a limit that is made free when it is exceeded: room for what comes, and for what is used again."""
    high: Share = 0.8
    """The share of Redis's maxmemory beyond which the coldest make room …"""
    low: Share = 0.7
    """… until this share is used; below it, what is used again comes back."""
    pin_tags: Annotated[list[str], Field(max_length=16)] = ["pinned"]
    """A memory with one of these tags never moves."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError("low: must be below high, or memories would go and come back for ever")
        if self.content_seconds < self.short_seconds:
            raise ValueError("content_seconds: must not be below short_seconds")
        return self

    def half_life(self, memory_type: MemoryType) -> float:
        """Of a type, in seconds."""
        return self.half_life_seconds.get(memory_type, HALF_LIVES[memory_type])


USUAL = Rules()  # made once: every memory of a sweep is held against the rules of its project

Configured = Mapping[str, Mapping[str, Rules]]
"""By tenant and project; `*` stands for all others."""


def rules_of(configured: Configured, tenant: str, project: str) -> Rules:
    """The rules of a project: its own, its tenant's, or everybody's."""
    for place in (tenant, OTHERS):
        projects = configured.get(place, {})
        if found := projects.get(project, projects.get(OTHERS)):
            return found
    return USUAL
