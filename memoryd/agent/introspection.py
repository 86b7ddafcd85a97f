"""What an agent knows, about what, how surely, since when, and how well it is doing; and what it does not know.

All numbers are counted in one store: in the archive, once it has everything that this Redis has journaled; in Redis alone while
the archive does not answer, and the answer says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from memoryd.agent.counting import brief, doing, entities_of, surety_of, topics_of
from memoryd.agent.facts import FactStore
from memoryd.agent.gaps import GapNotes, alike, fits
from memoryd.agent.states import AgentStates
from memoryd.clock import Clock, to_microseconds
from memoryd.errors import ArchiveUnavailable, NotFound
from memoryd.hot.journal import archived_up_to, last_entry
from memoryd.limits import (
    CAUGHT_UP_SECONDS,
    FACT_NAME_BYTES_MAX,
    INTROSPECT_EVENTS_MAX,
    INTROSPECT_SAMPLE_MAX,
    KNOWLEDGE_FACTS_MAX,
)
from memoryd.model.agent import AgentState
from memoryd.model.fact import Fact, FactFilter, confidence_of, holds, triple_of
from memoryd.model.introspection import (
    Counts,
    Doing,
    Event,
    Evidence,
    Introspection,
    Knowledge,
    Topic,
)
from memoryd.model.memory import Memory
from memoryd.model.question import Question
from memoryd.model.results import Hit
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms, terms
from memoryd.recalling import Recalling
from memoryd.retry import heedful_sleep

PAUSE_SECONDS = 0.02  # the archiver works in batches of milliseconds


class Self(Protocol):
    """One store's knowledge of an agent. Each raises the store's own unavailability."""

    @property
    def name(self) -> str: ...
    async def counts(self, scope: Scope, now: datetime) -> Counts: ...
    async def newest(self, scope: Scope, limit: int) -> list[Memory]: ...
    async def oldest(self, scope: Scope) -> list[Memory]: ...
    async def most_used(self, scope: Scope, limit: int) -> list[Memory]: ...
    async def events(self, scope: Scope, since: int, limit: int) -> list[Event]: ...


class Introspect:
    """The verbs by which an agent looks at itself."""

    def __init__(
        self, recalling: Recalling, states: AgentStates, facts: FactStore, gaps: GapNotes, archived: Self, hot: Self,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._recalling = recalling
        self._states = states
        self._facts = facts
        self._gaps = gaps
        self._archived = archived
        self._hot = hot
        self._clock = clock

    async def introspect(self, scope: Scope, *, agent: str | None = None, days: int, limit: int) -> Introspection:
        """The whole report: of the events of the last `days`, with lists of at most `limit`."""
        scope = scope.of_agent(agent)
        try:
            await self._caught_up()
            return await self._report(scope, self._archived, days, limit, "")
        except ArchiveUnavailable:
            degraded = "the archive does not answer or is behind: only what lives in Redis"
            return await self._report(scope, self._hot, days, limit, degraded)

    async def what_do_i_know(self, scope: Scope, about: str, *, session: str | None, limit: int) -> Knowledge:
        """What speaks of something, how surely, and since when. Raises what `recall` raises."""
        found = await self._recalling.recall(scope, Question(query=about, limit=limit, session=session))
        await self._gaps.note(scope.narrowed(session), about, found)
        now = self._clock.now()
        facts = await self._facts_about(scope, about, session)
        current = [one for one in facts if one.valid_from <= now and (one.valid_until is None or now < one.valid_until)]
        evidence = [_evidence(hit, about, now) for hit in found if fits(hit, about)]
        times = [one.valid_from for one in facts] + [one.valid_from for one in evidence]
        return Knowledge(
            about=about, known=bool(facts or evidence), confidence=max((one.confidence for one in current), default=None),
            since=min(times, default=None), latest=max(times, default=None), facts=facts, evidence=evidence,
            degraded=found.degraded,
        )  # fmt: skip

    async def _facts_about(self, scope: Scope, about: str, session: str | None) -> list[Fact]:
        if len(about.encode()) > FACT_NAME_BYTES_MAX:
            return []
        found: dict[str, Fact] = {}
        for wanted in (FactFilter(subject=about), FactFilter(object=about)):
            facts = await self._facts.find(scope, wanted, limit=KNOWLEDGE_FACTS_MAX, session=session)
            found |= {one.id: one for one in facts.facts}
        return list(found.values())

    async def _report(self, scope: Scope, store: Self, days: int, limit: int, degraded: str) -> Introspection:
        now = self._clock.now()
        since = now - timedelta(days=days)
        counts, sample, oldest, used, events = await asyncio.gather(
            store.counts(scope, now), store.newest(scope, INTROSPECT_SAMPLE_MAX), store.oldest(scope),
            store.most_used(scope, limit), store.events(scope, to_microseconds(since), INTROSPECT_EVENTS_MAX + 1),
        )  # fmt: skip
        said = [degraded] if degraded else []
        entities, topics, done = await asyncio.to_thread(_counted, sample, events[:INTROSPECT_EVENTS_MAX], since, limit)
        if len(events) > INTROSPECT_EVENTS_MAX:
            said.append(f"more than {INTROSPECT_EVENTS_MAX} events: only the newest are reported on")
        return Introspection(
            at=now, state=await self._state(scope), memories=counts.by_type.total(), by_type=dict(counts.by_type),
            by_tier=dict(counts.by_tier), by_age=dict(counts.by_age), since=oldest[0].created_at if oldest else None,
            latest=sample[0].created_at if sample else None, surety=surety_of(sample, now), topics=topics,
            entities=entities, sample=len(sample), freshest=[brief(one) for one in sample[:limit]],
            most_used=[brief(one) for one in used], doing=done,
            gaps=(await self._gaps.gaps.of(scope))[:limit], source=store.name, degraded="; ".join(said),
        )  # fmt: skip

    async def _state(self, scope: Scope) -> AgentState | None:
        if scope.agent:
            with contextlib.suppress(NotFound, ArchiveUnavailable):
                return await self._states.get(scope)
        return None

    async def _caught_up(self) -> None:
        """Waits until the archive has all that is journaled by now. Raises ArchiveUnavailable."""
        documents = self._states.store.documents
        redis, keys = documents.redis, documents.keys
        buckets = keys.all_buckets()
        ends = dict(zip(buckets, await asyncio.gather(*(last_entry(redis, keys, one) for one in buckets)), strict=True))
        try:
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                while True:
                    places = await archived_up_to(redis, keys, ends)
                    if not (ends := {one: end for one, end in ends.items() if places[one] < end}):
                        return
                    await heedful_sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise ArchiveUnavailable("the archive is behind the journal") from None


def _counted(
    sample: Sequence[Memory], events: Sequence[Event], since: datetime, limit: int
) -> tuple[list[Topic], list[Topic], Doing]:
    """What takes so long to count that others have to be served meanwhile: a second for the largest report."""
    entities = entities_of(sample)
    topics = topics_of(sample, limit, besides=[one.name for one in entities])
    return entities[:limit], topics, doing(events, since)


def _evidence(hit: Hit, about: str, now: datetime) -> Evidence:
    memory, asked, triple = hit.memory, set(query_terms(about)), triple_of(hit.memory)
    words = len(asked & set(terms(memory.content))) / len(asked) if asked else 0.0
    return Evidence(
        id=memory.id, type=memory.memory_type, content=memory.content, confidence=confidence_of(triple) if triple else None,
        fit=round(min(1.0, max(0.0, words, alike(hit))), 6), holds=holds(memory, now), valid_from=memory.valid_from,
        valid_until=memory.valid_until, recorded_at=memory.recorded_at, source_tool=memory.source_tool,
        derived_from=memory.derived_from, agent_id=memory.agent_id, shared=hit.shared,
    )  # fmt: skip
