"""A short summary of each of an agent's days, and a note by date that names it.

The summary is a memory made of the day's, like those of `lifecycle.compressing`: so it is forgotten with any of them, archived,
and found. Nothing moves for it. The note is a document without any text; where what it names is forgotten, the day has none, and
gets another one when it is asked to be made, or in the next night.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec

from memoryd.agent.documents import DocumentStore
from memoryd.archive.causes import link_to_writes
from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.engine import Engine
from memoryd.errors import NotFound, SummarizerFailed
from memoryd.hot.changes import Request
from memoryd.hot.documents import Change
from memoryd.lifecycle.compressing import plain
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.summarizing import Summarizing, room_for, size_of
from memoryd.limits import COMPRESS_MEMORIES_MAX, DAY_CHARS_MAX, DAY_SOURCES_MAX
from memoryd.model.day import DaySummary, bounds, check_over, day_place, day_scope, to_day
from memoryd.model.memory import Memory, MemoryType, NewMemory
from memoryd.model.scope import Scope
from memoryd.model.summary import DAY, MADE_BY, SUMMARY, is_summary, of_a_day
from memoryd.summarize.gate import SHARE_MAX
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.tracing import inside, tell


@dataclass(frozen=True)
class Chosen:
    """What a day's summary is made of, in the order in which it happened, and what it stands for by that."""

    sources: Sequence[Memory]
    memories: int
    chars: int
    left_out: int


class Days:
    """The days of agents in one Redis and one archive."""

    def __init__(
        self, engine: Engine, archive: Archive, planner: Planner, summarizing: Summarizing, store: DocumentStore
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._planner = planner
        self._summarizing = summarizing
        self._store = store

    async def day(self, scope: Scope, day: date, *, agent: str | None, make: bool, request: Request) -> DaySummary:
        """The summary of an agent's day; with `make` it is made where there is none.

        Raises BadRequest, NotFound, and what `made` raises.
        """
        own = day_scope(scope, agent)
        check_over(day, self._store.clock.now())
        found = await self.known(own, day)
        if found is None and make:
            found = await self.made(own, day, request)
        if found is None:
            raise NotFound(
                f"{day}: this day has no summary",
                hint="make=True (--make) makes it now; with MEMORYD_DAY_SUMMARIES=true each night makes those of the last days",
            )
        return found

    async def known(self, scope: Scope, day: date) -> DaySummary | None:
        """The day as it is noted; None when it is not, or what is noted is forgotten by now."""
        noted = await self._store.get(day_place(scope, day))
        if noted is None:
            return None
        try:
            summary = await self._engine.get(scope, noted.body["summary"])
        except NotFound:
            return None
        return to_day(day, noted.body, summary)

    @inside(telemetry.COMPRESS_GROUP)
    async def made(self, scope: Scope, day: date, request: Request) -> DaySummary:
        """Makes the summary of an agent's day, and notes it. One that was made and not noted (who made it died) is noted.

        Raises NotFound when nothing of that day is remembered; SummarizerFailed, with the reason, when there is no summary that is
        good; Forgotten when something was forgotten meanwhile. Nothing is changed then.
        """
        since, before = bounds(day)
        memories = await self._planner.happened(scope, since, before, most=COMPRESS_MEMORIES_MAX)
        summary = next((one for one in memories if of_a_day(one) == day), None)
        if summary is None:
            summary = await self._stored(scope, day, chosen(memories, before, most=DAY_SOURCES_MAX), request)
        body = _note(day, summary)
        await self._store.put(Change(day_place(scope, day), body, Request(secrets.token_hex(12), "day", request.traceparent)))
        return to_day(day, body, summary)

    async def _stored(self, scope: Scope, day: date, of: Chosen, request: Request) -> Memory:
        tell({telemetry.BATCH_SIZE: len(of.sources)})
        if not of.sources:
            raise NotFound(f"{day}: nothing of this day is remembered that a summary could speak of")
        await link_to_writes(self._archive, [one.id for one in of.sources])
        room = min(DAY_CHARS_MAX, room_for(of.sources), int(size_of(of.sources) * SHARE_MAX))  # a day may be short
        made = await self._summarizing.judged(of.sources, room)
        if made.reason:
            raise SummarizerFailed(f"{day}: its summary was refused: {made.reason}", retryable=False)
        what = [str(day), await self._generation(scope, day), *((one.id, one.version) for one in of.sources)]
        group = hashlib.sha256(msgspec.json.encode(what)).hexdigest()
        new = _summary(day, of, made.text, self._summarizing.made_by)
        once = Request(f"{MADE_BY} {group[:32]}", group[:32], request.traceparent)
        return await self._engine.get(scope, (await self._engine.store(scope, new, request=once)).id)

    async def _generation(self, scope: Scope, day: date) -> int:
        """Another number whenever what was noted of the day is forgotten: a summary that is made of the same after that is no
        repeat of the one before, whose request would be answered with what is forgotten."""
        place = day_place(scope, day)
        noted = await self._store.get(place)
        return noted.version if noted else (await self._store.documents.known(place))[1]


def chosen(memories: Sequence[Memory], before: datetime, *, most: int) -> Chosen:
    """Of a day's memories those that its summary is made of: all that is plain, wherever it lives.

    Where that is too many, the summaries of sessions that ended in the day, instead of what these stand for; of too many again,
    these first, then the most important, and of equals any, so that all hours have some.
    """
    everything = [one for one in memories if plain(one)]
    if len(everything) <= most:
        return Chosen(everything, len(everything), size_of(everything), 0)
    known = {one.id: one for one in memories}
    summaries = [one for one in memories if is_summary(one) and not of_a_day(one) and _ended(one, before)]
    stands = {one.id: _current(one, known) for one in summaries}
    covered = {source for some in stands.values() for source in some}
    rest = [one for one in everything if one.id not in covered]
    ranked = sorted([*summaries, *rest], key=lambda one: (one.id not in stands, -one.importance, one.content_hash))
    taken = sorted(ranked[:most], key=lambda one: (one.valid_from, one.created_at, one.id))
    spoken = {source for one in taken for source in stands.get(one.id, [one.id])}
    chars = sum(_chars(one) if one.id in stands else len(one.content) for one in taken)
    return Chosen(taken, len(spoken), chars, len(covered) + len(rest) - len(spoken))


def _current(summary: Memory, known: Mapping[str, Memory]) -> list[str]:
    """What a summary stands for: not what has said something else since."""
    return [
        one for one in summary.derived_from if one not in known or known[one].recorded_at <= summary.recorded_at
    ]


def _ended(summary: Memory, before: datetime) -> bool:
    """Whether the last of what it stands for is of this day, too."""
    try:
        return datetime.fromisoformat(_told(summary)["until"]) < before
    except (KeyError, TypeError, ValueError):  # somebody has changed what it says of itself
        return False


def _chars(summary: Memory) -> int:
    told = _told(summary).get("chars")
    return told if isinstance(told, int) else len(summary.content)


def _told(summary: Memory) -> Mapping[str, Any]:
    told = summary.metadata.get(SUMMARY)
    return told if isinstance(told, Mapping) else {}


def _summary(day: date, of: Chosen, text: str, made_by: str) -> NewMemory:
    """The summary as a memory. It has no words of its sources beside its own (see `gate.words_for`): these are found themselves."""
    sources = of.sources
    return NewMemory(
        content=text, type=MemoryType.SEMANTIC, dedup=False, source_tool=MADE_BY, tags=[SUMMARY, DAY],
        importance=sum(one.importance for one in sources) / len(sources), derived_from=[one.id for one in sources],
        valid_from=sources[0].valid_from,
        metadata={
            SUMMARY: {
                DAY: str(day), "memories": of.memories, "chars": of.chars, "read": size_of(sources), "left_out": of.left_out,
                "made_by": made_by, "from": sources[0].valid_from.isoformat(), "until": sources[-1].valid_from.isoformat(),
            }
        },
    )  # fmt: skip


def _note(day: date, summary: Memory) -> dict[str, Any]:
    told = _told(summary)
    return {
        "date": str(day), "summary": summary.id, "memories": told["memories"], "chars": told["chars"],
        "left_out": told["left_out"], "made_by": told["made_by"], "made_at": to_microseconds(summary.created_at),
    }  # fmt: skip
