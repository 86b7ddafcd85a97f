"""How fast sync catches up: the archiver beside bulk upserts, the follower beside a reader of the change stream.

    python -m bench.sync [--rounds 5] [--memories 2000] [--changes 1000] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync, and a process that does what is compared, with PyMongo alone. Sync is paused
while a backlog is made, and the clock runs from when it goes on. Archiver: memories are stored; done is when a majority has all of
them and the journal knows it. Beside it the same documents, current and versions, are upserted into another database with the same
indexes, in batches of the same size and with the same write concern. Follower: documents get their next version, as another
memoryd writes them (`newer`), or are changed by hand (`edited`, which sync has to give a version first); done is when Redis has the
last of them. Beside it the same changes are read from the stream, with the documents, and thrown away. For information, the floor:
what one store takes for the same, by itself and with nothing else to do. For `newer` the same records are written to Redis, into
the same indexes, with HSET alone; for `edited` the same documents are replaced in MongoDB, and as many versions kept, by `_id`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from bson import Timestamp
from pymongo import InsertOne, ReplaceOne, UpdateOne

from bench import harness, load
from bench.harness import Running, ratio, running, spread, until
from memoryd.archive.client import MAJORITY, open_mongo
from memoryd.archive.codec import Document, to_document, to_record, with_terms
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.hot.client import open_redis
from memoryd.hot.records import Records
from memoryd.hot.storing import HotStoring
from memoryd.keys import Keys
from memoryd.limits import ARCHIVE_BATCH_MAX, FOLLOW_BATCH_MAX
from memoryd.model.record import Record
from memoryd_sync.follower import AWAIT_MILLISECONDS
from memoryd_sync.service import prepare_archive

ARCHIVER_SHARE, FOLLOWER_SHARE = 0.5, 0.5  # promised: of the rates of what they stand on
NEWER, EDITED = "newer", "edited"
READER = "of a raw change stream reader"


@dataclass(frozen=True)
class Place:
    """Where the documents of one round are."""

    mongo_url: str
    database: str
    project: str

    @property
    def query(self) -> Document:
        """Matches them, in both collections."""
        return {"project": self.project}


# --- with PyMongo alone, in a process of its own ----------------------------------------------------------------------
async def raw_upserts(place: Place) -> float:
    """Writes the documents of a round as they are into the other database; the seconds that it takes."""
    async with open_mongo(place.mongo_url) as mongo:
        source, copy = mongo[place.database], mongo[_other(place.database)]
        batches: list[tuple[Any, list[ReplaceOne[Document]]]] = []
        for name in ("memories", "versions"):
            operations = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) async for one in source[name].find(place.query)]
            collection = copy.get_collection(name, write_concern=MAJORITY)
            starts = range(0, len(operations), ARCHIVE_BATCH_MAX)
            batches += [(collection, operations[start : start + ARCHIVE_BATCH_MAX]) for start in starts]
        began = time.perf_counter()
        for collection, some in batches:
            await collection.bulk_write(some, ordered=False)
        return time.perf_counter() - began


async def raw_reader(place: Place, since: Timestamp, count: int) -> float:
    """Reads so many changes from then on, as the follower asks for them; the seconds that it takes."""
    async with open_mongo(place.mongo_url) as mongo:
        began = time.perf_counter()
        async with await mongo[place.database]["memories"].watch(
            full_document="updateLookup", start_at_operation_time=since, max_await_time_ms=AWAIT_MILLISECONDS
        ) as stream:
            for _ in range(count):
                await stream.next()
        return time.perf_counter() - began


async def raw_hsets(place: Place, redis_url: str, count: int) -> float:
    """Writes so many records of a round once more, under another project; the seconds that it takes."""
    async with open_redis(redis_url) as redis:
        found = [key async for key in redis.scan_iter(match=f"aether:memory:episodic:*:{place.project}:*", count=1000)][:count]
        other = [key.replace(place.project.encode(), _other(place.project).encode()) for key in found]
        rows = [{**await redis.hgetall(key), b"project": _other(place.project)} for key in found]
        await _hset(redis, other, rows)  # what is compared is a change, too
        began = time.perf_counter()
        await _hset(redis, other, [{**row, b"version": "9"} for row in rows])
        seconds = time.perf_counter() - began
        await redis.unlink(*other)
        return seconds


async def _hset(redis: Any, keys: Sequence[bytes], rows: Sequence[dict[Any, Any]]) -> None:
    for start in range(0, len(keys), FOLLOW_BATCH_MAX):
        async with redis.pipeline(transaction=False) as pipe:
            for key, row in zip(keys[start : start + FOLLOW_BATCH_MAX], rows[start : start + FOLLOW_BATCH_MAX], strict=True):
                pipe.hset(key, mapping=row)
            await pipe.execute()


async def raw_adoptions(place: Place, redis_url: str, count: int) -> float:
    """Replaces so many documents of a round in the other database by what they are now, and adds a version of each; the seconds."""
    async with open_mongo(place.mongo_url) as mongo:
        documents = await mongo[place.database]["memories"].find(place.query).limit(count).to_list(None)
        copy = mongo[_other(place.database)]
        memories, versions = (copy.get_collection(name, write_concern=MAJORITY) for name in ("memories", "versions"))
        began = time.perf_counter()
        for start in range(0, len(documents), FOLLOW_BATCH_MAX):
            some = documents[start : start + FOLLOW_BATCH_MAX]
            await memories.bulk_write([ReplaceOne({"_id": one["_id"]}, one) for one in some], ordered=False)
            kept = [{**one, "_id": f"{one['_id']}:{one['version']}", "memory_id": one["_id"], "op": "updated"} for one in some]
            await versions.bulk_write([InsertOne(one) for one in kept], ordered=False)
        return time.perf_counter() - began


FLOORS = {NEWER: raw_hsets, EDITED: raw_adoptions}


def _other(database: str) -> str:
    return f"{database}_raw"


# --- backlogs ---------------------------------------------------------------------------------------------------------
async def stored(parts: Running, project: str, count: int) -> None:
    """So many memories, by the atomic step alone."""
    records = Records(parts.redis, Keys(parts.settings.buckets))
    new, storing = harness.new_records(records, project, count), HotStoring(records)
    while some := list(itertools.islice(new, ARCHIVE_BATCH_MAX)):
        await storing.store(some)


def next_version(document: Document) -> ReplaceOne[Document]:
    """What another memoryd's archiver writes."""
    memory = to_record(document).memory
    later = msgspec.structs.replace(memory, version=memory.version + 1, importance=0.9, recorded_at=SystemClock().now())
    return ReplaceOne({"_id": document["_id"]}, with_terms({**document, **to_document(Record(later))}))


def by_hand(document: Document) -> UpdateOne:
    """What a person writes."""
    return UpdateOne({"_id": document["_id"]}, {"$set": {"content": f"Edited: {document['content']}"}})


CHANGES: dict[str, Callable[[Document], Any]] = {NEWER: next_version, EDITED: by_hand}


# --- the rounds -------------------------------------------------------------------------------------------------------
async def archiver(parts: Running, generate: load.Generator, place: Place, count: int) -> dict[str, float]:
    """Documents a second of both, of one round."""

    async def backlog() -> None:
        await stored(parts, place.project, count)
        await parts.drained("embed")

    seconds = await caught_up(parts, backlog, lambda: parts.drained("archive"))
    return {"archiver": count / seconds, "upserts": count / await generate(raw_upserts, place)}


async def follower(
    parts: Running, generate: load.Generator, place: Place, kind: str, documents: Sequence[Document]
) -> dict[str, float]:
    """Changes a second of both, of one round."""
    raw = 0.0
    keys, last = Keys(parts.settings.buckets), to_record(documents[-1]).memory
    key = keys.memory("episodic", last.scope, last.id)

    async def backlog() -> None:
        nonlocal raw
        async with open_mongo(place.mongo_url) as mongo:
            now: Timestamp = (await mongo.admin.command("ping"))["operationTime"]
            operations = [CHANGES[kind](one) for one in documents]
            await mongo[place.database]["memories"].bulk_write(operations, ordered=True)
        raw = await generate(raw_reader, place, Timestamp(now.time, now.inc + 1), len(documents))

    async def there() -> bool:
        return int(await parts.redis.hget(key, "version") or 0) > last.version

    seconds = await caught_up(parts, backlog, lambda: until(there, "the last of the changes is in Redis"))
    floor = await generate(FLOORS[kind], place, parts.settings.redis_url, len(documents))
    return {name: len(documents) / took for name, took in (("follower", seconds), ("reader", raw), ("floor", floor))}


async def caught_up(parts: Running, backlog: Callable[[], Awaitable[None]], done: Callable[[], Awaitable[None]]) -> float:
    """How long sync takes, once it goes on, for what was made while it was paused."""
    await parts.drained()
    parts.sync.pause()
    try:
        await backlog()
    finally:
        parts.sync.resume()
    began = time.perf_counter()
    await done()
    return time.perf_counter() - began


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {"archiver": [], NEWER: [], EDITED: []}
    async with (
        running(embedder="none") as parts, load.generator() as generate, open_mongo(parts.settings.mongo_url) as mongo,
    ):  # fmt: skip
        database = parts.settings.mongo_database
        await prepare_archive(Archive(mongo[_other(database)]))
        await parts.followed()
        for number in range(-1, arguments.rounds):  # the first is not counted: nothing is met for the first time on the clock
            place = Place(parts.settings.mongo_url, database, f"round{number}")
            round_ = {"archiver": await archiver(parts, generate, place, arguments.memories)}
            for kind in CHANGES:
                documents = await mongo[database]["memories"].find(place.query).limit(arguments.changes).to_list(None)
                round_[kind] = await follower(parts, generate, place, kind, documents)
            for name, rates in round_.items():
                found[name] += [rates] if number >= 0 else []
        versions = await parts.versions()
        await mongo.drop_database(_other(database))
    results = {name: told(rounds) for name, rounds in found.items()}
    shares = {name: one["share"] for name, one in results.items()}
    return {
        "servers": versions, **results,
        "promises": [
            harness.promise("archiver drains a backlog: of raw bulk upserts", shares["archiver"], least=ARCHIVER_SHARE),
            harness.promise(f"follower, versions of another memoryd: {READER}", shares[NEWER], least=FOLLOWER_SHARE),
            harness.promise(f"follower, edits by hand: {READER}", shares[EDITED], least=FOLLOWER_SHARE),
        ],
    }  # fmt: skip


def told(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The rates, and which share the first is of the second in the same round; of a floor, too."""
    rates = {name: [one[name] for one in rounds] for name in rounds[0]}
    ours, theirs, *floor = rates.values()
    shares = {"share": ratio(ours, theirs)} | ({"floor_share": ratio(floor[0], theirs)} if floor else {})
    return {**{f"{name}_per_second": spread(some) for name, some in rates.items()}, **shares}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memories", type=int, default=2000, help="of a backlog of the archiver")
    parser.add_argument("--changes", type=int, default=1000, help="of a backlog of the follower, at most as many as memories")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
