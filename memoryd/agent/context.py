"""The context of one question: what was recalled, what was said last, and the variables, within a budget of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from memoryd.agent.feedback import Feedbacks
from memoryd.agent.sessions import Sessions
from memoryd.errors import Overloaded
from memoryd.hot.changes import Request
from memoryd.keys import kind_of
from memoryd.limits import SESSION_MESSAGES_MAX
from memoryd.model.memory import Memory
from memoryd.model.question import Question
from memoryd.model.scope import Scope
from memoryd.model.session import Context, session_place
from memoryd.recalling import Recalling

VARIABLES_SHARE = 0.25  # of the budget at most: they are small, or not for a model's eyes
RECALLED_SHARE = 0.5  # of the rest at most; what the messages leave over goes to recalled memories too

T = TypeVar("T")


class Contexts:
    """Puts contexts together."""

    def __init__(self, sessions: Sessions, recalling: Recalling, feedbacks: Feedbacks) -> None:
        self._sessions = sessions
        self._recalling = recalling
        self._feedbacks = feedbacks

    async def of(
        self, scope: Scope, session: str | None, question: Question, *, budget_tokens: int, request: Request
    ) -> Context:
        """What a model should see for a question. Recalls over the whole scope; the rest is the session's. Notes there
        what was recalled, which counts a little as use. Raises NotFound, BadRequest."""
        inside = scope.narrowed(session)
        place = session_place(inside)
        head = await self._sessions.head(place)
        recalled = await self._recalling.recall(scope, question)
        _, all_variables, _, _ = await self._sessions.state_of(place, "variables")
        names = list(all_variables)
        variables, variable_tokens = await self._fitting(
            names, [_written(name, all_variables[name]) for name in names], int(budget_tokens * VARIABLES_SHARE)
        )
        rest = budget_tokens - variable_tokens
        texts = [hit.memory.content for hit in recalled.hits]
        _, some = await self._fitting(recalled.hits, texts, int(rest * RECALLED_SHARE))
        messages, message_tokens = await self._sessions.newest(
            place, head, limit=SESSION_MESSAGES_MAX, budget_tokens=rest - some
        )
        hits, hit_tokens = await self._fitting(recalled.hits, texts, rest - message_tokens)
        await self._sessions.hot.note_recalled(place, {hit.memory.id: hit.memory.version for hit in hits})
        await self._count(scope, place.id, [hit.memory for hit in hits if not hit.shared], request)
        return Context(
            recalled=hits, messages=messages, variables={name: all_variables[name] for name in variables},
            tokens={"recalled": hit_tokens, "messages": message_tokens, "variables": variable_tokens},
            budget_tokens=budget_tokens, counted_by=self._sessions.tokens.counted_by, degraded=recalled.degraded,
            recall_id=recalled.recall_id,
            left_out={
                "recalled": len(recalled.hits) - len(hits), "messages": head.messages - len(messages),
                "variables": len(names) - len(variables),
            },
        )  # fmt: skip

    async def _count(self, scope: Scope, session_id: str, memories: Sequence[Memory], request: Request) -> None:
        """That they were used; a journal without room for that is no reason to have no context."""
        with contextlib.suppress(Overloaded):
            kinds = {one.id: kind_of(one.memory_type) for one in memories}
            await self._feedbacks.used(scope, session_id, kinds, request)

    async def _fitting(self, many: Sequence[T], texts: Sequence[str], budget: int) -> tuple[list[T], int]:
        """Those whose texts fit into the budget, the first ones first, and their tokens."""
        spent, fitting = 0, []
        for one, tokens in zip(many, await self._sessions.tokens.count(texts), strict=True):
            if spent + tokens <= budget:
                fitting.append(one)
                spent += tokens
        return fitting, spent


def _written(name: str, value: Any) -> str:
    return f"{name}: {msgspec.json.encode(value).decode()}"
