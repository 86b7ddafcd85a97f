"""A person with `mongosh`: changes and deletes documents past memoryd, only such as nobody else changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pymongo.errors import PyMongoError

from memoryd import MemoryClient
from memoryd.archive.store import Archive
from memoryd.clock import to_microseconds
from memoryd.errors import DurabilityNotReached, MemorydError
from tests.faults.model import Done, Model
from tests.faults.plan import Plan
from tests.faults.workload import GIVE_UP_SECONDS, canary

T = TypeVar("T")

STEPS = {"keep": 4, "edit": 5, "value": 3, "delete": 2}
LIVING = {"tombstone": {"$ne": True}}


class Person:
    """Has memories of one client archived, and then touches their documents, one change after the other."""

    def __init__(self, plan: Plan, client: MemoryClient, archive: Archive, model: Model, known: list[str]) -> None:
        self._plan = plan
        self._chance = plan.random("person")
        self._client = client
        self._memories = archive.memories
        self._model = model
        self._known = known
        self._contents: dict[str, str] = {}
        self._count = 0

    async def run(self) -> None:
        """All steps."""
        for _ in range(self._plan.steps // 2):
            [step] = self._chance.choices(list(STEPS), list(STEPS.values()))
            if step == "keep" or not self._contents:
                await self._keep()
            else:
                await getattr(self, f"_{step}")(self._chance.choice(list(self._contents)))
            await asyncio.sleep(self._chance.uniform(0, 0.3))

    async def _keep(self) -> None:
        content, request = self._content("kept"), f"person{self._plan.seed}-{self._count}"
        kind = "episodic" if self._plan.in_context and self._chance.random() < 1 / 2 else "fact"
        until = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < until:
            try:
                stored = await self._client.store(content, type=kind, durability="archived", request_id=request)
            except DurabilityNotReached:
                return  # it may not be in MongoDB yet, and is a client's like any other
            except MemorydError:
                await asyncio.sleep(0.05)
                continue
            self._contents[stored.id] = content
            self._known.append(stored.id)
            self._done(stored.id, content, "stored", stored.version)
            return
        self._model.wrong(f"unanswered: request {request} after {GIVE_UP_SECONDS} s")

    async def _edit(self, memory_id: str) -> None:
        content = self._content("edited")
        if await self._changed(memory_id, {"content": content}):
            self._contents[memory_id] = content
            self._done(memory_id, content, "edited")

    async def _value(self, memory_id: str) -> None:
        """Something else than the content: it must stay what it is."""
        moment = self._plan.moment(self._chance)
        value = {"valid_from": to_microseconds(moment)} if moment else {"importance": round(self._chance.random(), 3)}
        if await self._changed(memory_id, value):
            self._done(memory_id, self._contents[memory_id], "edited")

    async def _delete(self, memory_id: str) -> None:
        await self._until_done(lambda: self._memories.delete_one({"_id": memory_id, **LIVING}))
        del self._contents[memory_id]
        self._done(memory_id, None, "deleted")

    async def _changed(self, memory_id: str, values: dict[str, Any]) -> bool:
        found = await self._until_done(lambda: self._memories.update_one({"_id": memory_id, **LIVING}, {"$set": values}))
        if not found.matched_count:
            self._model.wrong(f"lost: {memory_id} has no document although it was archived")
        return bool(found.matched_count)

    async def _until_done(self, write: Callable[[], Awaitable[T]]) -> T:
        """May be repeated: what was written without an answer is written again, and is the same."""
        while True:
            try:
                return await write()
            except PyMongoError:
                await asyncio.sleep(0.1)

    def _done(self, memory_id: str, content: str | None, outcome: str, version: int = 0) -> None:
        self._model.done(Done(memory_id, outcome, version, content, "archived", time.monotonic(), ""))

    def _content(self, kind: str) -> str:
        self._count += 1
        name = f"{self._plan.seed} person {self._count}"
        return f"{kind} {name} {canary(name)}"
