"""Tool results, kept: the same tool with the same input is run once, however many callers ask for it at once.

An entry is known by a digest of the tool's name and its canonical input; the input itself is not kept. Entries belong
to the agent and are shared by its sessions, unless a claim is `private`: then they are the session's alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from memoryd.embed.cache import EmbeddingCache
from memoryd.embed.protocol import ModelFailed
from memoryd.errors import BadRequest
from memoryd.hot.changes import Request
from memoryd.hot.questions import Asked, KeptQuestions
from memoryd.hot.search import QueryVector
from memoryd.hot.tools import Claimed, ToolCache
from memoryd.limits import (
    TOOL_BYPASS_SECONDS,
    TOOL_FAILURE_BYTES_MAX,
    TOOL_INPUT_BYTES_MAX,
    TOOL_POLL_SECONDS_MAX,
    TOOL_POLL_SECONDS_MIN,
    TOOL_RESULT_BYTES_MAX,
)
from memoryd.model.memory import check_tags
from memoryd.model.question import check_query
from memoryd.model.scope import Scope, check_name, check_unicode
from memoryd.model.tool import Claim, Invalidated, Settled, ToolCounts
from memoryd.model.values import canonical, check_json
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure

KEY_PATTERN = re.compile(r"[0-9a-f]{32}")


class Tools:
    """The verbs of tool results."""

    def __init__(self, cache: ToolCache, questions: KeptQuestions, embeddings: EmbeddingCache | None) -> None:
        self._cache = cache
        self._questions = questions
        self._embeddings = embeddings

    async def claim(
        self,
        scope: Scope,
        tool: str,
        given: Any,
        *,
        tags: Sequence[str] = (),
        lease_seconds: float,
        private: bool = False,
        distance: float | None = None,
        request: Request,
    ) -> Claim:
        """What is kept of the tool's result for this input; else who computes it. Raises BadRequest, HotUnavailable.

        With a `distance` the input is a question in words, and what answers one that is at most so far away in meaning
        answers it too.
        """
        check_name("tool", tool)
        check_tags(tags)
        check_json("input", given, bytes_max=TOOL_INPUT_BYTES_MAX)
        if private and not scope.session:
            raise BadRequest("private: is true, and the scope names no session", field="private")
        session = scope.session if private else ""
        key = entry_key(session, tool, given)
        token = _digest("token", scope.session, request.id)
        if distance is None:
            claimed = await self._cache.claim(scope, key, token, tool=tool, tags=tags, lease_seconds=lease_seconds)
            return _measured(_claim(key, token, claimed))
        if not isinstance(given, str):
            raise BadRequest("input: is no text, expected a question in words where a distance is given", field="input")
        check_query(given)
        known = await self._cache.look(scope, key, token)
        if known.outcome != "none":
            return _measured(_claim(key, token, known))
        asked, degraded = await self._asked(scope, session, tool, given)
        for entry, far in await self._questions.near(asked, distance) if asked else ():
            similar = await self._cache.look(scope, entry, token, similar=True)
            if similar.outcome != "none":
                return _measured(msgspec.structs.replace(_claim(entry, token, similar), distance=far))
        question = self._questions.fields(asked) if asked else None
        claimed = await self._cache.claim(
            scope, key, token, tool=tool, tags=tags, lease_seconds=lease_seconds, question=question
        )
        return _measured(msgspec.structs.replace(_claim(key, token, claimed), degraded=degraded))

    async def _asked(self, scope: Scope, session: str, tool: str, question: str) -> tuple[Asked | None, str]:
        """The question with its vector; without one, why there is none: then only the very same question is found."""
        if self._embeddings is None:
            return None, "no embedding model is configured: only the same words are found"
        model = self._embeddings.embedder
        try:
            [vector] = await self._embeddings.embed([scope], [question], by=model)
        except ModelFailed as error:
            return None, f"the embedding model failed ({error.code}): only the same words are found"
        return Asked(scope, session, tool, QueryVector(vector, model.model)), ""

    async def put(self, scope: Scope, key: str, token: str, result: Any, *, ttl_seconds: float) -> Settled:
        """Keeps the result that was computed; one that is too large is noted, so that its callers need not wait."""
        _check_key(key)
        text = msgspec.json.encode(result)
        if len(text) > TOOL_RESULT_BYTES_MAX:
            ttl = min(ttl_seconds, TOOL_BYPASS_SECONDS)
            return Settled(outcome=await self._cache.settle(scope, key, token, state="bypass", ttl_seconds=ttl))
        return Settled(
            outcome=await self._cache.settle(scope, key, token, state="hit", ttl_seconds=ttl_seconds, text=text)
        )

    async def fail(self, scope: Scope, key: str, token: str, error: str, *, ttl_seconds: float) -> Settled:
        """Keeps the failure for `ttl_seconds`; with 0 the next caller computes."""
        _check_key(key)
        check_unicode("error", error)
        if len(error.encode()) > TOOL_FAILURE_BYTES_MAX:
            raise BadRequest(f"error: is longer than {TOOL_FAILURE_BYTES_MAX} bytes", field="error")
        state = "failed" if ttl_seconds else ""
        return Settled(
            outcome=await self._cache.settle(
                scope, key, token, state=state, ttl_seconds=ttl_seconds, text=error.encode()
            )
        )

    async def invalidate(self, scope: Scope, *, key: str, tool: str, tag: str) -> Invalidated:
        """Drops what fits all that is given, also what is being computed; everything when nothing is given."""
        if key:
            _check_key(key)
        for field, name in (("tool", tool), ("tag", tag)):
            if name:
                check_name(field, name)
        return Invalidated(removed=await self._cache.invalidate(scope, entry=key, tool=tool, tag=tag))

    async def counts(self, scope: Scope) -> ToolCounts:
        """What is kept, and how claims ended."""
        return ToolCounts(**await self._cache.counts(scope))


def entry_key(session: str, tool: str, given: Any) -> str:
    """The name of a tool's result for an input; `session` is empty when all sessions share it."""
    return _digest(session, tool, canonical(given).decode())


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _check_key(key: str) -> None:
    if not KEY_PATTERN.fullmatch(key):
        raise BadRequest("key: is not the key of a claim, expected 32 lower-case hex digits", field="key")


def _measured(claim: Claim) -> Claim:
    measure(telemetry.TOOL_CLAIMS, 1, {telemetry.OUTCOME: "similar" if claim.distance else claim.outcome})
    if claim.outcome == "hit":
        measure(telemetry.TOOL_RESULT_AGE, claim.age_seconds)
    return claim


def _claim(key: str, token: str, claimed: Claimed) -> Claim:
    match claimed.outcome:
        case "hit":
            return Claim(outcome="hit", key=key, result=msgspec.Raw(claimed.text), age_seconds=claimed.seconds)
        case "failed":
            return Claim(outcome="failed", key=key, error=claimed.text.decode(), age_seconds=claimed.seconds)
        case "compute":
            return Claim(outcome="compute", key=key, token=token)
        case "wait":
            pause = min(TOOL_POLL_SECONDS_MAX, max(TOOL_POLL_SECONDS_MIN, claimed.seconds / 4))
            return Claim(outcome="wait", key=key, retry_after_seconds=pause)
    return Claim(outcome=claimed.outcome, key=key)
