"""A look at every memory of a Redis, with what the policy has to know of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded
from memoryd.hot.lookups import key_batches
from memoryd.hot.records import Records
from memoryd.keys import KINDS
from memoryd.lifecycle.policy import Candidate
from memoryd.limits import SURVEY_BATCH_MAX, TIER_BATCH_MAX
from memoryd.model.feedback import from_text
from memoryd.model.memory import MemoryType, Tier
from memoryd.model.rules import Configured, rules_of
from memoryd.model.scope import Scope, from_tag
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.tiers")

_FIELDS = (
    "id", "tenant", "project", "agent_id", "tier", "memory_type", "importance", "created_at", "last_accessed", "access_count",
    "tags", "pending", "feedback", "used", "weight", "event_type", "subject", "version", "derived_from",
    "session_id",
)  # fmt: skip
_TEXTS = {"content": 1, "metadata": 1, "terms": 3}  # what a light record lacks, and how often it is kept, index included
_VECTOR = "embedding"  # which is whole: a light record has half of one


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One record as the policy and the mover look at it."""

    key: str
    project: Scope
    candidate: Candidate
    whole: bool
    """Whether its content is here."""
    vector: bool
    """Whether its vector is here whole."""
    pending: bool
    version: int
    created_at: float
    """Seconds since 1970."""
    session: str
    tags: Sequence[str]
    derived_from: Sequence[str]


class Survey:
    """Looks at one Redis."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._redis: Any = records.redis

    async def each(self, now: float, configured: Configured) -> AsyncIterator[list[Surveyed]]:
        """Every memory, some at a time. By keys: what no index holds is found too. What is no record, or holds what no memory
        does, is left out."""
        uses = await self.uses()
        with hot_errors("look at the tiers"):
            async for some in key_batches(self._redis, names.RECORDS, SURVEY_BATCH_MAX, count=TIER_BATCH_MAX, kind="HASH"):
                yield await self._look(some, uses, now, configured)

    async def of(self, keys: Sequence[str], uses: Mapping[str, int], now: float, configured: Configured) -> list[Surveyed]:
        """The same of those of these records that are there, which may be few; `uses` as `uses()` has found them. Whether a
        content or a vector is there, and how large, is not looked at."""
        return await self._look(keys, uses, now, configured, texts=()) if keys else []

    async def one(self, scope: Scope, memory_id: str, now: float, configured: Configured) -> Surveyed | None:
        """The same of one memory."""
        keys = [self._records.keys.memory(kind, scope, memory_id) for kind in KINDS]
        found = await self._look(keys, await self.uses(), now, configured)
        return next((one for one in found if not scope.agent or one.candidate.agent == scope.agent), None)

    async def uses(self) -> Mapping[str, int]:
        """How often each record was read since that was counted last."""
        with hot_errors("look at the tiers"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for bucket in self._records.keys.all_buckets():
                    pipe.hgetall(self._records.keys.uses(bucket))
                answers = await pipe.execute()
        return {key.decode(): int(count) for one in answers for key, count in one.items()}

    async def _look(
        self, keys: Sequence[str], uses: Mapping[str, int], now: float, configured: Configured, *,
        texts: Sequence[str] = (*_TEXTS, _VECTOR),
    ) -> list[Surveyed]:  # fmt: skip
        measured = [f"{_VECTOR}{self._records.slot}" if name == _VECTOR else name for name in texts]
        wanted: list[Encoded] = [len(_FIELDS), *_FIELDS, *measured]
        batches = [keys[start : start + SURVEY_BATCH_MAX] for start in range(0, len(keys), SURVEY_BATCH_MAX)]
        with hot_errors("look at the tiers"):
            answers = [await scripts.survey(self._redis, some, wanted) for some in batches]
        rows = [row for answer in answers for row in answer]
        found = []
        for key, row in zip(keys, rows, strict=True):
            try:
                if row and row[0]:
                    known, sizes = row[: len(_FIELDS)], row[len(_FIELDS) :]
                    found.append(_surveyed(key, known, sizes, uses.get(key, 0), now, configured))
            except ValueError:  # it must not keep the others from their tiers
                log.warning("tiers.no_memory", id=key[-names.ID_CHARS :], next="memoryd sync verify")
        return found


def _surveyed(
    key: str, row: Sequence[bytes | None], sizes: Sequence[int], uses: int, now: float, configured: Configured
) -> Surveyed:
    text = {name: (raw or b"").decode() for name, raw in zip(_FIELDS, row, strict=True)}
    project = Scope(from_tag(text["tenant"]), from_tag(text["project"]))
    tags = list(map(from_tag, text["tags"].split(",")))
    said = from_text(text["feedback"])
    used_at = max(int(text["created_at"]), int(text["last_accessed"])) / 1e6
    size = sum(size * times for size, times in zip(sizes, _TEXTS.values(), strict=False))
    whole, vector = bool(sizes and sizes[0]), bool(sizes and sizes[-1])
    candidate = Candidate(
        text["id"], Tier(text["tier"]), MemoryType(text["memory_type"]), float(text["importance"]),
        now if uses else used_at, from_tag(text["agent_id"]), int(text["access_count"]) + uses,
        said.prior(int(now * 1e6)) if said else 0.0, bool(uses) or text["used"] == "1",
        _held(text, tags, rules_of(configured, project.tenant, project.project).pin_tags),
        size if whole else int(text["weight"] or 0),
    )  # fmt: skip
    return Surveyed(
        key, project, candidate, whole=whole, vector=vector, pending=text["pending"] == "1", version=int(text["version"]),
        created_at=int(text["created_at"]) / 1e6, session=from_tag(text["session_id"]), tags=tags,
        derived_from=list(filter(None, text["derived_from"].split(","))),
    )  # fmt: skip


def _held(text: Mapping[str, str], tags: Sequence[str], pin_tags: Sequence[str]) -> str:
    """Why a memory must stay where it is. What is asked for by what it is (an event of a log, a triple) is read whole."""
    if set(tags) & set(pin_tags):
        return "pinned"
    if text["event_type"]:
        return "an event of a log"
    if text["subject"]:
        return "a fact in parts"
    if text["pending"] == "1":
        return "it waits for its vector"
    return ""
