"""A memory, and what a caller gives to make or change one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import (
    CONTENT_BYTES_MAX,
    METADATA_BYTES_MAX,
    REFERENCES_MAX,
    TAGS_MAX,
)
from memoryd.model.feedback import Feedback
from memoryd.model.ids import check_id
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.values import check_json

Importance = Annotated[float, msgspec.Meta(ge=0, le=1)]


class MemoryType(StrEnum):
    """What kind of thing is remembered."""

    FACT = "fact"
    EPISODIC = "episodic"
    PROCEDURAL = "procedural"
    SEMANTIC = "semantic"

    @property
    def dedups(self) -> bool:
        """Whether the same content is the same memory: two equal facts are one, two equal events are two."""
        return self is not MemoryType.EPISODIC


class Tier(StrEnum):
    """Where a memory lives."""

    WORKING = "working"
    SHORT = "short"
    LONG = "long"
    ARCHIVE = "archive"


class Durability(StrEnum):
    """What a write has survived when it is acknowledged."""

    HOT = "hot"
    FSYNC = "fsync"
    ARCHIVED = "archived"


class Wait(StrEnum):
    """What else a write waits for before it is acknowledged."""

    SEARCHABLE = "searchable"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One remembered thing at one version. Times are aware and in UTC."""

    id: str
    tenant: str
    project: str
    agent_id: str = ""
    session_id: str = ""
    memory_type: MemoryType
    tier: Tier = Tier.SHORT
    content: str
    content_hash: str
    importance: float
    created_at: datetime
    last_accessed: datetime
    access_count: int = 0
    source_tool: str = ""
    metadata: dict[str, Any] = {}
    tags: list[str] = []
    related: list[str] = []
    derived_from: list[str] = []
    version: int
    valid_from: datetime
    valid_until: datetime | None = None
    recorded_at: datetime
    embedding_model: str = ""
    follows: list[str] = []
    context: int = 0
    feedback: Feedback | None = None
    shared_with: list[str] = []

    @property
    def scope(self) -> Scope:
        """Where it was stored."""
        return Scope(self.tenant, self.project, self.agent_id, self.session_id)

    def seen_from(self, scope: Scope) -> bool:
        """Whether the scope may read it: it lies inside, or is shared with the scope's agent. Only its owner changes it.

        A session sees what is its own: what another agent shares is in none of this one's.
        """
        here = (scope.tenant, scope.project) == (self.tenant, self.project)
        return scope.holds(self.scope) or (here and not scope.session and scope.agent in self.shared_with)

    @property
    def light(self) -> bool:
        """Whether this is all that Redis has of a memory of the tier `long`: content and metadata are only in the archive."""
        return not self.content

    def filled(self, archived: Memory) -> Memory:
        """A light memory with its content as the archive has it; the archive's own where that is another by now."""
        if archived.version > self.version or archived.content_hash != self.content_hash:
            return archived
        return msgspec.structs.replace(self, content=archived.content, metadata=archived.metadata)

    @property
    def pending(self) -> bool:
        """Whether it still waits for its vector; until then it is found by its words only."""
        return not self.embedding_model


class NewMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives to `store`. `dedup` None means: by type."""

    content: str
    type: MemoryType = MemoryType.SEMANTIC
    session: str | None = None
    importance: Importance = 0.5
    metadata: dict[str, Any] = {}
    tags: list[str] = []
    source_tool: str = ""
    related: list[str] = []
    derived_from: list[str] = []
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    dedup: bool | None = None

    def check(self) -> NewMemory:
        """This, if every value is within its limits. Raises BadRequest that names the field."""
        check_content(self.content)
        check_details(self)
        return self


class Changes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller gives to `update`; what is left out stays as it is."""

    content: str | msgspec.UnsetType = msgspec.UNSET
    importance: Importance | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET
    source_tool: str | msgspec.UnsetType = msgspec.UNSET
    related: list[str] | msgspec.UnsetType = msgspec.UNSET
    derived_from: list[str] | msgspec.UnsetType = msgspec.UNSET
    valid_from: datetime | msgspec.UnsetType = msgspec.UNSET
    valid_until: datetime | msgspec.UnsetType | None = msgspec.UNSET

    def given(self) -> dict[str, Any]:
        """The fields that the caller gave."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not msgspec.UNSET}

    def check(self) -> Changes:
        """This, if it changes something and every value is within its limits. Raises BadRequest."""
        if not self.given():
            raise BadRequest("changes: nothing to change was given", field="changes")
        if self.content is not msgspec.UNSET:
            check_content(self.content)
        check_details(self)
        return self


def check_content(content: str) -> None:
    """Raises BadRequest unless `content` is text that can be remembered."""
    check_unicode("content", content)
    if not content.strip():
        raise BadRequest("content: is empty, expected text", field="content")
    if (size := len(content.encode())) > CONTENT_BYTES_MAX:
        raise BadRequest(
            f"content: has {size} bytes, the limit is {CONTENT_BYTES_MAX}",
            hint="split it into several memories and connect them with `related`",
            field="content",
        )


def check_details(given: NewMemory | Changes) -> None:
    """Raises BadRequest unless tags, references, times and metadata are within their limits. Unset fields pass."""
    if given.importance is not msgspec.UNSET and not math.isfinite(given.importance):
        raise BadRequest("importance: is not a finite number, expected 0 to 1", field="importance")
    if given.source_tool:
        check_name("source_tool", given.source_tool)
    if given.tags:
        check_tags(given.tags)
    for field in ("related", "derived_from"):
        if ids := getattr(given, field):
            _check_list(field, ids, REFERENCES_MAX)
            for memory_id in ids:
                check_id(field, memory_id)
    for field in ("valid_from", "valid_until"):
        if moment := getattr(given, field):
            in_utc(field, moment)
    if given.metadata:
        check_metadata(given.metadata)


def check_tags(tags: Sequence[str]) -> None:
    """Raises BadRequest unless these are few tags that each can be one."""
    _check_list("tags", tags, TAGS_MAX)
    for tag in tags:
        check_name("tags", tag)


def _check_list(field: str, values: Sequence[str], most: int) -> None:
    if len(values) > most:
        raise BadRequest(f"{field}: has {len(values)} entries, the limit is {most}", field=field)


def in_utc(field: str, moment: datetime) -> datetime:
    """`moment` in UTC. Raises BadRequest for a time without a zone, which would mean another moment elsewhere."""
    if moment.tzinfo is None:
        raise BadRequest(f"{field}: has no time zone, expected for instance 2026-05-08T13:56:00Z", field=field)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise BadRequest(f"{field}: lies outside the years 1 to 9999", field=field) from None


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises BadRequest unless `metadata` is JSON that both stores can hold exactly."""
    check_json("metadata", metadata, bytes_max=METADATA_BYTES_MAX)
