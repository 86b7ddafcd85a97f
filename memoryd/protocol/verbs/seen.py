"""The verbs of "have I seen this?": seen, seen_query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from memoryd.agent.seen import Sightings
from memoryd.hot.changes import Request
from memoryd.limits import CONTENT_BYTES_MAX, QUERY_BYTES_MAX, SEEN_IDS_MAX
from memoryd.model.scope import Scope
from memoryd.model.seen import Seen
from memoryd.protocol.verbs.verb import Form, Handler


class SeenArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `seen`."""

    content: str
    exact: bool = False


class SeenQueryArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `seen_query`."""

    query: str
    exact: bool = False


FORMS: Mapping[str, Form] = {"seen": Form(SeenArgs, Seen), "seen_query": Form(SeenQueryArgs, Seen)}

SAYS: Mapping[str, Any] = {
    "SeenArgs": {
        "content": {"minLength": 1, "maxLength": CONTENT_BYTES_MAX, "description": "the text, as for `store`"},
        "exact": {"description": "false: the filter's answer, of ever; true: look for memories that say it now"},
    },
    "SeenQueryArgs": {
        "query": {"minLength": 1, "maxLength": QUERY_BYTES_MAX, "description": "the question, as for `recall`"},
        "exact": {"description": "false: the filter's answer, of ever; true: look at the project's latest questions"},
    },
    "Seen": {
        "seen": {"description": "not exactly: a no is sure, a yes is wrong once in a thousand, and remembers what was forgotten"},
        "exact": {"description": "as it was asked"},
        "ids": {"maxItems": SEEN_IDS_MAX, "description": "of content, exactly: memories that say it, a few at most"},
        "asked_at": {"description": "of a question, exactly: when it was asked last"},
    },
    "FilterStats": {
        "items": {"description": "entries: of contents the memory's id and one for each scope that sees it"},
        "capacity": {"description": "room for so many; then a filter grows by a layer twice as large as its last"},
        "fill": {"description": "entries to capacity, in the fullest bucket"},
        "layers": {"description": "of the filter that has grown most; 0: there is none yet"},
        "bytes": {"description": "of Redis's memory"},
        "error_rate": {"description": "how many of what was never put in are taken for seen"},
    },
}  # fmt: skip


class SeenVerbs:
    """Carries them out."""

    def __init__(self, sightings: Sightings) -> None:
        self._sightings = sightings

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"seen": self._seen, "seen_query": self._seen_query}

    async def _seen(self, scope: Scope, args: SeenArgs, request: Request) -> Any:
        return await self._sightings.content(scope, args.content, exact=args.exact)

    async def _seen_query(self, scope: Scope, args: SeenQueryArgs, request: Request) -> Any:
        return await self._sightings.question(scope, args.query, exact=args.exact)
