"""What an agent holds for true: subject, predicate, object, since when, until when, and how surely.

A triple is a memory of type `fact`: it is recalled, archived, versioned and forgotten like any other. Besides, it knows what it
contradicts: of one subject and predicate one object holds at a time, and what held before is ended, not overwritten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec

from memoryd.archive.facts import FactArchive
from memoryd.clock import Clock, to_microseconds
from memoryd.engine import Engine
from memoryd.errors import ArchiveUnavailable, BadRequest, Overloaded, TooLarge
from memoryd.hot.changes import Request
from memoryd.hot.facts import HotFacts, Said, Saying
from memoryd.hot.records import Records
from memoryd.limits import FACTS_OF_KEY_MAX
from memoryd.model.fact import (
    FACT,
    Believed,
    Change,
    Ended,
    FactFilter,
    Facts,
    NewFact,
    check_fact,
    check_parts,
    ending,
    facts_of,
    key_of,
    planned,
    said,
    settled,
    to_metadata,
)
from memoryd.model.ids import fact_id, hash_content
from memoryd.model.memory import Durability, Memory, MemoryType, NewMemory, in_utc
from memoryd.model.scope import Scope
from memoryd.storing import RETRY_AFTER_SECONDS, born, refusal

TRIES_MAX = 32  # of one step: each repetition means that somebody else has said something of the same subject


class FactStore:
    """The verbs of facts."""

    def __init__(self, engine: Engine, records: Records, hot: HotFacts, archive: FactArchive, clock: Clock) -> None:
        self._engine = engine
        self._records = records
        self._hot = hot
        self._archive = archive
        self._clock = clock

    async def put(self, scope: Scope, new: NewFact, *, durability: Durability, request: Request) -> Believed:
        """Says a fact: what contradicts it is ended when it begins. Raises what `store` raises."""
        scope = scope.narrowed(new.session)
        new = check_fact(new)
        memory = _memory(new)
        await self._engine.check_sources(scope, new.derived_from)
        key = key_of(scope, new.subject, new.predicate)
        memory_id = fact_id(key, request.id, hash_content(memory.content))

        async def plan(turn: str) -> Saying:
            now = self._clock.now()
            start = new.valid_from or now
            if new.valid_until and new.valid_until <= start:
                raise BadRequest("valid_until: is not after the fact begins", field="valid_until")
            known = await self._known(scope, new.subject, new.predicate, lambda here: settled(here, new, start))
            found = planned(known, new, start)
            await self._bring_back(scope, found.changes, found.known)
            saying = Saying(
                key, turn, scope, request, to_microseconds(now), known=found.known, changes=_recorded(found.changes, now)
            )
            if found.known:
                return saying
            fresh = born(memory_id, scope, memory, now)
            return replace(saying, new=msgspec.structs.replace(fresh, valid_from=start, valid_until=found.until))

        step, fsynced = await self._say(key, plan, durability)
        stored = await self._engine.acknowledge(scope, step.written, fsynced, durability)
        return Believed(
            id=stored.id, version=stored.version, outcome=stored.outcome, ended=step.ended, durability=durability,
            replayed=stored.replayed,
        )  # fmt: skip

    async def end(
        self, scope: Scope, subject: str, predicate: str, object_: str, *, at: datetime | None, session: str | None,
        durability: Durability, request: Request,
    ) -> Ended:  # fmt: skip
        """Says that something holds no longer: what holds at that moment, of one object or of all."""
        scope = scope.narrowed(session)
        check_parts(subject, predicate, object_ or subject)
        key = key_of(scope, subject, predicate)

        async def plan(turn: str) -> Saying:
            now = self._clock.now()
            moment = in_utc("at", at) if at else now
            changes = ending(await self._known(scope, subject, predicate, lambda _: False), object_, moment)
            await self._bring_back(scope, changes, None)
            return Saying(key, turn, scope, request, to_microseconds(now), changes=_recorded(changes, now))

        step, fsynced = await self._say(key, plan, durability)
        if step.ended:
            await self._engine.acknowledge(scope, step.written, fsynced, durability)
        return Ended(ended=step.ended)

    async def find(self, scope: Scope, wanted: FactFilter, *, limit: int, session: str | None) -> Facts:
        """The scope's facts that fit, wherever they live; those that hold since last first."""
        scope = scope.narrowed(session)
        check_parts(wanted.subject, wanted.predicate, wanted.object, some=True)
        memories, degraded = await self._find(scope, wanted, limit)
        return Facts(facts=facts_of(memories)[:limit], degraded=degraded)

    # --- what they share --------------------------------------------------------------------------------------------

    async def _say(
        self, key: str, plan: Callable[[str], Awaitable[Saying]], durability: Durability
    ) -> tuple[Said, bool]:
        """Looks, plans and takes the step, until nobody has come between. The flag is the wanted fsync's."""
        for _ in range(TRIES_MAX):
            saying = await plan(await self._hot.turn(key))
            step, fsynced = await self._hot.say(saying, fsync=durability is not Durability.HOT)
            if step.written.outcome in ("overloaded", "reused"):
                raise refusal(step.written.outcome)
            if step.written.outcome != "raced":
                return step, fsynced
        raise Overloaded("too many say something of this subject at once", retry_after_seconds=RETRY_AFTER_SECONDS)

    async def _known(
        self, scope: Scope, subject: str, predicate: str, enough: Callable[[Sequence[Memory]], bool]
    ) -> list[Memory]:
        """The facts of a key: those in Redis; unless these are enough, those that have left it as well.

        While MongoDB is away, those in Redis have to do: a write waits for no archive.
        """
        wanted = FactFilter(subject=subject, predicate=predicate)
        here = _of(scope, await self._here(scope, wanted, FACTS_OF_KEY_MAX + 1))
        if len(here) > FACTS_OF_KEY_MAX:
            raise TooLarge(f"more than {FACTS_OF_KEY_MAX} facts have this subject and predicate", field="subject")
        if enough(here):
            return here
        try:
            return _of(scope, await self._with_archived(scope, wanted, FACTS_OF_KEY_MAX, here))
        except ArchiveUnavailable:
            return here

    async def _find(self, scope: Scope, wanted: FactFilter, limit: int) -> tuple[list[Memory], str]:
        here = await self._here(scope, wanted, limit)
        try:
            return await self._with_archived(scope, wanted, limit, here), ""
        except ArchiveUnavailable:
            return _newest_first(here), "the archive does not answer: only what lives in Redis"

    async def _here(self, scope: Scope, wanted: FactFilter, limit: int) -> list[Memory]:
        ids = await self._hot.find(scope, wanted, limit)
        return list((await self._records.get_many(scope, dict.fromkeys(ids, "semantic"))).values())

    async def _with_archived(
        self, scope: Scope, wanted: FactFilter, limit: int, here: Sequence[Memory]
    ) -> list[Memory]:
        """Those that are here, and those of the archive that Redis does not have in any form."""
        archived = await self._archive.find(scope, wanted, limit)
        ids = [one.id for one in archived]
        elsewhere = {**await self._records.present(scope, ids), **await self._records.tombstones.versions(ids)} if ids else {}
        return _newest_first([*here, *(one for one in archived if one.id not in elsewhere)])

    async def _bring_back(self, scope: Scope, changes: Sequence[Change], known: Memory | None) -> None:
        """What is to be changed has to be in Redis."""
        for memory in [one.memory for one in changes] + ([known] if known else []):
            await self._engine.in_hot(scope, memory.id)


def _memory(new: NewFact) -> NewMemory:
    return NewMemory(
        content=said(new), type=MemoryType.FACT, importance=new.importance, tags=new.tags, source_tool=new.source_tool,
        derived_from=new.derived_from, metadata={FACT: to_metadata(new)}, valid_from=new.valid_from,
        valid_until=new.valid_until, dedup=False,
    ).check()  # fmt: skip


def _recorded(changes: Sequence[Change], now: datetime) -> list[Change]:
    return [replace(one, values={**one.values, "recorded_at": now}) for one in changes]


def _of(scope: Scope, memories: Sequence[Memory]) -> list[Memory]:
    """Those that are exactly the scope's: another agent's facts, or another session's, contradict nobody's here."""
    return [one for one in memories if one.scope == scope]


def _newest_first(memories: Sequence[Memory]) -> list[Memory]:
    return sorted(memories, key=lambda one: (one.valid_from, one.id), reverse=True)
