"""The clients: each does its own steps, one after the other, and repeats a request until it knows what became of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from memoryd import MemoryClient
from memoryd.errors import (
    ArchiveUnavailable,
    Conflict,
    DurabilityNotReached,
    HotUnavailable,
    MemorydError,
    NoAnswer,
    NotFound,
    Overloaded,
)
from memoryd.model.results import Stored
from tests.faults.model import Done, Model
from tests.faults.plan import Plan

T = TypeVar("T")

ASK_AGAIN = (NoAnswer, HotUnavailable, Overloaded, ArchiveUnavailable)
GIVE_UP_SECONDS = 90  # a request that was repeated for so long, also after everything is healed, is a violation
STORE_MANY = (3, 12)
SHARED_FACTS = 4
DURABILITIES = ("hot", "hot", "hot", "fsync", "archived")

# The steps and how often each is chosen.
STEPS = {"fact": 18, "event": 18, "many": 10, "shared": 12, "update": 20, "forget": 12, "restore": 8, "get": 12}


@dataclass
class Own:
    """One memory of a client, as the client believes it to be. `born` is the content that its id comes from."""

    memory_id: str
    content: str
    version: int
    born: str = ""
    alive: bool = True


class Worker:
    """One client with its own memories. `known` are the ids that the readers look at."""

    def __init__(self, plan: Plan, number: int, client: MemoryClient, model: Model, known: list[str]) -> None:
        self._plan = plan
        self._chance = plan.random(f"client {number}")
        self._name = f"{plan.seed}-{number}"
        self._client = client
        self._model = model
        self._known = known
        self._own: list[Own] = []
        self._count = 0

    async def run(self) -> None:
        """All steps."""
        for _ in range(self._plan.steps):
            [step] = self._chance.choices(list(STEPS), list(STEPS.values()))
            await getattr(self, f"_{step}")()
            await asyncio.sleep(self._chance.uniform(0, 0.2))

    # --- the steps ------------------------------------------------------------------------------------------------

    async def _fact(self) -> None:
        content = self._content("fact")
        await self._store(content, Own("", content, 0, born=content), type="fact")

    async def _event(self) -> None:
        content = self._content("event")
        await self._store(content, Own("", content, 0), type="episodic")

    async def _shared(self) -> None:
        number = self._chance.randrange(SHARED_FACTS)
        content = f"shared {self._plan.seed} {number} {canary(f'{self._plan.seed} shared {number}')}"
        request, durability = self._request(), self._durability()

        async def call() -> Any:
            return await self._client.store(content, type="fact", durability=durability, request_id=request)

        if stored := await self._until_known(call, request):
            self._done(stored, content, request, shared=True)

    async def _many(self) -> None:
        contents = [self._content("many") for _ in range(self._chance.randint(*STORE_MANY))]
        request, durability = self._request(), self._durability()
        items = [
            {
                "content": one,
                "type": self._chance.choice(("fact", "episodic")),
                "metadata": {"rq": f"{request}#{index}"},
            }
            for index, one in enumerate(contents)
        ]

        async def call() -> list[Stored | MemorydError]:
            answers = await self._client.store_many(items, durability=durability, request_id=request)
            for one in answers:
                if isinstance(one, ASK_AGAIN):
                    raise one
            return answers

        answers = await self._until_known(call, request) or []
        for index, one in enumerate(answers):
            stored = _confirmed(one)
            fact = items[index]["type"] == "fact"
            own = Own(stored.id, contents[index], stored.version, born=contents[index] if fact else "")
            self._keep(own, stored, f"{request}#{index}")

    async def _update(self) -> None:
        own = self._pick(alive=True)
        if own is None:
            return
        content, request, durability = self._content("update"), self._request(), self._durability()
        moment = None if own.born else self._plan.moment(self._chance)
        changes: dict[str, Any] = {"content": content} | ({"valid_from": moment} if moment else {})

        async def call() -> Any:
            return await self._client.update(
                own.memory_id, if_version=own.version, durability=durability, request_id=request, **changes
            )

        try:
            stored = await self._until_known(call, request)
        except (Conflict, NotFound) as error:
            await self._believe_anew(own, error)
            return
        if stored:
            own.content, own.version = content, stored.version
            self._done(stored, content, request)

    async def _forget(self) -> None:
        own = self._pick(alive=True)
        if own is None:
            return
        request, durability = self._request(), self._durability()

        async def call() -> Any:
            return await self._client.forget(own.memory_id, durability=durability, request_id=request)

        try:
            receipt = await self._until_known(call, request)
        except NotFound as error:
            await self._believe_anew(own, error)
            return
        if receipt:
            own.alive, own.version = False, receipt.version
            self._done(receipt, None, request, durability="hot" if receipt.outcome == "already" else "")

    async def _restore(self) -> None:
        own = self._pick(alive=False)
        if own is not None and own.born:
            await self._store(own.born, own, type="fact")

    async def _get(self) -> None:
        own = self._pick(alive=True)
        if own is None:
            return
        began = time.monotonic()
        try:
            seen = await self._until_known(lambda: self._client.get(own.memory_id), "get")
        except NotFound:
            self._model.missing(own.memory_id, began)
            self._own.remove(own)
            return
        if seen:
            self._model.read(own.memory_id, seen.version, began, time.monotonic())

    # --- how ------------------------------------------------------------------------------------------------------

    async def _store(self, content: str, own: Own, *, type: str) -> None:
        request, durability = self._request(), self._durability()
        metadata = {} if own.born else {"rq": request}
        moment = None if own.born else self._plan.moment(self._chance)

        async def call() -> Any:
            return await self._client.store(
                content, type=type, metadata=metadata, valid_from=moment, durability=durability, request_id=request
            )

        if stored := await self._until_known(call, request):
            own.memory_id, own.content, own.version, own.alive = stored.id, content, stored.version, True
            self._keep(own, stored, request)

    def _keep(self, own: Own, stored: Stored, request: str) -> None:
        if own not in self._own:
            self._own.append(own)
            self._known.append(own.memory_id)
        self._done(stored, own.content, request)

    def _done(
        self, answer: Any, content: str | None, request: str, *, shared: bool = False, durability: str = ""
    ) -> None:
        reached = durability or str(answer.durability)
        self._model.done(
            Done(answer.id, answer.outcome, answer.version, content, reached, time.monotonic(), request, shared=shared)
        )

    async def _believe_anew(self, own: Own, error: MemorydError) -> None:
        """Someone says that the memory is not as it was acknowledged: right only where Redis lost its last second."""
        began = time.monotonic()
        try:
            seen = await self._until_known(lambda: self._client.get(own.memory_id), "get")
        except NotFound:
            self._model.missing(own.memory_id, began)
            self._own.remove(own)
            return
        if seen:
            if self._model.always or not self._model.kills:
                self._model.wrong(
                    f"{error.code}: {own.memory_id} has version {seen.version}, {own.version} was acknowledged"
                )
            own.version, own.content = seen.version, seen.content
            self._model.seen(own.memory_id, seen.version, seen.content)

    async def _until_known(self, call: Callable[[], Awaitable[T]], request: str) -> T | None:
        """The answer, or None when none came in all that time. What was refused is raised."""
        until = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < until:
            try:
                return await call()
            except ASK_AGAIN:
                pass
            except DurabilityNotReached as error:
                confirmed: Any = _confirmed(error)
                return confirmed  # type: ignore[no-any-return]
            except MemorydError as error:
                if error.code != MemorydError.code:
                    raise
                self._model.wrong(f"internal error: request {request}: {error.message}")
            await asyncio.sleep(0.05)
        self._model.wrong(f"unanswered: request {request} after {GIVE_UP_SECONDS} s")
        return None

    def _pick(self, *, alive: bool) -> Own | None:
        fitting = [one for one in self._own if one.alive is alive]
        return self._chance.choice(fitting) if fitting else None

    def _content(self, kind: str) -> str:
        self._count += 1
        return f"{kind} {self._name} {self._count} {canary(f'{self._name} {self._count}')}"

    def _request(self) -> str:
        self._count += 1
        return f"r{self._name}-{self._count}"

    def _durability(self) -> str:
        return self._chance.choice(DURABILITIES)


async def read(
    client: MemoryClient, model: Model, known: list[str], chance: random.Random, stop: asyncio.Event
) -> None:
    """Reads what is known, at random, until it is time to stop: no version may be followed by a lower one."""
    while not stop.is_set():
        await asyncio.sleep(0.03)
        if known:
            memory_id = chance.choice(known[-40:])
            began = time.monotonic()
            with suppress(MemorydError):
                seen = await client.get(memory_id)
                model.read(memory_id, seen.version, began, time.monotonic())


def _confirmed(answer: Any) -> Any:
    """What was stored, also when its durability was not confirmed: then it is what was reached."""
    if isinstance(answer, DurabilityNotReached):
        details = answer.details
        kind: Any = Stored if details["outcome"] != "forgotten" else _Answered
        return kind(
            id=details["id"], version=details["version"], outcome=details["outcome"], durability=details["reached"]
        )
    if isinstance(answer, MemorydError):
        raise answer
    return answer


@dataclass
class _Answered:
    """What stands for an answer: a receipt whose durability was not confirmed, or what a get has shown."""

    id: str
    version: int
    outcome: str
    durability: str


def canary(name: str) -> str:
    """A word that no other text has, the same for the same name."""
    return f"cnry{random.Random(name).getrandbits(64):016x}"
