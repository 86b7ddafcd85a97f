"""Kept spans, found: in Redis's stream first, and in MongoDB what has left it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from memoryd.archive.store import Archive
from memoryd.hot.client import hot_errors
from memoryd.keys import TRACES
from memoryd.limits import TRACE_SPANS_MAX, TRACES_BATCH_MAX, TRACES_SHOWN_MAX
from memoryd.traces.keep import COLLECTION, from_document, read
from memoryd.traces.span import Span


class Traces:
    """The kept spans of one installation. `archive` is None where nothing is kept in MongoDB."""

    def __init__(self, redis: Redis, archive: Archive | None) -> None:
        self._redis: Any = redis
        self._archive = archive

    async def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, and those that link to it. Raises HotUnavailable, ArchiveUnavailable."""
        return await self._matching(
            lambda one: one.trace_id == trace_id or any(linked == trace_id for linked, _ in one.links),
            {"$or": [{"trace_id": trace_id}, {"caused_by": trace_id}]},
        )

    async def slowest(self, count: int) -> list[Span]:
        """The spans that took longest, those of one trace once."""
        found = await self._matching(lambda _: True, {}, sort=("took", -1))
        return _first_of_traces(sorted(found, key=lambda one: one.start - one.end), count)

    async def failed(self, count: int) -> list[Span]:
        """The newest spans that ended with an error, those of one trace once."""
        found = await self._matching(lambda one: bool(one.error), {"error": {"$gt": ""}}, sort=("at", -1))
        return _first_of_traces(sorted(found, key=lambda one: -one.end), count)

    async def of_memory(self, memory_id: str, count: int) -> list[Span]:
        """The spans that name a memory, and all of their traces, oldest first: its history."""
        naming = await self._matching(lambda one: memory_id in one.memories, {"memories": memory_id}, sort=("at", -1))
        traces = list(dict.fromkeys(one.trace_id for one in sorted(naming, key=lambda one: one.start)))[-count:]
        wanted = set(traces)
        return await self._matching(
            lambda one: one.trace_id in wanted or bool(wanted & {linked for linked, _ in one.links}),
            {"$or": [{"trace_id": {"$in": traces}}, {"caused_by": {"$in": traces}}]},
        )

    async def _matching(
        self, fits: Callable[[Span], Any], query: dict[str, Any], *, sort: tuple[str, int] = ("at", -1)
    ) -> list[Span]:
        found = {(one.trace_id, one.span_id): one async for one in self._in_redis() if fits(one)}
        if self._archive is not None:
            with self._archive.asking("look for traces"):
                cursor = self._archive.database[COLLECTION].find(query).sort([sort]).limit(TRACE_SPANS_MAX)
                async for document in cursor:
                    one = from_document(document)
                    found.setdefault((one.trace_id, one.span_id), one)
        return sorted(found.values(), key=lambda one: one.start)

    async def _in_redis(self) -> Any:
        """Every span of the stream, newest first."""
        last = "+"
        while True:
            with hot_errors("look for traces"):
                rows = await self._redis.xrevrange(TRACES, max=last, count=TRACES_BATCH_MAX)
            for entry_id, fields in rows:
                last = f"({entry_id.decode()}"
                if span := read(fields):
                    yield span
            if not rows:
                return


def by_trace(spans: Iterable[Span]) -> dict[str, tuple[list[Span], list[Span]]]:
    """Each trace that one of the spans begins: its spans, and the work that links to them. Work that a trace of its own does
    stands beneath what caused it, and is no trace beside it."""
    spans = sorted(spans, key=lambda one: one.start)
    ids = {one.span_id for one in spans}
    effects = [one for one in spans if one.linked & ids]
    own = [one for one in spans if not one.linked & ids]
    found: dict[str, tuple[list[Span], list[Span]]] = {}
    for one in own:
        found.setdefault(one.trace_id, ([], []))[0].append(one)
    for mine, linked in found.values():
        caused = {one.span_id for one in mine}
        linked += [one for one in effects if one.linked & caused]
    return found


def _first_of_traces(spans: Sequence[Span], count: int) -> list[Span]:
    found: dict[str, Span] = {}
    for one in spans:
        found.setdefault(one.trace_id, one)
    return list(found.values())[: min(count, TRACES_SHOWN_MAX)]
