"""The tools: the client's verbs with words and limits for a model. The scope is the client's; none takes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from memoryd import MemoryClient
from memoryd.errors import MemorydError
from memoryd.limits import SUMMARY_CHARS_MAX, SUMMARY_CHARS_MIN
from memoryd.mcp_server.answers import (
    Counts,
    Forgotten,
    Found,
    Kept,
    Known,
    Remembered,
    Search,
    Summarized,
    ToolCalls,
)
from memoryd.model.introspection import ToolReport
from memoryd.model.memory import Memory
from memoryd.model.summary import for_a_model

Id = Annotated[str, Field(description="The memory's id (mem_…), as store_memory or search_memory gave it.")]
Type = Literal["fact", "episodic", "procedural", "semantic"]
Importance = Annotated[float, Field(ge=0, le=1, description="0 for small talk, 1 for what must never be overlooked.")]
Tags = Annotated[list[str], Field(max_length=32, description="Short labels to search by, for instance ['travel'].")]
Details = Annotated[dict[str, Any], Field(description="Anything else about it, as a JSON object.")]
Moment = Annotated[datetime, Field(description="With a time zone, for instance 2026-05-08T13:56:00Z.")]


class Tools:
    """The tools, over one connected client."""

    def __init__(self, memory: MemoryClient) -> None:
        self._memory = memory

    async def store_memory(
        self,
        content: Annotated[str, Field(description="What to remember, in words that are understood without context.")],
        type: Annotated[
            Type, Field(description="fact: is true; episodic: happened; procedural: how to; semantic: else.")
        ] = "semantic",
        importance: Importance = 0.5,
        tags: Tags = [],  # noqa: B006 - never changed
        metadata: Details = {},  # noqa: B006
        valid_from: Moment | None = None,
    ) -> Kept:
        """Remember one thing beyond this conversation. Storing the same thing again reinforces it."""
        details: dict[str, Any] = {"type": type, "importance": importance, "tags": tags, "metadata": metadata}
        with _told():
            kept = await self._memory.store(content, **details, valid_from=valid_from)
        return Kept(id=kept.id, version=kept.version, outcome=kept.outcome)

    async def search_memory(
        self,
        query: Annotated[str, Field(description="A question or some words; it is matched by meaning and by words.")],
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
        types: Annotated[list[Type], Field(description="Only these types; all when empty.")] = [],  # noqa: B006
        tags: Annotated[list[str], Field(description="Only memories with one of these tags; all when empty.")] = [],  # noqa: B006
        metadata: Annotated[
            dict[str, str | int | bool], Field(description="Only memories with these names and values in their metadata.")
        ] = {},  # noqa: B006
        since: Annotated[Moment | None, Field(description="Only what was true, or happened, then or later.")] = None,
        before: Annotated[Moment | None, Field(description="Only what has been true, or happened, before then.")] = None,
        min_likeness: Annotated[
            float, Field(ge=0, le=1, description="Only what means about the same: 0 for everything, 1 for the very words.")
        ] = 0.0,
    ) -> Search:
        """Find what is remembered about something, best first. Finding nothing is an answer too."""
        among: dict[str, Any] = {"types": types, "tags": tags, "metadata": metadata}
        among |= {"valid_since": since, "valid_before": before, "min_likeness": min_likeness}
        with _told():
            found = await self._memory.recall(query, limit=limit, **among)
        return Search(memories=[Found(**_fields(hit.memory), score=hit.score) for hit in found], note=found.degraded)

    async def summarize_memory(
        self,
        query: Annotated[str, Field(description="What it is to be about; empty: everything with these types and tags.")] = "",
        limit: Annotated[int, Field(ge=1, le=200, description="Of a query: how many of the best memories.")] = 50,
        types: Annotated[list[Type], Field(description="Only these types; all when empty.")] = [],  # noqa: B006
        tags: Annotated[list[str], Field(description="Only memories with one of these tags; all when empty.")] = [],  # noqa: B006
        chars: Annotated[
            int | None, Field(ge=SUMMARY_CHARS_MIN, le=SUMMARY_CHARS_MAX, description="About how long it may be.")
        ] = None,
    ) -> Summarized:
        """Say in few words what is remembered about something, when there is more than can be read one by one."""
        selection: dict[str, Any] = {"types": types, "tags": tags}
        selection |= {"query": query, "limit": limit} if query else {}
        selection |= {} if query or types or tags else {"everything": True}
        with _told():
            found = await self._memory.summarize(chars=chars, **selection)
        return Summarized(summary=found.text, memories=found.memories, made_by=found.made_by)

    async def get_memory(self, id: Id) -> Remembered:
        """One memory as it is now."""
        with _told():
            return Remembered(**_fields(await self._memory.get(id)))

    async def update_memory(
        self,
        id: Id,
        # Not `str | None`: the SDK would read text that looks like JSON as JSON.
        content: Annotated[str, Field(description="The new text in full; empty leaves it as it is.")] = "",
        importance: Importance | None = None,
        tags: Tags | None = None,
        metadata: Details | None = None,
        valid_until: Annotated[Moment | None, Field(description="Until when it was true.")] = None,
        if_version: Annotated[
            int | None, Field(description="Refuse when it has another version by now, so that no change is lost.")
        ] = None,
    ) -> Kept:
        """Correct a memory; what is not given stays as it is. Its earlier versions are kept."""
        given: dict[str, Any] = {
            "content": content or None,
            "importance": importance,
            "tags": tags,
            "metadata": metadata,
        }
        given["valid_until"] = valid_until
        changes = {name: value for name, value in given.items() if value is not None}
        with _told():
            changed = await self._memory.update(id, if_version=if_version, **changes)
        return Kept(id=changed.id, version=changed.version, outcome=changed.outcome)

    async def forget_memory(self, id: Id) -> Forgotten:
        """Remove a memory with all its versions and what was made of it, everywhere and for good. Nothing comes back."""
        with _told():
            forgotten = await self._memory.forget(id, durability="archived")
        return Forgotten(
            id=forgotten.id,
            outcome=forgotten.outcome,
            forgotten_at=forgotten.forgotten_at,
            receipt=forgotten.receipt,
        )

    async def introspect(
        self,
        days: Annotated[int, Field(ge=1, le=366, description="Of how many days what was done is counted.")] = 30,
    ) -> Known:
        """Look at yourself: what you know, about what, how surely, how well your tools went, and what you could not answer."""
        with _told():
            found = await self._memory.introspect(days=days)
        return Known(
            memories=found.memories, by_type=found.by_type, by_age=found.by_age, since=found.since,
            topics={one.name: one.memories for one in found.topics},
            entities={one.name: one.memories for one in found.entities},
            facts=found.surety.facts, doubtful=found.surety.doubtful, calls=found.doing.all.calls,
            success_rate=found.doing.all.success_rate, tools=[_calls(one) for one in found.doing.tools],
            gaps={one.query: one.times for one in found.gaps}, note=found.degraded,
        )  # fmt: skip

    async def memory_stats(self) -> Counts:
        """How many memories there are, and whether the service is whole."""
        with _told():
            stats = await self._memory.stats()
        return Counts(
            memories=stats.memories,
            by_type=stats.by_type,
            pending=stats.pending,
            archive_available=stats.archive.available,
        )


@contextmanager
def _told() -> Iterator[None]:
    """Turns our errors into the tool's, for the model to read. The code comes first: it is what a model can act on."""
    try:
        yield
    except MemorydError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        raise ToolError(f"{error.code}: {error.message}{hint}") from error


def _calls(one: ToolReport) -> ToolCalls:
    latency = one.latency
    return ToolCalls(
        tool=one.tool, calls=one.calls, success_rate=one.success_rate, error_kinds=one.error_kinds,
        p50_ms=latency.p50_us / 1000 if latency else None, p95_ms=latency.p95_us / 1000 if latency else None,
    )  # fmt: skip


def _fields(memory: Memory) -> dict[str, Any]:
    return {
        "id": memory.id, "content": memory.content, "type": str(memory.memory_type), "version": memory.version,
        "agent": memory.agent_id, "session": memory.session_id, "importance": memory.importance, "tags": memory.tags,
        "metadata": for_a_model(memory), "created_at": memory.created_at, "valid_from": memory.valid_from,
        "valid_until": memory.valid_until,
    }  # fmt: skip
