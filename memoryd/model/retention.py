"""What a project forgets by itself, and when: `MEMORYD_RETENTION`, checked when it is read. See docs/forgetting.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from memoryd.limits import RETENTION_KEEP_MAX
from memoryd.model.memory import MemoryType
from memoryd.model.rules import OTHERS, Seconds

Count = Annotated[int, Field(ge=1, le=RETENTION_KEEP_MAX)]
Tag = Annotated[str, Field(min_length=1)]


class Retention(BaseModel):
    """The rules of one project. What is left out forgets nothing; with nothing given a project is spared by `*`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_age_seconds: dict[MemoryType, Seconds] = {}
    """So long after it was stored a memory goes, however warm it is, by type."""
    floor: Annotated[float, Field(gt=0, le=1)] | None = None
    """The heat below which a memory goes."""
    keep_of_agent: Count | None = None
    """So many of an agent stay, the warmest …"""
    keep_of_project: Count | None = None
    """… and so many of the project."""
    hold_tags: Annotated[list[Tag], Field(max_length=16)] = ["hold"]
    """A memory with one of these tags never goes by itself, nor what it was made of. Neither does a pinned one."""

    @property
    def forgets(self) -> bool:
        """Whether these rules can forget anything."""
        return bool(self.max_age_seconds) or (self.floor, self.keep_of_agent, self.keep_of_project) != (None, None, None)


Retentions = Mapping[str, Mapping[str, Retention]]
"""By tenant and project; `*` stands for all others."""


def retention_of(configured: Retentions, tenant: str, project: str) -> Retention | None:
    """The rules of a project: its own, its tenant's, or everybody's; None where nothing is forgotten."""
    for place in (tenant, OTHERS):
        projects = configured.get(place, {})
        if (found := projects.get(project, projects.get(OTHERS))) is not None:
            return found if found.forgets else None
    return None
