"""The verbs of compression: summarize, compress, expand, day."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.days import Days
from memoryd.hot.changes import Request
from memoryd.lifecycle.compressing import Compressing
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.summarizing import Summarizing
from memoryd.limits import EXPAND_PAGE_MAX, NAME_BYTES_MAX, SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from memoryd.model.day import DaySummary
from memoryd.model.ids import ID_PATTERN
from memoryd.model.scope import Scope
from memoryd.model.summary import Compressed, Expanded, Summary
from memoryd.protocol.verbs.forgetting import SELECTION
from memoryd.protocol.verbs.verb import Form, Handler


class SummarizeArgs(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `summarize`."""

    chars: Annotated[int, msgspec.Meta(ge=SUMMARY_CHARS_MIN, le=SUMMARY_CHARS_MAX)] | None = None


class CompressArgs(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `compress`."""

    dry_run: bool = False


class ExpandArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `expand`."""

    id: str
    restore: bool = False
    first: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=EXPAND_PAGE_MAX)] = EXPAND_PAGE_MAX


class DayArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `day`."""

    date: datetime.date
    agent: str | None = None
    make: bool = False


FORMS: Mapping[str, Form] = {
    "summarize": Form(SummarizeArgs, Summary, long=True),
    "compress": Form(CompressArgs, Compressed, long=True),
    "expand": Form(ExpandArgs, Expanded),
    "day": Form(DayArgs, DaySummary, long=True),
}

_ID = {"pattern": f"^{ID_PATTERN.pattern}$"}

SAYS: dict[str, dict[str, Any]] = {
    "SummarizeArgs": {
        **SELECTION,
        "chars": {"description": "about how long it may be; null: a tenth of what it speaks of"},
    },
    "CompressArgs": {**SELECTION, "dry_run": {"description": "make the summaries, judge them, and change nothing"}},
    "Compressed": {
        "groups": {"description": "what belongs together: of one agent and session, without a long pause"},
        "memories": {"description": "how many were looked at; not what is archived already, and no summaries"},
        "moved": {"description": "how many are in the archive only by now"},
        "chars": {"description": "their characters"},
        "summary_chars": {"description": "the summaries' characters"},
        "refused": {"description": "groups that stayed as they are"},
    },
    "CompressedGroup": {
        "outcome": {
            "enum": ["compressed", "finished", "planned", "refused"],
            "description": "finished: they had their summary already; planned: by a dry run; refused: see `reason`",
        },
        "memories": {"description": "how many"},
        "moved": {"description": "how many are in the archive only by now; the others follow, or were changed meanwhile"},
        "chars": {"description": "their characters"},
        "summary": {"description": "the summary's id: a memory"},
        "summary_chars": {"description": "the summary's characters"},
        "text": {"description": "the summary, of a dry run"},
        "reason": {"description": "why nothing was changed"},
    },
    "ExpandArgs": {
        "id": {**_ID, "description": "a summary, or any memory"},
        "restore": {"description": "bring them back to Redis, where they get their vectors anew"},
        "first": {"description": "the number of the first one to give, from 0"},
        "limit": {"description": "how many at most"},
    },
    "Expanded": {
        "id": {**_ID, "description": "the summary"},
        "memories": {"description": "what it was made of, in that order, as it was; of another memory itself"},
        "total": {"description": "how many it was made of"},
        "missing": {"description": "how many of this page the scope does not hold"},
        "restored": {"description": "how many have been brought back"},
    },
    "DayArgs": {
        "date": {"description": "which day, for instance 2026-11-26; UTC, and over"},
        "agent": {"maxLength": NAME_BYTES_MAX, "description": "whose, when the scope names no agent"},
        "make": {"description": "make its summary now, if it has none"},
    },
    "DaySummary": {
        "text": {"description": "what happened, in few words"},
        "summary": {"description": "the summary's id: a memory"},
        "memories": {"description": "how many memories it stands for"},
        "chars": {"description": "their characters"},
        "left_out": {"description": "how many more the day has, of which it does not speak: they were too many"},
        "made_by": {"description": "which summariser has made it"},
        "made_at": {"description": "when"},
        "sources": {"description": "the ids of what it was made of: memories, and summaries of the day's sessions"},
    },
    "Summary": {
        "text": {"description": "the summary"},
        "memories": {"description": "how many memories it speaks of"},
        "chars": {"description": "their characters"},
        "made_by": {"description": "which summariser has made it"},
    },
}


class CompressionVerbs:
    """Carries them out."""

    def __init__(self, summarizing: Summarizing, compressing: Compressing, days: Days) -> None:
        self._summarizing = summarizing
        self._compressing = compressing
        self._days = days

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"summarize": self._summarize, "compress": self._compress, "expand": self._expand, "day": self._day}

    async def _summarize(self, scope: Scope, args: SummarizeArgs, request: Request) -> Any:
        return await self._summarizing.summarize(scope, args, chars=args.chars)

    async def _compress(self, scope: Scope, args: CompressArgs, request: Request) -> Any:
        return await self._compressing.compress(scope, args, request=request, dry_run=args.dry_run)

    async def _expand(self, scope: Scope, args: ExpandArgs, request: Request) -> Any:
        return await self._compressing.expand(
            scope, args.id, first=args.first, limit=args.limit, restore=args.restore, request=request
        )

    async def _day(self, scope: Scope, args: DayArgs, request: Request) -> Any:
        return await self._days.day(scope, args.date, agent=args.agent, make=args.make, request=request)
