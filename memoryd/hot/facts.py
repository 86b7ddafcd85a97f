"""Triples in Redis: found by any of their parts and by time; what contradicts another changes it in one atomic step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.hot import scripts
from memoryd.hot.answers import id_of, whole
from memoryd.hot.changes import Request, Written
from memoryd.hot.clauses import scope_clause
from memoryd.hot.client import hot_errors
from memoryd.hot.codec import Encoded, record_fields, to_fields
from memoryd.hot.seen import noting
from memoryd.keys import Keys, kind_of
from memoryd.limits import FACT_TURN_SECONDS, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX
from memoryd.model.fact import Change, FactFilter
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.record import Record
from memoryd.model.scope import Scope
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside

INDEX = names.index(kind_of(MemoryType.FACT))


@dataclass(frozen=True)
class Saying:
    """One step on the facts of a key: a new memory, or one that is known, or none; and what changes with it."""

    key: str
    turn: str
    """When the facts of the key were changed last, as it was planned."""
    scope: Scope
    request: Request
    now: int
    new: Memory | None = None
    known: Memory | None = None
    changes: Sequence[Change] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """The id of the memory that it is about; where there is none, one in the bucket of the key."""
        about = self.new or self.known
        return about.id if about else f"mem_{self.key}"


@dataclass(frozen=True)
class Said:
    """What the step did, and the ids of the facts that it has ended."""

    written: Written
    ended: list[str]


class HotFacts:
    """The triples of one Redis."""

    def __init__(self, redis: Redis, keys: Keys, datatype: str = "float32") -> None:
        self._redis = redis
        self._keys = keys
        self._datatype = datatype

    async def turn(self, key: str) -> str:
        """When the facts of a key were changed last, '' when that is long ago. Look first, then read them."""
        with hot_errors("look for facts"):
            raw: Any = await self._redis.get(self._keys.turn(key))
        return raw.decode() if raw else ""

    async def find(self, scope: Scope, wanted: FactFilter, count: int) -> list[str]:
        """The ids of the scope's triples that fit, those that hold since last first."""
        clause = scope_clause(scope)
        clause.between("confidence", None, None)  # which every triple has, and nothing else
        for name, text in wanted.parts().items():
            clause.tag(name, [text])
        if wanted.confidence_min > 0:
            clause.parts.append(f"@confidence:[{wanted.confidence_min!r} +inf]")
        if wanted.at is not None:
            clause.between("valid_from", None, wanted.at)
            clause.never("valid_until", wanted.at)
        query = ["FT.SEARCH", INDEX, str(clause), *clause.arguments(), "NOCONTENT",
                 "SORTBY", "valid_from", "DESC", "LIMIT", 0, count, "DIALECT", 2]  # fmt: skip
        with hot_errors("look for facts"):
            answer: Any = await self._redis.execute_command(*query)  # type: ignore[no-untyped-call]
        return [id_of(row) for row in whole(answer, "look for facts")[b"results"]]

    @inside(telemetry.WRITE)
    async def say(self, saying: Saying, *, fsync: bool) -> tuple[Said, bool]:
        """Takes the step: stored, updated, reinforced, ended; raced, overloaded, reused. The flag is the wanted fsync's."""
        about, keys, kind = saying.subject, self._keys, kind_of(MemoryType.FACT)
        bucket = keys.bucket(about)
        places = [
            keys.memory(kind, saying.scope, about), keys.journal(bucket), keys.tombstone(about),
            keys.idempotency(saying.scope, about, saying.request.id), keys.kept_events(bucket, saying.scope),
            keys.turn(saying.key), *(keys.memory(kind, saying.scope, one.memory.id) for one in saying.changes),
        ]  # fmt: skip
        changes = [
            {"version": str(one.memory.version), "fields": {name: _text(raw) for name, raw in to_fields(one.values).items()}}
            for one in saying.changes
        ]
        args: list[Encoded] = [
            saying.request.fingerprint, IDEMPOTENCY_TTL_SECONDS, JOURNAL_ENTRIES_MAX, names.events_prefix(saying.scope),
            saying.request.traceparent, saying.turn, FACT_TURN_SECONDS, saying.now,
            "new" if saying.new else "known" if saying.known else "none", msgspec.json.encode(changes),
        ]  # fmt: skip
        seen = noting(keys, [(saying.scope, saying.new.content_hash)]) if saying.new else []
        if saying.new:
            fields = record_fields(Record(saying.new), self._datatype)
            del fields["version"]  # a fact is born once
            args += [part for pair in fields.items() for part in pair]
        with hot_errors("say a fact"):
            raw, fsynced = await scripts.fact.durably(self._redis, places, args, first=seen, fsync=fsync)
        words = [part.decode() if isinstance(part, bytes) else part for part in raw]
        return Said(Written.parse(words[:5]), [one for one in "".join(words[5:6]).split(",") if one]), fsynced


def _text(value: Encoded) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
