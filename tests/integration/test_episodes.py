"""Agents' logs: what happened is found by what it was, and replayed in order, from Redis and the archive as one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient

import memoryd.hot.episodes
import memoryd.protocol.connection
import memoryd.stores
from memoryd import MemoryClient
from memoryd.config import Settings
from memoryd.errors import ArchiveUnavailable, BadRequest, MemorydError, NotFound
from memoryd.limits import EPISODE_DATA_BYTES_MAX, EPISODE_PAYLOAD_BYTES_MAX
from memoryd.model.episode import Logged
from tests.waiting import eventually
from tests.wire import Wire, goes_on
from tests.world import World

PAGE = {"input": {"q": "tea in Graz"}, "output": "kumquat " * 4_000}


async def replayed(memory: MemoryClient, *, after: str = "", limit: int = 7, **narrowed: str) -> list[Logged]:
    """The whole log from a position on, part by part."""
    found: list[Logged] = []
    while True:
        part = await memory.episodes.replay(after=after, limit=limit, **narrowed)
        found += part.entries
        after = part.next
        if not part.more:
            return found


def numbers(entries: list[Logged]) -> list[int]:
    return [(entry.episode.data or {})["n"] for entry in entries]


async def record_many(memory: MemoryClient, count: int, *, first: int = 0) -> list[str]:
    """Events with their numbers, one after the other; their ids."""
    return [(await memory.episodes.record("step", {"n": n})).id for n in range(first, first + count)]


def log_keeps(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many entries stay in Redis, however few that is."""
    monkeypatch.setattr(memoryd.hot.episodes, "EPISODE_LOG_ENTRIES", entries)


async def test_an_event_comes_back_as_it_was(world: World, memory: MemoryClient) -> None:
    """By its data, its outcome, its time; as an episode, and as the memory that it is."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    data = {"input": {"q": "tea", "n": [1, 2.5, None]}, "output": "Ada likes tea"}
    done = await memory.episodes.record(
        "tool_call", data, tool="web_search", outcome="error", error_kind="timeout", latency_seconds=1.25, text="Looked up tea",
        session="s1", importance=0.9, tags=["web"], happened_at=yesterday,
    )  # fmt: skip
    [entry] = await replayed(memory)

    one = entry.episode
    assert (entry.position, one.id, one.event_type, one.tool, one.data) == (done.position, done.id, "tool_call", "web_search", data)
    assert (one.outcome, one.error_kind, one.latency_us) == ("error", "timeout", 1_250_000)
    assert (one.agent, one.session, one.importance, one.tags, one.happened_at) == ("scout", "s1", 0.9, ["web"], yesterday)
    assert one.text.startswith("tool_call web_search: error (timeout) in 1250 ms\nLooked up tea\n")
    assert (await memory.get(done.id)).memory_type == "episodic"
    assert [hit.memory.id for hit in await memory.recall("Ada tea", types=["episodic"])] == [done.id]


async def test_events_are_found_by_words_meaning_kind_outcome_and_time(world: World, memory: MemoryClient) -> None:
    """Each filter alone, several together, with a question and without; also what only the archive has."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    kinds = [("tool_call", "search", "ok", ""), ("tool_call", "mail", "error", "timeout"), ("llm_call", "gpt", "error", "quota")]
    ids = [
        (
            await memory.episodes.record(
                kind, {"n": n}, tool=tool, outcome=outcome, error_kind=error, text=f"lighthouse number {n}",
                happened_at=start + timedelta(hours=n),
            )
        ).id
        for n, (kind, tool, outcome, error) in enumerate(kinds)
    ]  # fmt: skip
    await memory.store("A lighthouse that is no event of a log.", type="episodic")
    await world.drained(memory)

    async def found(**wanted: Any) -> list[int]:
        return [ids.index(one.id) for one in (await memory.episodes.search(**wanted)).episodes]

    async def look() -> None:
        assert await found() == [2, 1, 0]
        assert await found(event_types=["tool_call"]) == [1, 0]
        assert await found(event_types=["llm_call", "message"]) == [2]
        assert await found(outcomes=["error"], tools=["mail", "search"]) == [1]
        assert await found(error_kinds=["quota"]) == [2]
        assert await found(since=start + timedelta(hours=1)) == [2, 1]
        assert await found(since=start, until=start + timedelta(hours=1), limit=1) == [1]
        assert await found(event_types=["tool*"]) == []

    await look()
    assert sorted(await found(query="lighthouse", outcomes=["error"])) == [1, 2]
    vector_only = await found(query=(await memory.get(ids[1])).content, event_types=["tool_call"])
    assert vector_only[0] == 1
    for memory_id in ids[:2]:  # as a demotion would: only the archive has them
        await world.redis.delete(world.keys.memory("episodic", memory.scope, memory_id))
    await look()


@pytest.mark.parametrize("archived", [False, True])
async def test_large_data_goes_to_the_archive_by_reference(world: World, memory: MemoryClient, archived: bool) -> None:
    """Redis keeps what is searched; the whole of it is fetched on demand, also before the archive has it."""
    if not archived:
        await world.stop("sync")
    done = await memory.episodes.record("tool_call", PAGE, tool="fetch", durability="archived" if archived else "hot")
    edge = await memory.episodes.record("note", {"t": "x" * (EPISODE_DATA_BYTES_MAX - len('{"t":""}'))})

    small, one = (await memory.episodes.search(event_types=["tool_call", "note"])).episodes
    assert (one.data, one.data_bytes > 30_000, small.data is not None) == (None, True, True)
    assert await memory.episodes.data(done.id) == PAGE
    assert await memory.episodes.data(edge.id) == small.data
    assert len(one.text.encode()) < 5_000
    record = await world.redis.dump(world.keys.memory("episodic", memory.scope, done.id))
    assert len(record or b"") < 8_000
    if archived:
        await world.drained(memory)
        assert b"kumquat " * 200 not in await world.everything_in_redis()
        await memory.forget(done.id, durability="archived")
        assert "kumquat" not in await world.everything_in_mongo()
    with pytest.raises(NotFound):
        await memory.episodes.data((await memory.store("no event")).id)


async def test_a_replay_reads_redis_and_archive_as_one_log(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gap and no double from any place, while the log is trimmed, and after Redis has lost part or all of it."""
    log_keeps(10, monkeypatch)
    ids = await record_many(memory, 30)
    await world.drained(memory)
    await record_many(memory, 15, first=30)
    await world.drained(memory)

    kept = await world.redis.xlen(world.keys.episodes(memory.scope))
    assert 10 <= kept <= 15, "when the last one came, the archive had at least the first 30"
    everything = await replayed(memory)
    assert numbers(everything) == list(range(45))
    for n in (0, 1, 28, 33, 34, 35, 36, 43, 44):
        assert numbers(await replayed(memory, after=everything[n].position, limit=3)) == list(range(n + 1, 45)), n
    await memory.forget(ids[3])
    await memory.forget((await replayed(memory))[-1].episode.id)
    assert numbers(await replayed(memory)) == [n for n in range(44) if n != 3]
    await world.redis.delete(world.keys.episodes(memory.scope))
    assert numbers(await replayed(memory)) == [n for n in range(44) if n != 3]
    await record_many(memory, 2, first=45)
    assert numbers(await replayed(memory, limit=20)) == [*(n for n in range(44) if n != 3), 45, 46]


async def test_a_log_is_not_trimmed_above_what_is_archived(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While sync is away Redis keeps all of it, and a replay is whole; then it becomes short again."""
    log_keeps(10, monkeypatch)
    await record_many(memory, 12)
    await world.drained(memory)
    await world.stop("sync")
    await record_many(memory, 30, first=12)
    assert await world.redis.xlen(world.keys.episodes(memory.scope)) >= 30
    assert numbers(await replayed(memory)) == list(range(42))

    await world.start("sync")
    await world.drained(memory)
    await record_many(memory, 1, first=42)
    assert await world.redis.xlen(world.keys.episodes(memory.scope)) == 10
    assert numbers(await replayed(memory)) == list(range(43))


async def test_followers_miss_nothing_while_everything_restarts(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catch-up and live are one sequence: writers go on, the log is trimmed, the daemon is killed, a follower comes late."""
    log_keeps(10, monkeypatch)
    monkeypatch.setattr(memoryd.protocol.connection, "RESEND_SECONDS", 0.5)
    await world.start("daemon2")
    seen: list[list[Logged]] = [[], []]
    async with world.connect() as reader, world.connect(agent="") as project, world.connect() as writer:
        early = asyncio.create_task(follow(reader, seen[0]))
        written: list[str] = []

        async def write(number: int) -> None:
            for n in range(30):
                written.append((await writer.episodes.record("step", {"n": n, "writer": number})).id)

        writers = [asyncio.create_task(write(number)) for number in range(3)]
        await eventually(lambda: len(written) > 20, what="the writers write")
        await world.kill("daemon")
        await world.start("daemon")
        await eventually(lambda: len(written) > 50, what="they go on")
        late = asyncio.create_task(follow(project, seen[1], agent="scout"))
        await asyncio.gather(*writers)
        await eventually(lambda: all(len(one) >= 90 for one in seen), what="both have all")
        for task in (early, late):
            task.cancel()
        await asyncio.wait([early, late])

    for entries in seen:
        assert [one.episode.id for one in entries] == [one.episode.id for one in seen[0]]
        assert len({one.episode.id for one in entries}) == len(entries) == 90
        for number in range(3):
            mine = [one.episode.data for one in entries]
            assert [one["n"] for one in mine if one and one["writer"] == number] == list(range(30))
    assert sorted(one.episode.id for one in seen[0]) == sorted(written)


async def follow(client: MemoryClient, seen: list[Logged], **whose: str) -> None:
    """Notes every event of a log, until it is cancelled."""
    async for entry in client.episodes.follow(**whose):
        seen.append(entry)


async def test_a_repeated_request_is_one_event(world: World, memory: MemoryClient) -> None:
    """Also when Redis has forgotten that it was asked; its id for another event is refused."""
    first = await memory.episodes.record("step", {"n": 1}, request_id="r1")
    again = await memory.episodes.record("step", {"n": 1}, request_id="r1")
    await world.redis.delete(*[key async for key in world.redis.scan_iter("aether:idempotency:*")])
    later = await memory.episodes.record("step", {"n": 1}, request_id="r1")
    assert [(one.id, one.position, one.replayed) for one in (again, later)] == [(first.id, first.position, True)] * 2
    assert numbers(await replayed(memory)) == [1]
    with pytest.raises(BadRequest):
        await memory.episodes.record("step", {"n": 1}, outcome="none", request_id="r1")
    await memory.forget(first.id)
    await memory.episodes.record("step", {"n": 1}, request_id="r1")
    assert await replayed(memory) == []


async def test_a_corrected_event_keeps_its_place(world: World, memory: MemoryClient) -> None:
    """An update is a new version of the memory: found by what it says now, where it always stood, with its data."""
    ids = [(await memory.episodes.record("step", PAGE | {"n": n})).id for n in range(3)]
    event = (await memory.get(ids[1])).metadata["event"]
    await memory.update(ids[1], metadata={"event": {**event, "type": "other", "outcome": "error"}})
    await memory.update(ids[2], metadata={"no": "event"})
    await world.drained(memory)

    found = await memory.episodes.search(event_types=["other"], outcomes=["error"])
    assert [one.id for one in found.episodes] == [ids[1]]
    assert [one.id for one in (await memory.episodes.search()).episodes] == [ids[1], ids[0]]
    await world.redis.delete(world.keys.episodes(memory.scope))
    assert [one.episode.id for one in await replayed(memory)] == ids[:2]
    assert (await memory.episodes.data(ids[1]))["n"] == 1


async def test_a_log_is_its_agents(world: World, memory: MemoryClient) -> None:
    """Sessions see their part; the project may look at each; nobody else sees anything, by no verb."""
    done = await memory.episodes.record("step", {"n": 1}, session="s1")
    await memory.episodes.record("step", {"n": 2}, session="s2")
    assert numbers(await replayed(memory, session="s2", limit=1)) == [2]
    async with world.connect(session="s1") as s1, world.connect(agent="") as project:
        assert numbers(await replayed(s1)) == [1]
        assert len((await s1.episodes.search()).episodes) == 1
        assert await replayed(project) == []
        assert numbers(await replayed(project, agent="scout")) == [1, 2]
        assert len((await project.episodes.search()).episodes) == 2
    for scope in ({"agent": "other"}, {"project": "sales"}, {"tenant": "evil"}, {"agent": "scout "}):
        async with world.connect(**scope) as other:
            assert await replayed(other) == []
            assert (await other.episodes.search()).episodes == []
            with pytest.raises(NotFound):
                await other.episodes.data(done.id)
            if scope.get("agent"):
                with pytest.raises(BadRequest):
                    await other.episodes.replay(agent="scout")


async def test_without_mongodb_what_redis_has_is_told_and_the_rest_is_not_guessed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording goes on; a search says that it is degraded; a replay that needs the archive says so."""
    nobody: AsyncMongoClient[Any] = AsyncMongoClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=100)
    monkeypatch.setattr(memoryd.stores, "open_mongo", lambda _: nobody)
    monkeypatch.setattr("memoryd.archive.store.ARCHIVE_ANSWER_SECONDS", 2.0)
    async with World(settings) as world:
        await world.start("daemon")
        async with world.connect() as memory:
            done = await memory.episodes.record("step", {"n": 1, "page": "x" * 10_000})
            found = await memory.episodes.search(event_types=["step"])
            assert ([one.id for one in found.episodes], bool(found.degraded)) == ([done.id], True)
            assert (await memory.episodes.data(done.id))["n"] == 1
            with pytest.raises(ArchiveUnavailable):
                await memory.episodes.replay()
            await memory.episodes.record("step", {"n": 2})
            assert numbers((await memory.episodes.replay(after=done.position)).entries) == [2]
            await memory.facts.put("Ada", "likes", "tea")
            assert len((await memory.facts.put("Ada", "likes", "juice")).ended) == 1
            known = await memory.facts.find("Ada")
            assert ([one.object for one in known.facts], bool(known.degraded)) == (["juice"], True)


async def test_hostile_events_are_refused_or_kept_as_they_are(world: World, memory: MemoryClient) -> None:
    """Kinds, tools and data that mean something to a query; data that is no JSON, too deep, or too large."""
    for odd in ("*", "a|b", "tool,call", "{x}", "ä\u202e", '"', "@outcome:{ok}", "$p0", "x" * 128):
        done = await memory.episodes.record(odd, {odd: odd}, tool=odd, outcome="error", error_kind=odd)
        found = await memory.episodes.search(event_types=[odd], tools=[odd], error_kinds=[odd])
        assert [(one.id, one.event_type, one.data) for one in found.episodes] == [(done.id, odd, {odd: odd})]
    for spoiled in (float("nan"), b"bytes", object()):
        with pytest.raises(MemorydError):
            await memory.episodes.record("step", {"n": spoiled})
    deep: Any = 1
    for _ in range(15):
        deep = {"d": deep}
    async with Wire(world) as wire:
        for args in (
            {"event_type": ""}, {"event_type": "a\0"}, {"event_type": "x" * 129}, {"event_type": "e", "data": []},
            {"event_type": "e", "data": deep}, {"event_type": "e", "data": {"n": 2**64}}, {"event_type": "e", "latency_us": -1},
            {"event_type": "e", "data": {"t": "x" * EPISODE_PAYLOAD_BYTES_MAX}}, {"event_type": "e", "outcome": "great"},
            {"event_type": "e", "error_kind": "x"}, {"event_type": "e", "latency_us": 2**63}, {"event_type": "e", "tags": [""]},
            {"event_type": "e", "happened_at": "2026-01-01T00:00:00"}, {"event_type": "e", "importance": 2},
        ):  # fmt: skip
            assert (await wire.refused("episode.record", args))["code"] == "bad_request", args
        for after in ("x", "1-", "-1", "1-1-1", "+", "9" * 30 + "-0"):
            assert (await wire.refused("episode.replay", {"after": after}))["code"] == "bad_request", after
        assert (await wire.refused("episode.search", {"event_types": ["\0"]}))["code"] == "bad_request"
    metadata: list[dict[str, Any]] = [{"event": "party"}, {"event": {"type": 5}}, {"event": {"type": "x", "outcome": [1]}}]
    metadata.append({"event": {"type": "x", "outcome": "ok", "latency_us": "1", "data": 3, "data_bytes": {}, "error_kind": []}})
    for number, strange in enumerate(metadata):  # what has nothing to do with a log, under the same name
        await memory.store(f"Memory {number}.", type="episodic", metadata=strange)
    await world.drained(memory)
    assert (await memory.episodes.search(event_types=["x"])).episodes
    await goes_on(world)
