"""The verbs of memories: store, store_many, get, recall, count, update, stats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from memoryd.agent.gaps import GapNotes
from memoryd.agent.seen import Sightings
from memoryd.engine import Engine
from memoryd.errors import BadRequest, MemorydError
from memoryd.hot.changes import Request
from memoryd.model.memory import Changes, Durability, Memory, NewMemory, Wait
from memoryd.model.question import Narrowing, Question
from memoryd.model.results import Counted, Recalled, Stats, Stored
from memoryd.model.scope import Scope
from memoryd.protocol import messages
from memoryd.protocol.messages import Problem
from memoryd.protocol.verbs.verb import Form, Handler
from memoryd.recalling import Recalling


class StoreArgs(NewMemory, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `store`."""

    durability: Durability = Durability.HOT
    wait: Wait | None = None


class StoreManyArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `store_many`; each memory is checked on its own."""

    memories: list[msgspec.Raw]
    durability: Durability = Durability.HOT
    wait: Wait | None = None


class GetArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `get`."""

    id: str


class CountArgs(Narrowing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `count`."""

    query: str = ""


class UpdateArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `update`."""

    id: str
    changes: Changes
    if_version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    durability: Durability = Durability.HOT
    wait: Wait | None = None


class StatsArgs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of `stats`: none."""


class StoredOrError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One memory of a `store_many`: stored, or not (or not as durably as was asked) and why."""

    stored: Stored | msgspec.UnsetType = msgspec.UNSET
    error: Problem | msgspec.UnsetType = msgspec.UNSET


FORMS: Mapping[str, Form] = {
    "store": Form(StoreArgs, Stored, writes=True),
    "store_many": Form(
        StoreManyArgs,
        list[StoredOrError],
        writes=True,
        shown=messages.shown(StoreManyArgs, "memories", list[NewMemory]),
    ),
    "get": Form(GetArgs, Memory),
    "recall": Form(Question, Recalled),
    "count": Form(CountArgs, Counted),
    "update": Form(UpdateArgs, Stored, writes=True),
    "stats": Form(StatsArgs, Stats),
}


class MemoryVerbs:
    """Carries them out with an engine and what recalls."""

    def __init__(self, engine: Engine, recalling: Recalling, sightings: Sightings, gaps: GapNotes) -> None:
        self._engine = engine
        self._recalling = recalling
        self._sightings = sightings
        self._gaps = gaps

    def handlers(self) -> dict[str, Handler]:
        """Who carries out which verb."""
        return {
            "store": self._store, "store_many": self._store_many, "get": self._get, "recall": self._recall,
            "count": self._count, "update": self._update, "stats": self._stats,
        }  # fmt: skip

    async def _store(self, scope: Scope, args: StoreArgs, request: Request) -> Any:
        return await self._engine.store(scope, args, request=request, durability=args.durability, wait=args.wait)

    async def _store_many(self, scope: Scope, args: StoreManyArgs, request: Request) -> Any:
        many = [_new_memory(raw, index) for index, raw in enumerate(args.memories)]
        results = await self._engine.store_many(
            scope, many, request=request, durability=args.durability, wait=args.wait
        )
        return [
            {"error": messages.to_problem(one)} if isinstance(one, MemorydError) else {"stored": one} for one in results
        ]

    async def _get(self, scope: Scope, args: GetArgs, request: Request) -> Any:
        return await self._engine.get(scope, args.id)

    async def _recall(self, scope: Scope, question: Question, request: Request) -> Any:
        found = await self._recalling.recall(scope, question)
        asked = scope.narrowed(question.session)
        await self._sightings.asked(asked, question.query)
        if not question.types and not question.tags:  # of those there may be none, and the answer be known all the same
            await self._gaps.note(asked, question.query, found)
        return found

    async def _count(self, scope: Scope, args: CountArgs, request: Request) -> Any:
        return await self._recalling.count(scope, args, args.query)

    async def _update(self, scope: Scope, args: UpdateArgs, request: Request) -> Any:
        return await self._engine.update(
            scope,
            args.id,
            args.changes,
            if_version=args.if_version,
            request=request,
            durability=args.durability,
            wait=args.wait,
        )

    async def _stats(self, scope: Scope, args: StatsArgs, request: Request) -> Any:
        return await self._engine.stats(scope)


def _new_memory(raw: msgspec.Raw, index: int) -> NewMemory | MemorydError:
    try:
        return messages.parse(raw, NewMemory, f"memories[{index}]")
    except BadRequest as error:
        return error
