"""Feedback on what a recall gave: each memory's prior goes up or down, and what was said can be taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from memoryd.clock import Clock, to_microseconds
from memoryd.engine import Engine
from memoryd.errors import BadRequest, NotFound
from memoryd.hot.changes import Judgement, Request, Written
from memoryd.hot.judging import judge
from memoryd.hot.recalls import Recalls
from memoryd.hot.records import Records
from memoryd.limits import RECALL_LIMIT_MAX
from memoryd.model.feedback import USED, Judged, check_recall_id
from memoryd.model.scope import Scope
from memoryd.storing import refusal
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.metrics import measure

SAID = {"useful": (1.0, 0.0), "useless": (0.0, 1.0), "undone": (0.0, 0.0), "used": (USED, 0.0)}
"""What each verdict adds to a memory's feedback, for and against it."""


class Feedbacks:
    """The verb `feedback`, and what counts by itself."""

    def __init__(self, engine: Engine, records: Records, recalls: Recalls, clock: Clock) -> None:
        self._engine = engine
        self._records = records
        self._recalls = recalls
        self._clock = clock

    async def judge(
        self, scope: Scope, recall_id: str, *, useful: Sequence[str], useless: Sequence[str], undo: Sequence[str],
        request: Request,
    ) -> Judged:  # fmt: skip
        """Says of memories that a recall gave whether they were of use; the same again changes nothing, the opposite
        replaces it, `undo` takes it back. Raises BadRequest, NotFound, Overloaded, RequestIdReused.
        """
        said = _said(useful, useless, undo)
        kinds = await self._recalls.memories(scope, check_recall_id(recall_id))
        if kinds is None:
            raise NotFound(f"recall_id: {recall_id} is not known here, or not any more", id=recall_id)
        if strangers := [one for one in said if one not in kinds]:
            raise BadRequest(f"{strangers[0]}: is not what this recall gave", field="useful, useless or undo")
        source = f"{scope.agent}\0{recall_id}"
        return await self._all(scope, {one: (kinds[one], what) for one, what in said.items()}, source, request)

    async def used(self, scope: Scope, session_id: str, kinds: Mapping[str, str], request: Request) -> None:
        """Counts memories that a session was given to work with: each once a day and session, as a tenth of a verdict."""
        said = {one: (kind, "used") for one, kind in kinds.items()}
        await self._all(scope, said, f"used\0{session_id}", replace(request, fingerprint=""))

    async def _all(
        self, scope: Scope, said: Mapping[str, tuple[str, str]], source: str, request: Request
    ) -> Judged:
        now = to_microseconds(self._clock.now())
        judgements = {
            one: Judgement(one, kind, hashlib.sha256(f"{source}\0{one}".encode()).hexdigest()[:32], *SAID[what])
            for one, (kind, what) in said.items()
        }
        written = await self._written(scope, judgements, request, now)
        cold = [one for one, what in written.items() if what.outcome == "missing"]
        back = [one for one in cold if await self._back(scope, one)]
        written |= await self._written(scope, {one: judgements[one] for one in back}, request, now)
        for one in written.values():
            if one.outcome not in ("judged", "unchanged", "missing"):
                raise refusal(one.outcome)
        for memory_id, (_, what) in said.items():
            if written[memory_id].outcome == "judged":
                measure(telemetry.FEEDBACK, 1, {telemetry.OUTCOME: what})
        outcomes = [one.outcome for one in written.values()]
        return Judged(
            judged=outcomes.count("judged"), unchanged=outcomes.count("unchanged"),
            gone=[one for one, what in written.items() if what.outcome == "missing"],
        )  # fmt: skip

    async def _written(
        self, scope: Scope, judgements: Mapping[str, Judgement], request: Request, now: int
    ) -> dict[str, Written]:
        answers = await judge(self._records, scope, list(judgements.values()), request=request, now=now)
        return dict(zip(judgements, answers, strict=True))

    async def _back(self, scope: Scope, memory_id: str) -> bool:
        """Whether a memory that Redis does not have could be brought back from the archive."""
        try:
            await self._engine.in_hot(scope, memory_id)
        except NotFound:
            return False
        return True


def _said(useful: Sequence[str], useless: Sequence[str], undo: Sequence[str]) -> dict[str, str]:
    """What is said of each memory. Raises BadRequest when that is nothing, too much, or two things at once."""
    pairs = [(one, what) for what, ids in (("useful", useful), ("useless", useless), ("undone", undo)) for one in ids]
    said = dict(pairs)
    if not said:
        raise BadRequest("useful: nothing was said, expected ids in useful, useless or undo", field="useful")
    if len(said) != len(pairs):
        raise BadRequest("useful: a memory is named twice, expected one verdict each", field="useful")
    if len(said) > RECALL_LIMIT_MAX:
        raise BadRequest(f"useful: names {len(said)} memories, a recall gives at most {RECALL_LIMIT_MAX}", field="useful")
    return said
