"""A question as a caller asks it of `recall`, and what narrows it."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Self, TypeAlias

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import (
    CURSOR_BYTES_MAX,
    FACET_BYTES_MAX,
    FACETS_MAX,
    QUERY_BYTES_MAX,
    RECALL_DEADLINE_MS_MAX,
    RECALL_LIMIT_MAX,
)
from memoryd.model.facets import facet
from memoryd.model.memory import MemoryType, Tier, check_tags, in_utc
from memoryd.model.scope import Scope, check_unicode

FacetValue: TypeAlias = str | int | bool
Facet: TypeAlias = FacetValue | list[FacetValue]
TIMES = ("valid_since", "valid_before", "recorded_since", "recorded_before")


class Narrowing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Among which memories of the scope: those for which all that is given holds. What is left out narrows nothing."""

    types: list[MemoryType] = []
    agent: str | None = None
    session: str | None = None
    tags: list[str] = []
    tiers: list[Tier] = []
    metadata: dict[str, Facet] = {}
    valid_since: datetime | None = None
    valid_before: datetime | None = None
    recorded_since: datetime | None = None
    recorded_before: datetime | None = None

    def check(self) -> Self:
        """This, if every value is within its limits. Raises BadRequest that names the field."""
        check_tags(self.tags)
        if len(self.metadata) > FACETS_MAX:
            raise BadRequest(f"metadata: has {len(self.metadata)} names, the limit is {FACETS_MAX}", field="metadata")
        for name, value in self.metadata.items():
            check_unicode("metadata", name)
            for one in _listed(value):
                check_unicode("metadata", str(one))
                if facet(name, one) is None:
                    raise BadRequest(
                        f"metadata: a name or a value is empty, no text, number or boolean, or longer than {FACET_BYTES_MAX} bytes",
                        field="metadata",
                    )
            if not 1 <= len(_listed(value)) <= FACETS_MAX:
                raise BadRequest(f"metadata: expected 1 to {FACETS_MAX} values of a name", field="metadata")
        for field in TIMES:
            if (moment := getattr(self, field)) is not None:
                in_utc(field, moment)
        return self

    def within(self, scope: Scope) -> Scope:
        """`scope`, inside this agent and session. Raises BadRequest where it is fixed to another one."""
        return scope.check().of_agent(self.agent).narrowed(self.session)

    def facets(self) -> list[list[str]]:
        """Of each name in `metadata` the facets of which a memory must have one."""
        return [[one for value in _listed(values) if (one := facet(name, value))] for name, values in self.metadata.items()]


class Question(Narrowing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to find, and how to answer."""

    query: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] = 10
    profile: str = ""
    rerank: bool = False
    deep: bool = False
    min_score: float | None = None
    min_likeness: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    diversity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    per_session: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] | None = None
    cursor: str | None = None
    deadline_ms: Annotated[int, msgspec.Meta(ge=1, le=RECALL_DEADLINE_MS_MAX)] | None = None

    def check(self) -> Self:
        """This, if it asks something and every value is within its limits. Raises BadRequest that names the field."""
        check_query(self.query)
        if not 1 <= self.limit <= RECALL_LIMIT_MAX:
            raise BadRequest(f"limit: is {self.limit}, expected 1 to {RECALL_LIMIT_MAX}", field="limit")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise BadRequest("min_score: is not a finite number", field="min_score")
        if self.cursor and len(self.cursor) > CURSOR_BYTES_MAX:
            raise BadRequest("cursor: is none that a recall has given", field="cursor")
        return super().check()


class ContextRecall(Narrowing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the memories of a context are recalled: what a question may say besides what is asked and how many may come."""

    profile: str = ""
    rerank: bool = False
    deep: bool = False
    min_likeness: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    diversity: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    deadline_ms: Annotated[int, msgspec.Meta(ge=1, le=RECALL_DEADLINE_MS_MAX)] | None = None

    def question(self, query: str, limit: int) -> Question:
        """The question that is recalled by."""
        return Question(query=query, limit=limit, **msgspec.structs.asdict(self))


def check_query(query: str) -> None:
    """Raises BadRequest unless `query` is text that can be asked."""
    check_unicode("query", query)
    if not query.strip():
        raise BadRequest("query: is empty, expected text", field="query")
    if len(query.encode()) > QUERY_BYTES_MAX:
        raise BadRequest(f"query: is longer than {QUERY_BYTES_MAX} bytes", field="query")


def _listed(value: Facet) -> list[Any]:
    return value if isinstance(value, list) else [value]
