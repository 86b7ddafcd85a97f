"""The verbs of compression: summarize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.hot.records import Request
from memoryd.lifecycle.selection import Selection
from memoryd.lifecycle.summarizing import Summarizing
from memoryd.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from memoryd.model.scope import Scope
from memoryd.model.summary import Summary
from memoryd.protocol.verbs.forgetting import SELECTION
from memoryd.protocol.verbs.verb import Form, Handler


class SummarizeArgs(Selection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `summarize`."""

    chars: Annotated[int, msgspec.Meta(ge=SUMMARY_CHARS_MIN, le=SUMMARY_CHARS_MAX)] | None = None


FORMS: Mapping[str, Form] = {
    "summarize": Form(SummarizeArgs, Summary, long=True),
}

SAYS: dict[str, dict[str, Any]] = {
    "SummarizeArgs": {
        **SELECTION,
        "chars": {"description": "about how long it may be; null: a tenth of what it speaks of"},
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

    def __init__(self, summarizing: Summarizing) -> None:
        self._summarizing = summarizing

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"summarize": self._summarize}

    async def _summarize(self, scope: Scope, args: SummarizeArgs, request: Request) -> Any:
        return await self._summarizing.summarize(scope, args, chars=args.chars)
