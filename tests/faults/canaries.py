"""`python -m tests.faults.canaries --canaries 10000 --seed 1`: planted words, forgotten in ten ways, looked for everywhere.

Each canary is a word that nothing else holds, in a memory's content, metadata and former version; some are in what an agent
has besides (facts, state, snapshots, scratchpad, kept tool results, channels, gaps, sessions, large events). Half of them have long
been embedded and archived when they are forgotten; the other half were acknowledged a moment before. While they are
forgotten, other agents store, change and recall, and a `sync rebuild` copies all of MongoDB to Redis. Afterwards a scan of
bytes (every key of Redis and its files after a rewrite, every document of MongoDB, every span and every line of log) must
find none; before, it must have found them all, or it would prove nothing. And nothing else may be gone.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import bson

from memoryd import MemoryClient, connect
from memoryd.errors import ArchiveUnavailable
from memoryd.keys import KINDS, RECEIPTS
from memoryd.model.receipt import FullReceipt
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from tests.faults.besides import plant_besides
from tests.faults.lab import Lab
from tests.faults.measure import say
from tests.faults.plan import Shape
from tests.faults.run import differences
from tests.spans import Collector
from tests.waiting import eventually

SHAPE = Shape(aof="everysec", members=1, daemons=2, syncs=2)
TENANT, PROJECT = "canaries", "mine"
CANARY = re.compile(rb"canary[0-9a-f]{14}")
BATCH = 100  # memories of one store_many
NOISE_CLIENTS = 2
NOISE_PAUSE_SECONDS = 0.02
SINGLY_MAX = 8  # forgets of one memory at once
VERIFIED_SINGLES = 20
OPLOG_MEGABYTES = 990.0  # the least that MongoDB takes
DRAIN_SECONDS = 600.0
FOLLOWED_SECONDS = 60.0
# Which ways reach what an agent has besides memories, and what they leave: a scratchpad has no age and ends by itself, and
# what nothing was found about has none of the words that something was found by.
BESIDES: dict[str, tuple[str, ...]] = {"agent": (), "age": ("scratch",), "words": ("gap",), "cascade": ()}

# Of verbs, of what is inside of them, of followers, and of commands to the stores: all of them are looked through, also where
# memoryd keeps them.
SPANS = {
    "upsert_memory", "delete_memory", "memoryd.write", "memoryd.archive", "memoryd.embed", "redis PIPELINE", "redis EVALSHA",
    "mongodb update", "mongodb find",
}  # fmt: skip

Found = dict[str, set[bytes]]


@dataclass
class Run:
    """One run: what was planted, what was forgotten, and what is found."""

    lab: Lab
    collector: Collector
    chance: random.Random
    planted: dict[str, list[str]] = field(default_factory=dict)  # the ids of each way's canaries
    words: set[bytes] = field(default_factory=set)
    besides: set[bytes] = field(default_factory=set)  # of these, those of other places than memories
    hot_besides: set[bytes] = field(default_factory=set)  # and of these, what Redis must have while nothing is forgotten
    noise: dict[str, str] = field(default_factory=dict)
    receipts: list[FullReceipt] = field(default_factory=list)
    singles: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def client(self, agent: str = "", **more: Any) -> MemoryClient:
        """A client for one way's agent, or the whole project."""
        return connect(self.lab.redis_url, tenant=TENANT, project=PROJECT, agent=agent, **more)

    def word(self) -> str:
        """A new canary."""
        word = f"canary{self.chance.getrandbits(56):014x}"
        self.words.add(word.encode())
        return word

    async def plant_besides(self, memory: MemoryClient, way: str) -> None:
        """A canary in each place that is not a memory's and that this way reaches."""
        before = set(self.words)
        async with self.client(way, session="void") as empty:
            self.hot_besides |= await plant_besides(memory, way, self.word, empty=empty, without=BESIDES[way])
        self.besides |= self.words - before

    async def plant(self, memory: MemoryClient, way: str, count: int, **details: Any) -> list[str]:
        """Stores memories with a canary each; every fifth had another one in its former version, every seventh is shared."""
        ids: list[str] = []
        for start in range(0, count, BATCH):
            many = []
            for number in range(start, min(start + BATCH, count)):
                word = self.word()
                one = {"content": f"The {way} keeper calls bird {number} {word}.", "metadata": {"ring": f"of {word}"}}
                many.append({**one, "type": self.chance.choice(("fact", "episodic", "semantic")), **details})
            ids += [one.id for one in await memory.store_many(many) if isinstance(one, Stored)]
        for memory_id in ids[::5]:
            await memory.update(memory_id, content=f"The {way} keeper has a new name for it: {self.word()}.")
        for memory_id in ids[::7]:
            await memory.share(memory_id, "neighbour-0")
        self.planted.setdefault(way, []).extend(ids)
        return ids


async def forget_many(memory: MemoryClient, **selection: Any) -> FullReceipt:
    """Forgets, as soon as the archive has what was said before; who cannot look everywhere is refused."""
    async with asyncio.timeout(DRAIN_SECONDS):
        while True:
            try:
                return await memory.forget_many(**selection)
            except ArchiveUnavailable:
                await asyncio.sleep(1)


# --- ten ways ---------------------------------------------------------------------------------------------------------
async def by_id(run: Run, memory: MemoryClient, count: int) -> None:
    """One after another, some at once."""
    await run.plant(memory, "id", count)
    waiting = iter(list(run.planted["id"]))

    async def forget() -> None:
        for memory_id in waiting:
            run.singles.append((await memory.forget(memory_id)).receipt)

    await asyncio.gather(*(forget() for _ in range(SINGLY_MAX)))


async def by_ids(run: Run, memory: MemoryClient, count: int) -> None:
    """All in one request."""
    await run.plant(memory, "ids", count)
    run.receipts.append(await forget_many(memory, ids=run.planted["ids"]))


async def by_session(run: Run, memory: MemoryClient, count: int) -> None:
    """With what was said in the session itself, and its checkpoint."""
    await run.plant(memory, "session", count, session="nest")
    working = memory.working("nest")
    await working.append(*({"role": "user", "content": f"Where is {run.word()}?"} for _ in range(5)))
    await working.set("bird", run.word())
    await working.checkpoint(run.word())
    run.receipts.append(await forget_many(memory, session="nest"))


async def by_agent(run: Run, memory: MemoryClient, count: int) -> None:
    """Asked by the project."""
    await run.plant(memory, "agent", count)
    await run.plant_besides(memory, "agent")
    async with run.client() as project:
        run.receipts.append(await forget_many(project, agent="agent"))


async def by_age(run: Run, memory: MemoryClient, count: int) -> None:
    """Everything until now."""
    await run.plant(memory, "age", count)
    await run.plant_besides(memory, "age")
    run.receipts.append(await forget_many(memory, before=datetime.now(UTC)))


async def by_tag(run: Run, memory: MemoryClient, count: int) -> None:
    """By the command, as a person does."""
    tag = run.word()
    await memory.update((await run.plant(memory, "tag", 1, tags=["birds"]))[0], tags=["birds", tag])
    await run.plant(memory, "tag", count - 1, tags=["birds"])
    await command(run, "memoryd", "forget", "--tag", "birds", "--tag", tag, "--agent", "tag", "--yes", "--durability", "hot")


async def by_words(run: Run, memory: MemoryClient, count: int) -> None:
    """The words stand in every content, also in the changed ones."""
    await run.plant(memory, "words", count)
    await run.plant_besides(memory, "words")
    run.receipts.append(await forget_many(memory, words="words KEEPER"))


async def by_query(run: Run, memory: MemoryClient, count: int) -> None:
    """Again and again, because a query is a ranking."""
    await run.plant(memory, "query", count, tags=["quest"])
    while True:
        receipt = await forget_many(memory, query="What does the query keeper say?", tags=["quest"], limit=200)
        run.receipts.append(receipt)
        if not receipt.count:
            left = await memory.plan_forget(tags=["quest"])
            if not left.count:
                return
            await asyncio.sleep(0.2)  # the index is on its way


async def by_cascade(run: Run, memory: MemoryClient, count: int) -> None:
    """A few are named; the others were made of them, or of what was made of them, or are related."""
    sources = await run.plant(memory, "cascade", max(1, count // 10))
    level, left = sources, count - len(sources)
    while left > 0:
        kind = run.chance.choice(("derived_from", "related"))
        level = await run.plant(memory, "cascade", min(left, 50), **{kind: level[-3:]})
        left -= len(level)
    run.receipts.append(await forget_many(memory, ids=sources, cascade=True))
    # What was planted before this call is not linked to these sources.
    await run.plant_besides(memory, "cascade")
    run.receipts.append(await forget_many(memory, everything=True))


async def by_mongosh(run: Run, memory: MemoryClient, count: int) -> None:
    """A person deletes the documents, once they are there."""
    await run.plant(memory, "mongosh", count)
    ids = run.planted["mongosh"]

    async def archived() -> bool:
        return await run.lab.archive.memories.count_documents({"_id": {"$in": ids}}) == len(ids)

    await eventually(archived, within_seconds=DRAIN_SECONDS, what="all are archived")
    for start in range(0, len(ids), 500):
        await run.lab.archive.memories.delete_many({"_id": {"$in": ids[start : start + 500]}})


WAYS: dict[str, Callable[[Run, MemoryClient, int], Awaitable[None]]] = {
    "id": by_id, "ids": by_ids, "session": by_session, "agent": by_agent, "age": by_age, "tag": by_tag,
    "words": by_words, "query": by_query, "cascade": by_cascade, "mongosh": by_mongosh,
}  # fmt: skip


# --- meanwhile --------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def noise(run: Run) -> AsyncIterator[None]:
    """Agents that store, change and recall for the length of the block."""
    enough = asyncio.Event()

    async def live(number: int) -> None:
        chance = random.Random(f"{run.chance.random()}:{number}")
        async with run.client(f"neighbour-{number}") as memory:
            count = 0
            while not enough.is_set():
                count += 1
                kept = await memory.store(f"Neighbour {number} saw cloud {count}.", type="episodic")
                run.noise[kept.id] = f"cloud {count}"
                if chance.random() < 0.2:
                    await memory.update(kept.id, importance=chance.random())
                if chance.random() < 0.05:
                    await memory.recall("What does the query keeper say?")
                await asyncio.sleep(NOISE_PAUSE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        for number in range(NOISE_CLIENTS):
            tasks.create_task(live(number))
        try:
            yield
        finally:
            enough.set()


async def command(run: Run, module: str, *words: str) -> None:
    """One of the commands, as a process of its own."""
    environment = {**run.lab.environment, "MEMORYD_TENANT": TENANT, "MEMORYD_PROJECT": PROJECT}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await child.communicate()
    (run.lab.data / "logs" / f"command-{module}-{words[0]}.log").write_bytes(out)
    if child.returncode:
        run.wrong.append(f"{module} {words[0]} ended with {child.returncode}: {out[-500:].decode(errors='replace')}")


# --- looking ----------------------------------------------------------------------------------------------------------
async def look(run: Run) -> Found:
    """The canaries in every place."""
    found: Found = {"Redis: keys": await _in_redis(run.lab.redis), "Redis: files": set()}
    for path in (run.lab.data / "redis").rglob("*"):
        if path.is_file():
            found["Redis: files"] |= _canaries([path.read_bytes()])
    database = run.lab.archive.database
    for name in await database.list_collection_names():
        found[f"MongoDB: {name}"] = {
            word async for document in database[name].find({}) for word in _canaries([bson.encode(document)])
        }
    found["spans and metrics"] = _canaries(list(run.collector.bodies))
    found["logs"] = _canaries([path.read_bytes() for path in (run.lab.data / "logs").iterdir()])
    return found


async def _in_redis(redis: Any) -> set[bytes]:
    """Names and values of all keys; a DUMP is what a file of Redis would have of a value, uncompressed here."""
    found: set[bytes] = set()
    async for key in redis.scan_iter(count=1000):
        found |= _canaries([key, await redis.dump(key) or b""])
        if await redis.type(key) == b"ReJSON-RL":
            found |= _canaries([str(await redis.execute_command("JSON.GET", key)).encode()])
    return found


def _canaries(texts: Iterable[bytes]) -> set[bytes]:
    return {word for text in texts for word in CANARY.findall(text)}


async def quiet(run: Run) -> None:
    """Waits until every follower has done everything, every receipt is chained, and nothing is pending."""
    async with run.client() as project:

        async def done() -> bool:
            stats = await project.stats()
            receipts = await run.lab.redis.xlen(RECEIPTS)
            return not (stats.embed_backlog or stats.archive_backlog or stats.pending or receipts)

        await eventually(done, within_seconds=DRAIN_SECONDS, what="all followers are done")


# --- the run ----------------------------------------------------------------------------------------------------------
async def run_one(canaries: int, seed: int, *, tell: Callable[[str], None] = say, keep: str = "") -> list[str]:
    """Plants, forgets, looks; what is wrong at the end, empty when nothing is. The logs of a failed run go to `keep`."""
    async with AsyncExitStack() as stack:
        collector = stack.enter_context(Collector())
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500",
            "MEMORYD_LOG_LEVEL": "DEBUG", "MEMORYD_TRACES": "mongo", "MEMORYD_TRACE_STORES": "true", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        lab = await stack.enter_async_context(Lab(SHAPE, environment))
        await lab.redis.config_set("rdbcompression", "no")  # a compressed word would not be seen
        # The laboratory's oplog is tiny, and would roll over again and again: each time everything would be compared whole.
        await lab.mongo.admin.command("replSetResizeOplog", 1, size=OPLOG_MEGABYTES)
        run = Run(lab, collector, random.Random(f"{seed}:canaries"))
        clients = {way: await stack.enter_async_context(run.client(way)) for way in WAYS}
        each = max(2, canaries // len(WAYS))
        await _plant_the_first_half(run, clients, each // 2, tell)
        await _forget_all(run, clients, each - each // 2, tell)
        await _judge(run, tell)
        run.wrong += lab.trouble
        if run.wrong and keep:
            shutil.copytree(lab.data / "logs", keep, dirs_exist_ok=True)
        return run.wrong


async def _plant_the_first_half(
    run: Run, clients: dict[str, MemoryClient], each: int, tell: Callable[[str], None]
) -> None:
    started = time.monotonic()
    details: dict[str, dict[str, Any]] = {"session": {"session": "nest"}, "tag": {"tags": ["birds"]}, "query": {"tags": ["quest"]}}
    await asyncio.gather(*(run.plant(clients[way], way, each, **details.get(way, {})) for way in WAYS))
    for way in BESIDES:
        await run.plant_besides(clients[way], way)
    await quiet(run)
    found = await look(run)
    tell(f"{len(run.words)} canaries planted, embedded and archived in {time.monotonic() - started:.0f} s; found: {_told(found)}")
    if not run.collector.bodies:
        run.wrong.append("the look is blind: no spans have come")
    if blind := run.hot_besides - found["Redis: keys"]:
        run.wrong.append(f"the look is blind: {len(blind)} canaries beside memories were not found in Redis")
    if blind := run.words - run.besides - found["MongoDB: versions"]:
        run.wrong.append(f"the look is blind: {len(blind)} canaries were not found in the history")
    for place in ("Redis: keys", "Redis: files", "MongoDB: memories"):
        if len(found[place]) < 0.8 * len(run.words - run.besides):  # a former version's word is in the history only
            run.wrong.append(f"the look is blind: only {len(found[place])} canaries were found in {place}")


async def _forget_all(run: Run, clients: dict[str, MemoryClient], each: int, tell: Callable[[str], None]) -> None:
    async def forget(way: str) -> None:
        started = time.monotonic()
        await WAYS[way](run, clients[way], each)
        run.seconds[way] = time.monotonic() - started

    started = time.monotonic()
    async with noise(run):
        rebuild = asyncio.create_task(command(run, "memoryd_sync", "rebuild", "--yes"))
        await asyncio.gather(*(forget(way) for way in WAYS))
        await rebuild
    await quiet(run)
    times = ", ".join(f"{way} {seconds:.1f} s" for way, seconds in run.seconds.items())
    tell(f"{len(run.words)} canaries in {sum(map(len, run.planted.values()))} memories forgotten ({times})")
    tell(f"meanwhile {len(run.noise)} other memories, and a rebuild; all quiet after {time.monotonic() - started:.0f} s")


async def _judge(run: Run, tell: Callable[[str], None]) -> None:
    async with run.client() as project:
        await _deleted_are_gone(run)
        await quiet(run)
        rewritten = await project.rewrite_aof()
        await asyncio.sleep(1.5)  # the last spans are sent every half second
        found = await look(run)
        tell(f"files rewritten: {', '.join(rewritten)}; found: {_told(found)}")
        if silent := SPANS - {span.name for span in run.collector.spans}:
            run.wrong.append(f"no spans named {', '.join(sorted(silent))} were looked through")
        run.wrong += [f"{len(words)} canaries in {place}, e.g. {min(words).decode()}" for place, words in found.items() if words]
        await _verify(run, project, tell)
    living = {one["_id"] async for one in run.lab.archive.memories.find({"tombstone": {"$ne": True}}, {"_id": 1})}
    if lost := run.noise.keys() - living:
        run.wrong.append(f"{len(lost)} memories are gone that nobody has forgotten")
    if strangers := living - run.noise.keys():
        run.wrong.append(f"{len(strangers)} memories live that should be forgotten")
    run.wrong += await differences(run.lab)


async def _verify(run: Run, project: MemoryClient, tell: Callable[[str], None]) -> None:
    """Every receipt of a forget of many, some of one memory, and the whole chain."""
    singles = run.chance.sample(run.singles, min(VERIFIED_SINGLES, len(run.singles)))
    ids = [*(one.id for one in run.receipts), *singles]
    started, chain = time.monotonic(), 0
    for number, receipt_id in enumerate(ids):
        found = await project.verify_receipt(receipt_id, chain=number == 0)
        chain = max(chain, found.looked.get("receipts", 0))
        run.wrong += [f"verify {receipt_id}: {one.where}: {one.what} ({one.id})" for one in found.findings[:3]]
    tell(f"{len(ids)} receipts verified, and a chain of {chain - 1}, in {time.monotonic() - started:.0f} s")


async def _deleted_are_gone(run: Run) -> None:
    """A person's deletions come by the change stream, which nobody waits for otherwise."""
    keys = [run.lab.keys.memory(kind, Scope(TENANT, PROJECT), one) for one in run.planted["mongosh"] for kind in KINDS]

    async def gone() -> bool:
        return not await run.lab.redis.exists(*keys)

    try:
        await eventually(gone, within_seconds=FOLLOWED_SECONDS, what="all deleted")
    except AssertionError:
        run.wrong.append(f"{await run.lab.redis.exists(*keys)} memories that were deleted in MongoDB live in Redis")


def _told(found: Found) -> str:
    return ", ".join(f"{place} {len(words)}" for place, words in sorted(found.items()))


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.canaries", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--canaries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="of the words and the choices (default: a random one)")
    parser.add_argument("--keep", metavar="FOLDER", default="", help="where the logs of a failed run go")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"seed {seed}")
    wrong = asyncio.run(run_one(options.canaries, seed, keep=options.keep))
    for one in wrong:
        say(f"    {one}")
    say(f"{'FAILED' if wrong else 'ok'}: python -m tests.faults.canaries --canaries {options.canaries} --seed {seed}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
