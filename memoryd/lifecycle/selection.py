"""What is to be forgotten, as a caller says it, and whether a memory is among it. Pure: one answer for both stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import FORGET_PLAN_MAX, QUERY_BYTES_MAX, RECALL_LIMIT_MAX
from memoryd.model.ids import check_id
from memoryd.model.memory import Memory, MemoryType, check_tags, in_utc
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.words import words_of

SECONDS_MAX = 200 * 366 * 24 * 3600  # no memory is older, and every date that it leads to exists


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to forget: the memories for which all that is given holds. Nothing given selects nothing."""

    ids: list[str] = []
    session: str | None = None
    agent: str | None = None
    tags: list[str] = []
    types: list[MemoryType] = []
    before: datetime | None = None
    older_than_seconds: Annotated[int, msgspec.Meta(ge=0, le=SECONDS_MAX)] | None = None
    words: str = ""
    query: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECALL_LIMIT_MAX)] = 10
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    everything: bool = False

    def check(self) -> Selection:
        """This, if it selects something on purpose and every value is within its limits. Raises BadRequest."""
        if len(self.ids) > FORGET_PLAN_MAX:
            raise BadRequest(f"ids: has {len(self.ids)} entries, the limit is {FORGET_PLAN_MAX}", field="ids")
        for memory_id in self.ids:
            check_id("ids", memory_id)
        for field in ("session", "agent"):
            if (name := getattr(self, field)) is not None:
                check_name(field, name)
        check_tags(self.tags)
        if self.before is not None:
            in_utc("before", self.before)
        for field in ("words", "query"):
            _check_text(field, getattr(self, field))
        if self.words and not words_of(self.words):
            raise BadRequest("words: holds no word", field="words")
        given = list(self.criteria())
        if self.everything and given:
            raise BadRequest("everything: stands alone, without other criteria", field="everything")
        if not given and not self.everything:
            raise BadRequest(
                "nothing was selected", hint="give at least one criterion, or `everything` for the whole scope"
            )
        return self

    def criteria(self) -> Iterator[str]:
        """The names of what was given, for a reason that people read; a limit or a score selects nothing by itself."""
        names = {"older_than_seconds": "age", "before": "age", "ids": "id", "types": "type", "tags": "tag"}
        for field in ("ids", "session", "agent", "tags", "types", "before", "older_than_seconds", "words", "query"):
            if getattr(self, field) not in ("", None, []):
                yield names.get(field, field)

    def reason(self) -> str:
        """Why a selected memory is forgotten."""
        return f"selected by {', '.join(dict.fromkeys(self.criteria()))}" if not self.everything else "everything"

    def described(self) -> dict[str, Any]:
        """What was asked, for a receipt: texts that may quote a memory as their SHA-256 only, ids by their number."""
        given: dict[str, Any] = {
            name: value
            for name in ("session", "agent", "types", "before", "older_than_seconds", "everything")
            if (value := getattr(self, name)) not in (None, [], False)
        }
        if self.ids:
            given["ids"] = len(self.ids)
        if self.tags:
            given["tags"] = [digest(tag) for tag in self.tags]
        if self.words:
            given["words"] = digest(self.words)
        if self.query:
            given |= {"query": digest(self.query), "limit": self.limit, "min_score": str(self.min_score)}
        described: dict[str, Any] = msgspec.to_builtins(given)
        return described


@dataclass(frozen=True)
class Criteria:
    """A selection at one moment and inside one scope: what `matches` asks."""

    scope: Scope
    """The caller's scope, narrowed by the selection's session and agent."""
    ids: frozenset[str]
    tags: frozenset[str]
    types: frozenset[MemoryType]
    words: frozenset[str]
    before: datetime | None
    by_query: bool = False
    """Whether a query chose the memories: then these alone are meant, and nothing that merely lies inside the scope."""

    @property
    def by_place_or_time(self) -> bool:
        """Whether all is meant that lies in the scope, or all of a time or with some words, memory or not."""
        return not (self.ids or self.tags or self.types or self.by_query)

    def matches(self, memory: Memory) -> bool:
        """Whether everything that was asked holds for the memory. A query is no part of it: recall answers that."""
        return (
            self.scope.holds(memory.scope)
            and (not self.ids or memory.id in self.ids)
            and (not self.tags or not self.tags.isdisjoint(memory.tags))
            and (not self.types or memory.memory_type in self.types)
            and (self.before is None or memory.created_at < self.before)
            and (not self.words or self.words <= words_of(memory.content))
        )


def of_one(memory_id: str, scope: Scope) -> Criteria:
    """The criteria of a forget of one memory."""
    return Criteria(scope, frozenset({memory_id}), frozenset(), frozenset(), frozenset(), None)


def resolve(selection: Selection, scope: Scope, now: datetime) -> Criteria:
    """The criteria of a checked selection. Raises BadRequest when the scope is fixed to another session or agent."""
    limits = [in_utc("before", selection.before)] if selection.before is not None else []
    if selection.older_than_seconds is not None:
        limits.append(now - timedelta(seconds=selection.older_than_seconds))
    return Criteria(
        scope=scope.of_agent(selection.agent).narrowed(selection.session),
        ids=frozenset(selection.ids),
        tags=frozenset(selection.tags),
        types=frozenset(selection.types),
        words=words_of(selection.words),
        before=min(limits, default=None),
        by_query=bool(selection.query),
    )


def digest(text: str) -> str:
    """A text as a receipt may hold it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _check_text(field: str, text: str) -> None:
    check_unicode(field, text)
    if text and not text.strip():
        raise BadRequest(f"{field}: is empty, expected text", field=field)
    if len(text.encode()) > QUERY_BYTES_MAX:
        raise BadRequest(f"{field}: is longer than {QUERY_BYTES_MAX} bytes", field=field)
