"""What recalls have given: ids only, so that feedback can name a recall. The newest of each agent, for a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from memoryd.clock import Clock, to_microseconds
from memoryd.hot.client import hot_errors
from memoryd.keys import KINDS, Keys
from memoryd.limits import RECALL_LIFE_SECONDS, RECALLS_KEPT_MAX
from memoryd.model.scope import Scope, to_tag


@dataclass(frozen=True)
class Note:
    """A recall that is to be noted: a stream's name and its fields, and what it uses (a key of uses, and a record's)."""

    key: str
    fields: Mapping[str, str]
    uses: Sequence[tuple[str, str]]

    def on(self, pipe: Any) -> None:
        """Adds it to a pipeline; the first command answers the recall's id."""
        pipe.xadd(self.key, self.fields, maxlen=RECALLS_KEPT_MAX, approximate=True)
        pipe.expire(self.key, RECALL_LIFE_SECONDS)
        for uses, record in self.uses:
            pipe.hincrby(uses, record, 1)


def note_of(keys: Keys, scope: Scope, kinds: Mapping[str, str], *, used: int) -> Note:
    """The note of a recall in `scope` that gives these memories; `kinds` says of each id of which kind it is. As many as
    `used` are in the answer for sure; the others only where one of these is gone."""
    uses = [(keys.uses(keys.bucket(one)), keys.memory(kind, scope, one)) for one, kind in list(kinds.items())[:used]]
    by_kind = {kind: ",".join(one for one, of in kinds.items() if of == kind) for kind in KINDS}
    return Note(keys.recalls(scope), {"session": to_tag(scope.session), **by_kind}, uses)


class Recalls:
    """The recalls that one Redis knows."""

    def __init__(self, redis: Redis, keys: Keys, clock: Clock) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._clock = clock

    async def memories(self, scope: Scope, recall_id: str) -> dict[str, str] | None:
        """What a recall of the scope gave: kinds by id. None when it is not known, or not any more."""
        milliseconds = int(recall_id.partition("-")[0])
        if to_microseconds(self._clock.now()) // 1000 - milliseconds > RECALL_LIFE_SECONDS * 1000:
            return None  # the stream lives on as long as the agent recalls
        with hot_errors("feedback"):
            rows = await self._redis.xrange(self._keys.recalls(scope), recall_id, recall_id)
        if not rows:
            return None
        fields = {name.decode(): value.decode() for name, value in rows[0][1].items()}
        if scope.session and fields["session"] != to_tag(scope.session):
            return None
        return {one: kind for kind in KINDS for one in fields[kind].split(",") if one}
