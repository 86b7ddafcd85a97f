"""What memoryd leaves in Redis after a busy day: documented names, a TTL or a reason, and text only where it belongs."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider

from memoryd import MemoryClient, keys
from memoryd.errors import BadRequest, MemorydError
from memoryd.jobs.state import JobStates
from memoryd.lifecycle.tiering import tiers_lease
from memoryd.metrics.periods import Measured
from memoryd.metrics.series import SeriesSink
from memoryd.model.results import Stored
from memoryd.traces.keep import Giving
from memoryd_telemetry.names import OPERATIONS, SCOPE
from memoryd_telemetry.tracing import keep_spans
from tests.integration.test_tiers import tiering
from tests.integration.tools import gone, idle, sees
from tests.waiting import eventually
from tests.wire import Wire
from tests.world import World

# Each part of a name in the table of keys.py, as what may stand there: names are percent-encoded, the rest is hex.
PARTS = {
    "v": "HEX",
    "{b}": r"\{[0-9a-f]{2}\}", "id": r"(?:mem|ses|snp)_[0-9a-f]{32}", "tenant": "TAG", "project": "TAG", "agent": "NAME",
    "session": "NAME", "request": "HEX", "r": "HEX", "m": "HEX", "h": "HEX", "token": "HEX", "receipt": r"rcp_[0-9a-f]{32}",
    "a": "NAME", "s": "TAG", "task": "TAG", "channel": "TAG", "job": "TAG",
    "date": r"\d{4}-\d\d-\d\d", "service": "TAG", "series": "TAG", "kept": "TAG",
}  # fmt: skip
TAG, HEX = r"[A-Za-z0-9_.%-]+", r"[0-9a-f]+"
NAME = r"[A-Za-z0-9_.%-]*"  # an agent or a session: none is one too
GONE = -2  # the TTL of a key that there is not
MARK = "kumquat"  # in every text that this test stores
ODD = "a:b,c|*{}%~ü\u202e"


def documented() -> dict[str, re.Pattern[str]]:
    """The names of the table at the head of `memoryd.keys`, as patterns."""
    rows = re.findall(r"^(aether:\S+)", keys.__doc__ or "", re.MULTILINE)
    return {row: re.compile(_pattern(row)) for row in rows if ":index:" not in row}


def _pattern(row: str) -> str:
    pattern = re.escape(row).replace(re.escape("{b}"), PARTS["{b}"])
    for part, form in PARTS.items():
        pattern = pattern.replace(re.escape(f"<{part}>"), {"TAG": TAG, "HEX": HEX, "NAME": NAME}.get(form, form))
    assert "<" not in pattern, f"a part of {row} is not known here"
    return pattern


@pytest.fixture
async def busy(world: World, memory: MemoryClient) -> AsyncIterator[World]:
    """A memoryd on which everything has happened once, and which has come to rest."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    async with world.connect(tenant=ODD, project=ODD, agent=ODD, session=ODD) as odd, Wire(world) as wire:
        for client in (memory, odd):
            items = [
                {"content": f"{MARK} {n}", "type": kind} for n in range(8) for kind in ("fact", "episodic", "semantic")
            ]
            kept = [one for one in await client.store_many(items) if isinstance(one, Stored)]
            await asyncio.gather(*(client.store(f"{MARK} 1", type="fact", request_id=f"again {n}") for n in range(8)))
            await asyncio.gather(*(client.recall(f"{MARK}?") for _ in range(4)), client.recall(MARK, limit=1, cursor=""))
            await asyncio.gather(*(client.update(one.id, content=f"{MARK} changed {one.id}") for one in kept[:6]))
            await asyncio.gather(*(client.forget(one.id) for one in kept[4:9]))
            await client.forget_many(words=f"{MARK} 3", cascade=True)
            await client.store(f"{MARK} 1", type="fact", durability="archived")
            await a_session(client)
            await an_agents_day(client)
            await a_day(client, yesterday)
            for wrong in (
                client.store(""),
                client.get("mem_" + "0" * 32),
                client.update(kept[0].id, if_version=99, importance=0.1),
            ):
                with pytest.raises(MemorydError):
                    await wrong
        await world.redis.publish(
            keys.REQUESTS, msgspec.json.encode(wire.envelope("recall", {"query": MARK}, id="published"))
        )
        await wire.answer_to("published")
        await wire.raw(b"rubbish " + MARK.encode())
        world.embedder.refused = "refused"
        await memory.store(f"{MARK} refused")
        await eventually(lambda: letters(world, 1), what="the refused memory is among the dead letters")
        # A person's edit, a person's deletion.
        person = await memory.store(f"{MARK} by a person", durability="archived")
        await world.memories.update_one({"_id": person.id}, {"$set": {"content": f"{MARK} edited"}})
        await eventually(sees(memory, person.id, 2), what="the edit has come")
        await world.memories.delete_one({"_id": person.id})
        await eventually(gone(memory, person.id), what="the deletion has come")
        await a_kept_span(world)
        await SeriesSink(world.redis, world.keys, "memoryd").write([Measured("memoryd.embed.queue", {}, {"level": 1})])
        await rest(world, memory)
        await tiering(world, days=0).sweep()
        await rest(world, memory)  # the sweep has written down what was used
        assert await tiers_lease(world.redis).hold()  # of another daemon, which sweeps at this moment
        assert await JobStates(world.redis).turn("retention", "another").hold()
        await memory.recall(MARK)
        yield world


async def a_session(client: MemoryClient) -> None:
    """A session's whole day."""
    session = client.working(client.scope.session or "s1")
    await session.append({"role": "user", "content": MARK}, {"role": "user", "content": MARK})
    await session.set("plan", {"of": MARK})
    await session.checkpoint(MARK)
    await session.rollback(1)
    await session.context(MARK)
    await session.close()


async def an_agents_day(client: MemoryClient) -> None:
    """What an agent does besides storing and recalling, each thing once."""

    async def tool(given: str) -> str:
        return f"{MARK} of {given}"

    await client.tools.cached(MARK, MARK, tool, tags=[MARK])
    await client.tools.cached_query(MARK, f"Where is the {MARK}?", tool, tags=[MARK])
    await client.scratch.push("list", MARK)
    await client.scratch.pop("list")
    await client.episodes.record("step", {"of": MARK})
    await client.agent.set(task=MARK)
    if not client.scope.session:
        await client.recall("zebras", session="where nothing is")
    await client.agent.snapshot(MARK)
    await client.facts.put(MARK, "is", MARK)
    await client.facts.put(MARK, "is", f"{MARK} jam")
    await client.channels.publish(ODD, {"of": MARK})
    await client.leases.take(ODD, ttl_seconds=3600)


async def a_day(client: MemoryClient, day: datetime) -> None:
    """A day that is over, and has its summary."""
    about = ("was sold at the market", "grows in the garden behind the house", "is what Ada cooks her jam of")
    talk = [{"content": f"The {MARK} {one} since {client.scope.agent} said so.", "valid_from": day.isoformat()} for one in about]
    await client.store_many(talk, wait="searchable")
    try:
        await client.day(day.date().isoformat(), make=True)
    except BadRequest:
        assert client.scope.session, "only who has all of an agent's sessions has its days"


async def a_kept_span(world: World) -> None:
    """What a memoryd that keeps spans leaves."""
    provider, stop = TracerProvider(shutdown_on_exit=False), asyncio.Event()
    spans = keep_spans(provider, "test")
    provider.get_tracer(SCOPE).start_span(OPERATIONS["store"]).end()
    stop.set()
    await Giving(world.redis, spans).run(stop)


async def letters(world: World, count: int) -> bool:
    """Whether there are so many dead letters."""
    return bool(await world.redis.xlen(keys.DEAD_LETTERS) >= count)


async def rest(world: World, memory: MemoryClient) -> None:
    """Waits until all followers are done with everything."""

    await eventually(lambda: idle(memory), what="all followers are done")


async def all_keys(world: World) -> list[str]:
    """Every key, as text."""
    return sorted([key.decode() async for key in world.redis.scan_iter(count=1000)])


async def test_every_key_is_documented_and_has_a_ttl_or_a_reason(busy: World) -> None:
    """A key that nobody has thought about would stay for ever, or go when it is needed."""
    forms, unseen = documented(), set(documented())

    async def all_seen() -> bool:
        for key in await all_keys(busy):
            rows = [row for row, form in forms.items() if form.fullmatch(key)]
            assert rows, f"{key} is not in the table of keys.py"
            unseen.discard(rows[0])
            ttl = await busy.redis.ttl(key)
            if ttl == GONE:
                continue  # meanwhile, so it had one
            permanent = key.startswith(keys.PERMANENT_PREFIXES)
            assert permanent or ttl > 0, f"{key} has no TTL and no reason"
            assert not (permanent and ttl > 0), f"{key} is permanent and has a TTL"
        return not unseen

    await eventually(all_seen, what="the busy run has shown every kind")  # the follower's lease may just have lapsed


async def test_the_table_says_which_keys_are_permanent() -> None:
    """It and PERMANENT_PREFIXES tell the same story."""
    for row, life in re.findall(r"^(aether:\S+)\s+\w+\s{2,}(.+?)\s{2,}", keys.__doc__ or "", re.MULTILINE):
        if ":index:" in row:
            continue
        lives_on = life.startswith(("permanent", "trimmed", "bounded", "until answered"))
        assert row.startswith(keys.PERMANENT_PREFIXES) is lives_on, row


async def test_every_name_is_in_the_bucket_of_its_memory(busy: World) -> None:
    """One tag a key, and records, tombstones and journals of one memory under the same one: Redis Cluster needs it."""
    buckets = {f"{{{bucket}}}" for bucket in busy.keys.all_buckets()}
    for key in await all_keys(busy):
        tags = re.findall(r"\{[^}]*\}", key)
        assert len(tags) <= 1
        assert set(tags) <= buckets
        if memory_id := re.search(r"(?:mem|ses|snp)_[0-9a-f]{32}$", key):
            assert tags == [f"{{{busy.keys.bucket(memory_id[0])}}}"]


async def test_every_record_has_the_stamp_of_its_brief(busy: World) -> None:
    """Whatever has written it last. A daemon takes a brief that it has read under a stamp for what Redis has."""
    found = 0
    for key in await all_keys(busy):
        if re.match(r"aether:memory:(episodic|semantic):", key):
            record: dict[Any, Any] = await busy.redis.hgetall(key)
            brief, stamp = record[b"brief"], record[b"stamp"]
            assert int(stamp) == int(hashlib.sha1(record[b"id"] + brief, usedforsecurity=False).hexdigest()[:13], 16)
            found += 1
    assert found > 10


async def test_text_lies_in_records_only_once_all_is_done(busy: World) -> None:
    """Not in a request, an answer, a cache, an idempotency key, a dead letter, a tombstone, nor in any name."""
    holders = set()
    for key in await all_keys(busy):
        assert MARK not in key
        if MARK.encode() in await value(busy, key):
            holders.add(key.split("{")[0].removesuffix(":"))
    of_agents = {
        "aether:memory:working", "aether:cache:tool", "aether:answers", "aether:agent:state", "aether:agent:snapshot",
        "aether:gaps", "aether:channel",
    }  # fmt: skip
    assert holders <= {"aether:memory:semantic", "aether:memory:episodic", *of_agents}
    assert holders


async def value(world: World, key: str) -> bytes:
    """Everything that a key holds."""
    redis: Any = world.redis
    match await redis.type(key):
        case b"string":
            parts = [await redis.get(key)]
        case b"hash":
            parts = [part for pair in (await redis.hgetall(key)).items() for part in pair]
        case b"stream":
            parts = [part for _, fields in await redis.xrange(key) for pair in fields.items() for part in pair]
        case _:
            parts = [await redis.dump(key)]
    return b"\0".join(part or b"" for part in parts)


async def test_journals_and_requests_are_empty_once_all_is_done(busy: World) -> None:
    """Trimmed below every follower's place, which is the end; nothing waits in a group, and no claim is left over."""
    journals = [busy.keys.journal(bucket) for bucket in busy.keys.all_buckets()]
    for stream in (*journals, keys.REQUESTS):

        async def empty(stream: str = stream) -> bool:
            return await busy.redis.xlen(stream) == 0

        await eventually(empty, what=f"{stream} is empty")
        for group in await busy.redis.xinfo_groups(stream):
            assert group["pending"] == 0, (stream, group["name"])


async def test_a_journal_keeps_what_one_follower_has_not_done(world: World, memory: MemoryClient) -> None:
    """The others' being done is not enough: while sync is away nothing is trimmed that it has not archived."""
    await world.stop("sync")
    kept = await memory.store_many([{"content": f"{MARK} {number}"} for number in range(50)])
    assert len(kept) == 50

    async def embedded() -> bool:
        stats = await memory.stats()
        return stats.pending == 0 and stats.embed_backlog == 0

    await eventually(embedded, what="all have their vectors")
    journals = [world.keys.journal(bucket) for bucket in world.keys.all_buckets()]
    lengths = [await world.redis.xlen(journal) for journal in journals]
    assert sum(lengths) == 100  # stored and embedded, of each
    assert (await memory.stats()).archive_backlog == 100

    await world.start("sync")
    await world.drained(memory)

    async def trimmed() -> bool:
        return not any([await world.redis.xlen(journal) for journal in journals])

    await eventually(trimmed, what="the journals are empty")
    assert await world.memories.count_documents({}) == 50
