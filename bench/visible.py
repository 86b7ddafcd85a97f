"""When a write can be seen, at fixed rates: by its words, by its meaning, in MongoDB; and an edit in MongoDB in Redis.

    python -m bench.visible [--rounds 5] [--seconds 3] [--meaning-rate 50] [--write-rate 500] [--edit-rate 200]
        [--embedder hashed|auto] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync, and a load generator that also looks, each a process. A time runs from when
the write was due, not from when it could be sent. Seen by words: a search of the index for a word that no other memory has was
answered with the memory, after `store` was; nothing is found sooner, and this is not later. Seen by meaning: a search for the
memory's own vector was answered with it, after the event said that it has one. In MongoDB: a change stream has told of the
document. In Redis: the event of the change was heard; beside it, when a change stream told of the edit, before which nobody can
have it. `hashed` is an embedder that takes no time to speak of; with `--embedder auto` all is done with the configured model, too,
where writes come at half the rate that the bare model reaches in the same run. Writes to MongoDB are measured without a model,
which would add as many vectors.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis

from bench import harness, load
from bench.harness import HASHED, PATIENCE_SECONDS, Running, by_name, quantiles, running, spread, until
from memoryd import MemoryClient, connect
from memoryd.archive.client import open_mongo
from memoryd.config import load_settings
from memoryd.embed import open_embedder
from memoryd.hot.client import open_blocking_redis
from memoryd.keys import Keys, events_prefix, index
from memoryd.limits import EMBED_BATCH_MAX
from memoryd.model.events import Hint
from memoryd.model.scope import Scope

WORDS_MS, MEANING_MS, ARCHIVED_MS, EDITED_MS = 10.0, 100.0, 250.0, 50.0  # promised at the 99th percentile
CLIENTS = 16
POLL_SECONDS = 0.25  # how soon a watcher notices that it is over
Times = list[float]
Watcher = Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]]
"""Sets the first when it watches, and ends soon after the second is set."""


@dataclass
class Watch:
    """When each write was due, and when it was seen: writer and watcher may come in either order."""

    due: dict[Any, float] = field(default_factory=dict)
    seen: dict[Any, float] = field(default_factory=dict)

    def milliseconds(self) -> Times:
        """Of everything that was due."""
        return [1000 * (self.seen[one] - due) for one, due in self.due.items()]

    async def all_seen(self, besides: Sequence[Any] = ()) -> None:
        """Waits until everything is seen, `besides` excepted. Raises TimeoutError."""

        async def seen() -> bool:
            return not self.due.keys() - self.seen.keys() - set(besides)

        await until(seen, "everything is seen")


@dataclass(frozen=True)
class Slice:
    """One round: where, what it is called, how many writes, how many a second."""

    redis_url: str
    mongo_url: str
    database: str
    name: str
    count: int
    rate: float

    @property
    def scope(self) -> Scope:
        """Each round has a project of its own."""
        return Scope("bench", self.name)

    def connect(self, agent: str = "") -> MemoryClient:
        """A client of the daemon, which waits as long as it takes."""
        return connect(self.redis_url, tenant="bench", project=self.name, agent=agent, timeout_seconds=PATIENCE_SECONDS)


@asynccontextmanager
async def clients(one: Slice) -> AsyncIterator[Sequence[MemoryClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(one.connect(f"agent{number}")) for number in range(CLIENTS)]


@asynccontextmanager
async def meanwhile(watch: Watcher) -> AsyncIterator[None]:
    """Runs a watcher beside the block, which begins when the watcher says that it watches."""
    ready, over = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(ready, over))
        await ready.wait()
        try:
            yield
        finally:
            over.set()  # not cancelled: PyMongo takes that for a broken connection, and goes on


async def heard(one: Slice, op: str, on: Callable[[str], Awaitable[None]], ready: asyncio.Event, over: asyncio.Event) -> None:
    """Tells of the project's events of this kind until it is over."""
    async with open_blocking_redis(one.redis_url) as redis, redis.pubsub() as pubsub:
        await pubsub.psubscribe(f"{events_prefix(one.scope)}*")
        await pubsub.get_message(timeout=POLL_SECONDS)
        ready.set()
        while not over.is_set():
            message: Any = await pubsub.get_message(ignore_subscribe_messages=True, timeout=POLL_SECONDS)
            hint = msgspec.json.decode(message["data"], type=Hint) if message else None
            if hint and hint.op == op:
                await on(hint.id)


async def told(one: Slice, on: Callable[[dict[str, Any]], None], ready: asyncio.Event, over: asyncio.Event) -> None:
    """Tells of the archive's changes as a change stream has them until it is over."""
    async with open_mongo(one.mongo_url) as mongo:
        few = {"$project": {"operationType": 1, "documentKey": 1}}
        polled = int(1000 * POLL_SECONDS)
        async with await mongo[one.database]["memories"].watch([few], max_await_time_ms=polled) as stream:
            ready.set()
            while not over.is_set():
                change = await stream.try_next()
                if change is not None:
                    on(change)


# --- what the generator does ------------------------------------------------------------------------------------------
async def words_and_meaning(one: Slice) -> dict[str, Any]:
    """Stores, and searches for each by its word and by its vector."""
    words, meaning, missed = Watch(), Watch(), []
    contents = list(itertools.islice(harness.sentences(), one.count))
    keys = Keys(load_settings().buckets)
    async with clients(one) as memories, Redis.from_url(one.redis_url) as redis:

        async def near(memory_id: str) -> None:
            vector: Any = await redis.hget(keys.memory("episodic", one.scope, memory_id), "embedding")
            if await _found(redis, "*=>[KNN 1 @embedding $v EF_RUNTIME 100]", memory_id, vector):
                meaning.seen[memory_id] = time.perf_counter()
            else:  # an approximate index may miss one; it is told, and counted as never seen
                missed.append(memory_id)

        looking: set[asyncio.Task[None]] = set()

        async def embedded(memory_id: str) -> None:
            looking.add(asyncio.create_task(near(memory_id)))

        async def write(number: int, due: float) -> None:
            word = f"{one.name}n{number}"
            stored = await memories[number % CLIENTS].store(f"{contents[number]} {word}", type="episodic")
            assert await _found(redis, f"@content:({word})", stored.id), "a stored memory is not found by its words"
            words.due[stored.id], words.seen[stored.id] = due, time.perf_counter()
            meaning.due[stored.id] = due

        async with meanwhile(lambda *events: heard(one, "embedded", embedded, *events)):
            rate = one.count / await load.at_rate(write, one.count, one.rate)
            await meaning.all_seen(besides=missed)
    for memory_id in missed:
        del meaning.due[memory_id]
    return {"rate": rate, "words": words.milliseconds(), "meaning": meaning.milliseconds(), "missed": len(missed)}


async def _found(redis: Any, query: str, memory_id: str, vector: bytes = b"") -> bool:
    """Whether a search of the index is answered with the memory."""
    params = ("PARAMS", "2", "v", vector) if vector else ()
    few = ("NOCONTENT", "LIMIT", "0", "1", "DIALECT", "2")
    reply = await redis.execute_command("FT.SEARCH", index("episodic"), query, *few, *params)
    ids = [one[b"id"] for one in reply[b"results"]] if isinstance(reply, dict) else reply[1:]
    return any(key.endswith(memory_id.encode()) for key in ids)


async def archived(one: Slice) -> dict[str, Any]:
    """Stores, and hears from MongoDB of each."""
    watch = Watch()
    contents = list(itertools.islice(harness.sentences(), one.count))

    def on(change: dict[str, Any]) -> None:
        watch.seen.setdefault(change["documentKey"]["_id"], time.perf_counter())

    async with clients(one) as memories:

        async def write(number: int, due: float) -> None:
            watch.due[(await memories[number % CLIENTS].store(contents[number], type="episodic")).id] = due

        async with meanwhile(lambda *events: told(one, on, *events)):
            rate = one.count / await load.at_rate(write, one.count, one.rate)
            await watch.all_seen()
    return {"rate": rate, "archived": watch.milliseconds()}


async def edited(one: Slice) -> dict[str, Any]:
    """Edits what is archived in MongoDB, as a person would, and hears from Redis of each."""
    there, floor = Watch(), Watch()
    async with clients(one) as memories, open_mongo(one.mongo_url) as mongo:
        ids = [await _to_edit(memories, number, durable=number == one.count - 1) for number in range(one.count)]
        documents = mongo[one.database]["memories"]

        async def archived() -> bool:
            return await documents.count_documents({"_id": {"$in": ids}}) == one.count

        await until(archived, "what is to be edited is in MongoDB")

        async def updated(memory_id: str) -> None:
            there.seen.setdefault(memory_id, time.perf_counter())

        def on(change: dict[str, Any]) -> None:
            if change["operationType"] == "update":
                floor.seen.setdefault(change["documentKey"]["_id"], time.perf_counter())

        async def edit(number: int, due: float) -> None:
            there.due[ids[number]] = floor.due[ids[number]] = due
            await documents.update_one({"_id": ids[number]}, {"$set": {"content": f"Somebody has edited this: {number}."}})

        async with (
            meanwhile(lambda *events: heard(one, "updated", updated, *events)), meanwhile(lambda *events: told(one, on, *events)),
        ):  # fmt: skip
            rate = one.count / await load.at_rate(edit, one.count, one.rate)
            await there.all_seen()
            await floor.all_seen()
    return {"rate": rate, "edited": there.milliseconds(), "change_stream": floor.milliseconds()}


async def _to_edit(memories: Sequence[MemoryClient], number: int, *, durable: bool) -> str:
    durability = "archived" if durable else "hot"
    content = f"This is to be edited: {number}."
    return (await memories[number % CLIENTS].store(content, type="episodic", durability=durability)).id


async def capacity(texts: int) -> float:
    """Texts a second of the configured model alone, in batches as the daemon makes them."""
    embedder = await open_embedder(load_settings())
    assert embedder is not None
    contents = list(itertools.islice(harness.sentences(), texts + EMBED_BATCH_MAX))
    await embedder.embed(contents[-EMBED_BATCH_MAX:])
    began = time.perf_counter()
    for start in range(0, texts, EMBED_BATCH_MAX):
        await embedder.embed(contents[start : start + EMBED_BATCH_MAX])
    rate = texts / (time.perf_counter() - began)
    await embedder.close()
    return rate


# --- the rounds -------------------------------------------------------------------------------------------------------
async def rounds(
    parts: Running, generate: load.Generator, work: Callable[..., Awaitable[Any]], rate: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    """As many rounds as are wanted, each begun when the followers have nothing to do; of each time its quantiles."""
    found = []
    await parts.followed()
    for number in range(arguments.rounds):
        await parts.drained()
        settings, count = parts.settings, max(2, round(rate * arguments.seconds))
        name = f"{work.__name__.replace('_', '')}{number}"
        one = Slice(settings.redis_url, settings.mongo_url, settings.mongo_database, name, count, rate)
        found.append(await generate(work, one))
    told: dict[str, Any] = {"asked_per_second": round(rate, 1), "per_second": spread([one.pop("rate") for one in found])}
    if "missed" in found[0]:
        told["not_found_by_its_own_vector"] = sum(one.pop("missed") for one in found)
    return told | {name: by_name([quantiles(one[name]) for one in found]) for name in found[0]}


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    searched, alone, promises = {}, None, []
    async with load.generator() as generate:
        for embedder in dict.fromkeys((HASHED, arguments.embedder)):
            rate, when = arguments.meaning_rate, "at {:g} writes/s"
            if embedder != HASHED:
                alone = await generate(capacity, arguments.capacity_texts)
                rate, when = alone / 2, "at half of the model's capacity, {:g} writes/s"
            async with running(embedder=embedder) as parts:
                searched[embedder] = found = await rounds(parts, generate, words_and_meaning, rate, arguments)
            at = when.format(found["asked_per_second"])
            promises += [
                _promise(f"write → searchable by words, p99, {at}", found["words"], WORDS_MS),
                _promise(f"write → searchable by meaning, p99, {at}", found["meaning"], MEANING_MS),
            ]
        async with running(embedder="none") as parts:
            in_mongo = await rounds(parts, generate, archived, arguments.write_rate, arguments)
            in_redis = await rounds(parts, generate, edited, arguments.edit_rate, arguments)
            versions = await parts.versions()
    return {
        "servers": versions, "bare_embedder_per_second": alone and round(alone), "searched": searched, "in_mongo": in_mongo,
        "in_redis": in_redis,
        "promises": [
            *promises,
            _promise(f"write → in MongoDB, p99, at {arguments.write_rate:g} writes/s", in_mongo["archived"], ARCHIVED_MS),
            _promise(f"foreign edit in MongoDB → in Redis, p99, at {arguments.edit_rate:g} edits/s", in_redis["edited"], EDITED_MS),
        ],
    }  # fmt: skip


def _promise(what: str, times: dict[str, Any], most: float) -> dict[str, Any]:
    return harness.promise(what, times["p99_ms"], most=most, unit="ms")


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of one round")
    parser.add_argument("--meaning-rate", type=float, default=50, help="writes a second with the embedder `hashed`")
    parser.add_argument("--write-rate", type=float, default=500, help="writes a second on their way to MongoDB")
    parser.add_argument("--edit-rate", type=float, default=200, help="edits a second in MongoDB")
    parser.add_argument("--embedder", choices=(HASHED, "auto"), default=HASHED, help="auto: with the model, too")
    parser.add_argument("--capacity-texts", type=int, default=640, help="with `auto`: of how many its rate is measured")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
