"""The verb `feedback`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from memoryd.agent.feedback import Feedbacks
from memoryd.hot.changes import Request
from memoryd.limits import RECALL_LIMIT_MAX
from memoryd.model.feedback import RECALL_PATTERN, Judged
from memoryd.model.ids import ID_PATTERN
from memoryd.model.scope import Scope
from memoryd.protocol.verbs.verb import Form, Handler


class FeedbackArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `feedback`."""

    recall_id: str
    useful: list[str] = []
    useless: list[str] = []
    undo: list[str] = []


FORMS: Mapping[str, Form] = {"feedback": Form(FeedbackArgs, Judged, writes=True)}

_IDS = {"items": {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"}, "maxItems": RECALL_LIMIT_MAX}
SAYS: Mapping[str, Any] = {
    "FeedbackArgs": {
        "recall_id": {"pattern": f"^{RECALL_PATTERN.pattern}$", "description": "the `recall_id` of the answer that gave them"},
        "useful": {**_IDS, "description": "ids of its memories that were of use"},
        "useless": {**_IDS, "description": "ids of its memories that were not"},
        "undo": {**_IDS, "description": "ids of its memories of which nothing is to have been said"},
    },
    "Judged": {
        "judged": {"description": "memories whose prior is another now"},
        "unchanged": {"description": "memories of which this recall had said the same before"},
        "gone": {"description": "ids of those that there are no more"},
    },
    "Feedback": {
        "count": {"description": "counts the changes"},
        "useful": {"description": "verdicts for it, faded to what was left of them at `at`"},
        "useless": {"description": "verdicts against it, the same way"},
        "at": {"description": "when it changed last"},
    },
}


class FeedbackVerbs:
    """Carries it out."""

    def __init__(self, feedbacks: Feedbacks) -> None:
        self._feedbacks = feedbacks

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {"feedback": self._feedback}

    async def _feedback(self, scope: Scope, args: FeedbackArgs, request: Request) -> Any:
        return await self._feedbacks.judge(
            scope, args.recall_id, useful=args.useful, useless=args.useless, undo=args.undo, request=request
        )
