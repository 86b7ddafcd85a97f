"""The verbs of maintenance: duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.hot.changes import Request
from memoryd.lifecycle.duplicates import OVERLAP, Duplicates
from memoryd.limits import DUPLICATE_OVERLAP_MIN, DUPLICATE_TEXT_CHARS, DUPLICATES_PAGE_MAX
from memoryd.model.duplicates import DuplicatePage
from memoryd.model.ids import ID_PATTERN
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler


class DuplicatesArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `duplicates`."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=DUPLICATES_PAGE_MAX)] = DUPLICATES_PAGE_MAX
    min_overlap: Annotated[float, msgspec.Meta(ge=DUPLICATE_OVERLAP_MIN, le=1)] = OVERLAP
    merge: bool = False


FORMS: Mapping[str, Form] = {"duplicates": Form(DuplicatesArgs, DuplicatePage, long=True)}

_ID = {"pattern": f"^{ID_PATTERN.pattern}$"}
_BEGINS = f"at most {DUPLICATE_TEXT_CHARS} characters"

SAYS: dict[str, dict[str, Any]] = {
    "DuplicatesArgs": {
        "after": {"description": "only memories whose id comes after this one: the `next` of the page before; empty: all"},
        "limit": {"description": "how many memories to look at, at most"},
        "min_overlap": {"description": "how much of their texts, in runs of three words, two must have in common"},
        "merge": {"description": "make one memory of each group; without it nothing is changed"},
    },
    "DuplicatePage": {
        "groups": {"description": "what says nearly the same, each memory in one group at most"},
        "looked": {"description": "how many memories were looked at"},
        "next": {"description": "the `after` of the next page; empty at the end"},
        "merged": {"description": "groups that are one memory now"},
        "refused": {"description": "groups that were not merged"},
    },
    "DuplicateGroup": {
        "outcome": {
            "enum": ["proposed", "merged", "refused"],
            "description": "refused: see `reason`; nothing is lost, and it is found again",
        },
        "survivor": {**_ID, "description": "the one that was said first, which the others are merged into"},
        "text": {"description": f"how the survivor begins, {_BEGINS}"},
        "memories": {"description": "the others, as they were said; the last one's text becomes the survivor's"},
        "moved": {"description": "how many of the others are in the archive only by now; the rest follows, or was changed"},
        "reason": {"description": "why it is not merged, or would not be"},
    },
    "Duplicate": {
        "id": {**_ID, "description": "a memory"},
        "overlap": {"description": "what its text has in common with the survivor's, 0 to 1"},
        "text": {"description": f"how it begins, {_BEGINS}"},
    },
}  # fmt: skip


class MaintenanceVerbs:
    """Carries them out."""

    def __init__(self, duplicates: Duplicates) -> None:
        self._duplicates = duplicates

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"duplicates": self._look}

    async def _look(self, scope: Scope, args: DuplicatesArgs, request: Request) -> Any:
        return await self._duplicates.look(
            scope, after=args.after, limit=args.limit, overlap_min=args.min_overlap, merge=args.merge, request=request
        )
