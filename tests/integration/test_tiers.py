"""A memory of the tier `long`: Redis keeps what finds it, the archive keeps what it says, and an agent sees one memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import pytest
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener

from memoryd import MemoryClient
from memoryd.archive.client import open_mongo
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import Settings
from memoryd.embed.cache import EmbeddingCache
from memoryd.engine import Engine
from memoryd.errors import ArchiveUnavailable, NotFound
from memoryd.hot.codec import HALF, to_hot_vector
from memoryd.hot.records import Records
from memoryd.hot.search import Search
from memoryd.hot.tiers import HotTiers
from memoryd.jobs.reports import bytes_of
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.refill import Refill
from memoryd.lifecycle.reindex import reindex
from memoryd.lifecycle.tiering import Tiering
from memoryd.model.memory import Memory, Tier
from memoryd.model.question import Question
from memoryd.model.record import Record
from memoryd.model.results import Stored
from memoryd.model.rules import Rules
from memoryd.model.scope import Scope
from memoryd.recalling import Recalling
from memoryd_sync.reconcile import Difference, Kind, Place, Reconciler, rejournal
from tests.fakes import FakeClock, HashEmbedder
from tests.integration.commands import Commands
from tests.integration.tools import a_hand, caught_up, dead_letters, idle, sees, verified
from tests.waiting import eventually
from tests.world import World

TALK = (
    "Ingrid is a nurse at the Charité hospital.", "Karl drinks matcha in the morning.", "The grandmother got a red scarf.",
    "Ingrid's ferry to Oslo leaves on Friday.", "Nobody paints the fence green.", "The piano was tuned in spring.",
)  # fmt: skip


def tiering(world: World, *, days: float = 8, rules: Rules | None = None) -> Tiering:
    """What keeps the tiers, at a time when nothing was used for so many days."""
    records = records_of(world)
    mover = Mover(records, world.archive, model=world.embedder.model)
    clock = FakeClock(datetime.now(UTC) + timedelta(days=days))
    return Tiering(records, mover, {"*": {"*": rules}} if rules else {}, clock)


async def remember(memory: MemoryClient, texts: Sequence[str] = TALK, **details: Any) -> list[str]:
    """Events of a session; their ids in order."""
    items = [{"content": one, "type": "episodic", "session": "s1", **details} for one in texts]
    return [one.id for one in await memory.store_many(items) if isinstance(one, Stored)]


async def demoted(world: World, memory: MemoryClient, ids: Sequence[str]) -> dict[str, Memory]:
    """The memories as they were, once everything of theirs is in the tier long."""
    await caught_up(world, memory)
    were = {one: await memory.get(one) for one in ids}
    await unused(world)
    done = await tiering(world).sweep()
    assert done is not None
    assert (done.moved, done.lightened) == ({"aged": len(ids)}, len(ids))
    return were


async def reindex_all(world: World) -> None:
    """Everything waits for its vector."""
    await reindex(world.redis, world.settings, world.embedder, archive=world.archive, progress=lambda _: None)


async def refill_all(world: World) -> None:
    """Vectors beside those that are read."""
    await Refill(world.redis, world.settings, world.embedder, archive=world.archive).run()


def lost(memories: Iterable[Memory]) -> list[Difference]:
    """Differences as they would be of memories that the archive lacks."""
    return [Difference(Place(one.id, one.scope, one.memory_type), Kind.ARCHIVE_LACKS_VECTOR) for one in memories]


async def does_not_answer(*_: Any) -> None:
    """An archive that is away."""
    raise ArchiveUnavailable("it is away")


async def unused(world: World) -> None:
    """Nobody has read anything lately."""
    await world.redis.delete(*[world.keys.uses(bucket) for bucket in world.keys.all_buckets()])


class Counted(CommandListener):
    """The names of what a client asks MongoDB to do."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def started(self, event: Any) -> None:
        """One more, unless the driver asks for itself."""
        if event.command_name not in ("hello", "ping", "endSessions"):
            self.commands.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        """Nothing to count."""

    def failed(self, event: Any) -> None:
        """Nothing to count."""


def records_of(world: World) -> Records:
    """Its memories in Redis."""
    return Records(world.redis, world.keys, world.settings.vector_type)


def recalling_of(world: World, archive: Archive) -> Recalling:
    """Recall over its Redis and another look at its archive."""
    search = Search(world.redis, ef_runtime=100)
    cache = EmbeddingCache(world.redis, world.embedder)
    return Recalling(records_of(world), search, cache, clock=SystemClock(), archive=archive)


async def fields_of(world: World, memory_id: str) -> dict[str, bytes]:
    """A memory's record in Redis."""
    redis: Any = world.redis
    return {name.decode(): value for name, value in (await redis.hgetall(await key_of(world, memory_id))).items()}


async def key_of(world: World, memory_id: str) -> bytes:
    """Where that is."""
    [key] = [bytes(one) async for one in world.redis.scan_iter(match=f"aether:memory:*:{memory_id}")]
    return key


def said(memory: Memory) -> tuple[Any, ...]:
    """What a caller has said of it."""
    return (memory.content, memory.metadata, memory.tags, memory.importance, memory.valid_from, memory.follows)


async def test_a_demoted_memory_keeps_what_finds_it_and_is_read_through(world: World, memory: MemoryClient) -> None:
    """By meaning, by words, by id, by its filters and word for word; nothing of its text is in Redis."""
    ids = await remember(memory, metadata={"room": "kitchen"}, tags=["home"])
    were = await demoted(world, memory, ids)

    record = await fields_of(world, ids[0])
    assert not {"content", "metadata", "terms", "entries"} & record.keys()
    assert {"half", "tags", "facets", "seal", "weight", "speaker"} <= record.keys()
    assert not {"embedding", "brief", "related", "content_hash"} & record.keys()
    assert b"Ingrid" not in await world.everything_in_redis()
    assert (await memory.stats()).by_tier == {"long": len(ids)}
    assert (await memory.count(metadata={"room": "kitchen"})).memories == len(ids)

    for memory_id, was in were.items():
        now = await memory.get(memory_id)
        assert (said(now), now.tier, now.version) == (said(was), "long", was.version + 1)
    first = (await memory.recall(TALK[0], metadata={"room": "kitchen"})).hits[0]
    assert (said(first.memory), first.found_by) == (said(were[ids[0]]), ["quote", "words", "meaning"])
    world.embedder.away = True
    found = await memory.recall("Which nurses are in hospitals?", metadata={"room": "kitchen"})
    assert [(hit.memory.id, hit.found_by) for hit in found] == [(ids[0], ["words"])]
    assert (await memory.recall("nurse", tags=["office"])).hits == []
    assert (await memory.recall('"nurse -hospital" $where')).hits != []
    async with world.connect(agent="other") as other:
        assert (await other.recall("nurse")).hits == []
        with pytest.raises(NotFound):
            await other.get(ids[0])


@pytest.mark.parametrize("name", ["hash", "content_hash"])  # as this memoryd writes it, and as an earlier one did
async def test_a_light_memory_is_known_by_its_very_content(world: World, memory: MemoryClient, name: str) -> None:
    """What is said again is that memory, and a question that repeats it finds it, also one of words that say nothing."""
    texts = ["It is.", "Karl drinks matcha in the morning."]
    ids = [(await memory.store(one)).id for one in texts]
    await demoted(world, memory, ids)
    redis: Any = world.redis
    for number, memory_id in enumerate(ids):
        [key] = [one async for one in redis.scan_iter(match=f"aether:memory:*:{memory_id}")]
        known = (await redis.hgetall(key))[b"hash"]
        await redis.hdel(key, "hash")
        await redis.hset(key, name, known)
        [first, *_] = (await memory.recall(texts[number])).hits
        assert (first.memory.id, "quote" in first.found_by) == (memory_id, True)
        assert (await memory.seen(texts[number], exact=True)).ids == [memory_id]
        again = await memory.store(texts[number])
        assert (again.id, again.outcome) == (memory_id, "reinforced")
        assert (await memory.update(memory_id, content=f"{texts[number]} Really.")).id == memory_id


async def test_the_order_of_a_recall_is_the_same_wherever_the_contents_are(world: World, memory: MemoryClient) -> None:
    """Words are scored by one formula over the same terms; only the tier and the version of a memory are others."""
    ids = await remember(memory)
    await caught_up(world, memory)
    queries = ("Where does the nurse work?", "Who got a red scarf?", "ferry on Friday", TALK[5])
    was = [await memory.recall(query) for query in queries]
    await demoted(world, memory, ids)
    now = [await memory.recall(query) for query in queries]
    assert [[hit.memory.id for hit in one] for one in now] == [[hit.memory.id for hit in one] for one in was]
    for before, after in zip(was, now, strict=True):
        for one, other in zip(before, after, strict=True):
            # Of a light memory without any of the words nobody knows how long it is, so the mean length is a little another.
            assert other.score == pytest.approx(one.score, abs=0.15)


async def test_however_many_memories_are_light_the_archive_is_asked_once_for_words_and_once_for_contents(
    world: World, memory: MemoryClient
) -> None:
    """And not at all while nothing is."""
    ids = await remember(memory, [f"The lighthouse number {number} is painted." for number in range(130)])
    counted = Counted()
    client: Any = AsyncMongoClient(world.settings.mongo_url, event_listeners=[counted])
    try:
        recalling = recalling_of(world, Archive(client[world.settings.mongo_database]))
        await caught_up(world, memory)
        question = Question(query="Which lighthouses are painted?", limit=120)
        assert len(await recalling.recall(memory.scope, question)) == 120
        assert counted.commands == []
        await demoted(world, memory, ids)
        for limit in (1, 120):
            counted.commands.clear()
            assert len(await recalling.recall(memory.scope, msgspec.structs.replace(question, limit=limit))) == limit
            assert counted.commands == ["aggregate", "find"]
    finally:
        await client.close()


async def test_where_the_archive_is_away_a_recall_says_what_is_missing(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has its content in Redis is found as ever; a read by id says why it cannot answer."""
    ids = await remember(memory)
    await demoted(world, memory, ids)
    near = await remember(memory, ["The nurse has a bicycle."])
    await caught_up(world, memory)
    monkeypatch.setattr("memoryd.archive.store.ARCHIVE_ANSWER_SECONDS", 2.0)
    nobody = open_mongo("mongodb://127.0.0.1:1/?directConnection=true")
    try:
        away = Archive(nobody[world.settings.mongo_database])
        found = await recalling_of(world, away).recall(memory.scope, Question(query="Where is the nurse?"))
        assert [hit.memory.id for hit in found] == near
        assert found.missing == ["long"]
        assert "archive" in found.degraded
        engine = Engine(records_of(world), away, None, clock=SystemClock())
        with pytest.raises(ArchiveUnavailable):
            await engine.get(memory.scope, ids[0])
    finally:
        await nobody.close()


async def test_what_is_used_comes_back_and_a_read_is_no_change(world: World, memory: MemoryClient) -> None:
    """Counted in Redis, told to the archive in batches, without a version; then the policy has its way."""
    ids = await remember(memory)
    were = await demoted(world, memory, ids)
    light = await memory.get(ids[1])
    assert await memory.get(ids[1]) == light
    found = (await memory.recall(TALK[0], limit=1)).hits[0].memory.id

    done = await tiering(world, days=0.01).sweep()
    assert done is not None
    assert (done.used, done.moved) == (2, {"used": 2})
    again = await tiering(world, days=0.01).sweep()
    assert again is not None
    assert (again.used, again.moved) == (0, {})
    await caught_up(world, memory)
    for memory_id, times in ((ids[1], 2), (found, 1)):
        now, record = await memory.get(memory_id), await fields_of(world, memory_id)
        assert (said(now), now.tier, now.version) == (said(were[memory_id]), "short", were[memory_id].version + 2)
        assert (now.recorded_at, now.access_count) == (were[memory_id].recorded_at, were[memory_id].access_count + times)
        assert {"content", "metadata", "terms"} <= record.keys()
        assert not {"seal", "weight", "half"} & record.keys()
        document = await world.memories.find_one({"_id": memory_id})
        assert document is not None
        assert record["embedding"] == document["embedding"][2:], "whole, as it was"
        assert (document["access_count"], document["tier"], "terms" in document) == (now.access_count, "short", False)
    assert (await memory.stats()).by_tier == {"short": 2, "long": len(ids) - 2}
    assert await tiering(world, days=0.01).plan() == {}


async def test_whatever_is_done_to_a_light_memory_is_done_to_the_whole_one(world: World, memory: MemoryClient) -> None:
    """Changed, judged, said again, compressed, forgotten: the archive never gets a version without a content."""
    ids = await remember(memory)
    [known] = [(await memory.store("The fence has forty boards.", type="fact", metadata={"by": "Karl"})).id]
    were = await demoted(world, memory, [*ids, known])

    changed = await memory.update(ids[0], importance=0.9, if_version=were[ids[0]].version + 1)
    assert (await memory.get(ids[0])).content == were[ids[0]].content
    assert (changed.version, (await memory.get(ids[0])).tier) == (were[ids[0]].version + 2, "short")
    found = await memory.recall(TALK[1], limit=1)
    await memory.feedback(found.recall_id, useful=[found.hits[0].memory.id])
    again = await memory.store("The fence has forty boards.", type="fact")
    assert (again.outcome, again.id) == ("reinforced", known)
    assert (await memory.get(known)).metadata == {"by": "Karl"}
    half = (await fields_of(world, ids[2]))["half"]
    assert half in await world.everything_in_redis()
    receipt = await memory.forget(ids[2], durability="archived")
    assert (await verified(memory, receipt.receipt)).ok
    assert half not in await world.everything_in_redis()
    selected = await memory.plan_forget(words="piano spring")
    assert [one.id for one in selected.memories] == [ids[5]]

    done = await memory.compress(session="s1")
    assert done.memories == len(ids) - 1
    await caught_up(world, memory)
    for memory_id in (*ids[:2], *ids[3:], known):
        assert said(await memory.get(memory_id))[0] == were[memory_id].content
    assert not await dead_letters(world)
    assert await world.versions.count_documents({"content": "", "content_zstd": {"$exists": False}}) == 0
    assert await world.versions.count_documents({"terms": {"$exists": True}}) == 0


async def test_what_is_no_memory_keeps_no_other_from_its_tier(world: World, memory: MemoryClient) -> None:
    """Somebody has put something else under one record's key, and nonsense into another."""
    strange, wrong, *ids = await remember(memory)
    await caught_up(world, memory)
    await world.redis.delete(key := world.keys.memory("episodic", memory.scope, strange))
    await world.redis.set(key, "not a hash")
    await world.redis.hset(world.keys.memory("episodic", memory.scope, wrong), "tier", "attic")
    await unused(world)
    done = await tiering(world).sweep()
    assert done is not None
    assert done.moved == {"aged": len(ids)}
    await world.redis.delete(key, world.keys.memory("episodic", memory.scope, wrong))


async def test_verify_repair_and_rebuild_know_what_is_light(world: World, memory: MemoryClient) -> None:
    """No difference is reported, a rebuild brings no content back, and a Redis that lost everything gets light records."""
    ids = await remember(memory)
    were = await demoted(world, memory, ids)
    await caught_up(world, memory)
    async with a_hand(world) as hand:
        reconciler = Reconciler(records_of(world), world.archive, hand.projector)
        comparison = await reconciler.compare()
        assert (comparison.differences, comparison.hot, comparison.away) == ([], len(ids), 0)
        assert all(here == there for here, there in comparison.digests.values())
        documents = [one async for one in world.memories.find({})]
        await hand.projector.apply_all(documents)
        assert "content" not in await fields_of(world, ids[0])
        before = await fields_of(world, ids[3])
        assert await rejournal(records_of(world), [one.place for one in lost(were.values())]) == len(ids)  # the vectors only
        await caught_up(world, memory)

        for one in were.values():
            await world.redis.delete(world.keys.memory("episodic", one.scope, one.id))
        comparison = await reconciler.compare()
        await reconciler.mend(comparison.differences)
        after = await fields_of(world, ids[3])
        assert {name: value for name, value in after.items() if name not in ("entries", "said_at", "came_at")} == {
            name: value for name, value in before.items() if name not in ("entries", "said_at", "came_at", "pending", "used")
        }
        assert (await reconciler.compare()).differences == []
    assert said(await memory.get(ids[3])) == said(were[ids[3]])
    assert not await dead_letters(world)


async def test_a_person_edits_a_light_memory_in_mongodb(world: World, memory: MemoryClient) -> None:
    """The edit is a version; it is found by its new words, and its record becomes light again."""
    ids = await remember(memory)
    were = await demoted(world, memory, ids)
    await world.memories.update_one({"_id": ids[1]}, {"$set": {"content": "Karl drinks cocoa at night."}})
    await eventually(sees(memory, ids[1], were[ids[1]].version + 2), what="the edit is a version")
    await caught_up(world, memory)
    assert "content" in await fields_of(world, ids[1])
    await unused(world)
    done = await tiering(world, days=0).sweep()
    assert done is not None
    assert done.lightened == 3  # and the two that follow it have other vectors by now
    assert "content" not in await fields_of(world, ids[1])
    world.embedder.away = True
    assert [hit.memory.content for hit in await memory.recall("cocoa")] == ["Karl drinks cocoa at night."]
    assert (await memory.recall("matcha")).hits == []


@pytest.mark.parametrize("archive_answers", [True, False])
async def test_a_light_event_whose_forerunner_is_forgotten_gets_a_vector_without_its_trace(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch, archive_answers: bool
) -> None:
    """The old vector goes from both stores at once. Who embeds reads the content in the archive; where that does not answer, the
    next sweep brings the content back to be embedded, and the one after that lets it go."""
    world.embedder.reads_context = True
    ids = await remember(memory, TALK[:3])
    await demoted(world, memory, ids)
    had = (await fields_of(world, ids[1]))["half"]

    async def anew() -> bool:
        document: Any = await world.memories.find_one({"_id": ids[1]})
        return document["follows"] == [] and ("embedding" in document) == archive_answers

    with monkeypatch.context() as patch:
        if not archive_answers:
            patch.setattr(Archive, "contents", does_not_answer)
        await memory.forget(ids[0])
        await eventually(anew, what="the old vector is gone from the archive")
        await eventually(lambda: idle(memory), what="the embedder has passed it")
    if not archive_answers:
        record = await fields_of(world, ids[1])
        assert (record["pending"], {"embedding", "half", "content"} & record.keys()) == (b"1", set())
        done = await tiering(world, days=0).sweep()
        assert done is not None
        assert done.brought == 2
        await caught_up(world, memory)
        assert "content" in await fields_of(world, ids[1])
    await caught_up(world, memory)
    record = await fields_of(world, ids[1])
    document: Any = await world.memories.find_one({"_id": ids[1]})
    assert (record["pending"], record["embedding"]) == (b"0", document["embedding"][2:])
    await tiering(world, days=0).sweep()
    record = await fields_of(world, ids[1])
    assert not {"embedding", "content"} & record.keys()
    assert had != record["half"] == to_hot_vector(document["embedding"][2:], HALF)
    assert not await dead_letters(world)


async def changed_to_another(world: World, memory: MemoryClient, way: Any, *, start: Sequence[str]) -> None:
    """The model is another by then, and everything has its vectors."""
    await world.stop("daemon")
    world.embedder = HashEmbedder(dims=world.embedder.dims, model="another")
    await way(world)
    await world.start(*start)
    await caught_up(world, memory)


@pytest.mark.parametrize("way", [reindex_all, refill_all])
async def test_another_model_reads_what_is_only_in_the_archive(world: World, memory: MemoryClient, way: Any) -> None:
    """Both ways to change the model give light memories vectors of their words."""
    ids = await remember(memory)
    await demoted(world, memory, ids)
    await changed_to_another(world, memory, way, start=("daemon",))
    assert {one.embedding_model for one in [await memory.get(memory_id) for memory_id in ids]} == {"another"}
    assert (await memory.recall(TALK[4], limit=1)).hits[0].why["meaning"].value == pytest.approx(1, abs=1e-4)
    await unused(world)
    await tiering(world, days=0).sweep()
    assert b"Ingrid" not in await world.everything_in_redis()


async def test_a_light_memory_is_shared_and_taken_back(world: World, memory: MemoryClient) -> None:
    """The other agent finds it by its words while it is light; what is shared anew is in use, and whole."""
    ids = [(await memory.store(one)).id for one in TALK[:2]]
    await memory.share(ids[0], "other")
    were = await demoted(world, memory, ids)
    world.embedder.away = True
    async with world.connect(agent="other") as other:
        assert [hit.memory.id for hit in await other.recall("nurse or matcha")] == [ids[0]]
        assert said(await other.get(ids[0])) == said(were[ids[0]])
        await memory.unshare(ids[0], "other")
        assert (await other.recall("nurse")).hits == []
        assert (await memory.get(ids[0])).tier == "short"
        await memory.share(ids[1], "other")
        assert [hit.memory.content for hit in await other.recall("matcha")] == [TALK[1]]
    assert not await dead_letters(world)


async def test_the_command_says_what_would_move_and_why_and_does_it(world: World, memory: MemoryClient) -> None:
    """A plan is what a run then does; afterwards there is nothing to plan."""
    ids = await remember(memory, TALK[:2])
    pinned = (await memory.store("The safe's number is secret.", tags=["pinned"])).id
    await caught_up(world, memory)
    memoryd = Commands(world.settings)
    memoryd.environment["MEMORYD_TIERS"] = '{"acme": {"*": {"short_seconds": 0.001, "content_seconds": 0.001}}}'
    planned = (await memoryd("tiers", "plan", "--explain", "--json")).json
    assert planned["moves"] == [{"tenant": "acme", "project": "support", "to": "long", "reason": "aged", "memories": 2}]
    assert {one["id"] for one in planned["listed"]} == set(ids)
    why = (await memoryd("tiers", "why", ids[0])).fields
    assert ("its content was not used" in why["why"], why["light"]) == (True, "False")
    done = (await memoryd("tiers", "run", "--json")).json
    assert (done["memories"], done["moved"], done["lightened"]) == (3, {"aged": 2}, 2)
    assert (await memoryd("tiers", "plan", "--json")).json == {"moves": []}
    assert await tiering(world).explain(Scope("acme", "support"), "mem_" + "0" * 32) is None
    held = await tiering(world).explain(Scope("acme", "support"), pinned)
    assert held is not None
    assert (held.held, held.move_to, held.light) == ("pinned", "", False)


async def test_nothing_moves_before_the_archive_has_everything_of_it(world: World, memory: MemoryClient) -> None:
    """Without sync a sweep leaves all as it is; a move that was begun waits for the archive with its content in Redis."""
    ids = await remember(memory, TALK[:2])
    await caught_up(world, memory)
    await unused(world)
    await world.stop("sync")
    late = (await memory.store("Said while sync was down.")).id
    await eventually(lambda: has_vector(world, late), what="it has its vector")
    keeper = tiering(world)
    begun = await HotTiers(records_of(world)).move(
        [await memory.get(one) for one in (*ids, late)], Tier.LONG, with_vector=True, traceparent=""
    )
    assert [one.outcome for one in begun] == ["moved", "moved", "waiting"]
    vector = bytes(4 * world.embedder.dims)
    there = [Record(msgspec.structs.replace(await memory.get(one), embedding_model=world.embedder.model), vector) for one in ids]
    assert await HotTiers(records_of(world)).lighten(there) == ["waiting"] * 2
    assert all(["content" in await fields_of(world, one) for one in (*ids, late)])
    await world.start("sync")
    await caught_up(world, memory)
    await unused(world)
    done = await keeper.sweep()
    assert done is not None
    assert (done.moved, done.lightened) == ({"aged": 1}, 3)
    assert not any(["content" in await fields_of(world, one) for one in (*ids, late)])


async def on_the_way(world: World, memory: MemoryClient, ids: Sequence[str]) -> dict[str, bytes]:
    """The vectors of the memories as they were; the memories are given the tier long, and wait for the archive to have that."""
    await caught_up(world, memory)
    vectors = {one: (await fields_of(world, one))["embedding"] for one in ids}
    await world.stop("sync")
    there = [await memory.get(one) for one in ids]
    begun = await HotTiers(records_of(world)).move(there, Tier.LONG, with_vector=True, traceparent="")
    assert {one.outcome for one in begun} == {"moved"}
    return vectors


async def test_on_its_way_a_memory_is_found_by_half_of_its_vector_and_whatever_keeps_it_gives_the_whole_one_back(
    world: World, memory: MemoryClient
) -> None:
    """Changed, shared, called back, forgotten: no search reads two vectors of it, and the archive's is never the rounded one."""
    ids = await remember(memory)
    vectors = await on_the_way(world, memory, ids)
    for memory_id, vector in vectors.items():
        record = await fields_of(world, memory_id)
        assert (record["parked"], record["half"], "embedding" in record) == (vector, to_hot_vector(vector, HALF), False)
        found = await memory.recall((await memory.get(memory_id)).content, limit=1)
        assert [one.memory.id for one in found.hits] == [memory_id]
        assert found.hits[0].why["meaning"].value == pytest.approx(1, abs=1e-3)

    await memory.update(ids[0], importance=0.9)
    await memory.share(ids[1], "other")
    await Mover(records_of(world), world.archive, model=world.embedder.model).to_short([await memory.get(ids[2])])
    for memory_id in ids[:3]:
        record = await fields_of(world, memory_id)
        assert (record["embedding"], record["tier"]) == (vectors[memory_id], b"short")
        assert not {"half", "parked"} & record.keys()
    await world.start("sync")
    await memory.forget(ids[3], durability="archived")
    assert vectors[ids[3]] not in await world.everything_in_redis()
    await caught_up(world, memory)
    for memory_id in (*ids[:3], *ids[4:]):
        document = await world.memories.find_one({"_id": memory_id})
        assert document is not None
        assert document["embedding"][2:] == vectors[memory_id]
    assert not await dead_letters(world)


@pytest.mark.parametrize("way", [reindex_all, refill_all])
async def test_another_model_reads_what_is_on_its_way(world: World, memory: MemoryClient, way: Any) -> None:
    """Neither the vector that was set aside nor half of it is left."""
    ids = await remember(memory)
    await on_the_way(world, memory, ids)
    await changed_to_another(world, memory, way, start=("daemon", "sync",))
    for memory_id in ids:
        record = await fields_of(world, memory_id)
        assert not {"half", "parked", "half2", "parked2"} & record.keys()
        assert {b"another"} == {record[one] for one in ("embedding_model", "embedding_model2") if one in record}
    found = await memory.recall(TALK[4], limit=1)
    assert found.hits[0].memory.id == ids[4]
    assert found.hits[0].why["meaning"].value == pytest.approx(1, abs=1e-4)


async def has_vector(world: World, memory_id: str) -> bool:
    """Whether it waits for it no more."""
    return (await fields_of(world, memory_id)).get("pending") == b"0"


async def test_of_an_agents_sessions_those_unused_for_longest_leave_redis_and_come_back(world: World, memory: MemoryClient) -> None:
    """Not before the archive has them whole; and who uses one again has it for its whole life."""
    names = [f"s{number}" for number in range(5)]
    await world.stop("sync")
    for name in names:
        await memory.working(name).append({"role": "user", "content": f"Said in {name}."})
    async with world.connect(agent="other") as other:
        await other.working("s9").append({"role": "user", "content": "Said by another."})
    keeper = tiering(world, rules=Rules(working_of_agent=3))
    redis: Any = world.redis

    async def lives(*of: str) -> dict[str, int]:
        keys = [key for name in of async for key in redis.scan_iter(match=f"aether:memory:working:*:{name}")]
        return {name: int(await redis.pttl(key)) for name, key in zip(of, keys, strict=True)}

    done = await keeper.sweep()
    assert done is not None
    assert (done.rested, min((await lives(*names, "s9")).values()) > 60_000) == (0, True)
    await world.start("sync")
    await caught_up(world, memory)
    done = await keeper.sweep()
    assert done is not None
    assert [name for name, left in (await lives(*names, "s9")).items() if left <= 60_000] == names[:2]
    assert done.rested == 2

    [first] = [key async for key in redis.scan_iter(match=f"aether:memory:working:*:{names[0]}")]
    await redis.delete(first)  # its minute is over
    assert (await memory.working(names[0]).open()).source == "archive"
    for name in names[:2]:
        assert [one.content for one in (await memory.working(name).window()).messages] == [f"Said in {name}."]
    assert min((await lives(*names[:2])).values()) > 60_000


async def test_a_jobs_report_says_what_the_memories_of_each_tier_take(world: World, memory: MemoryClient) -> None:
    """Exactly, of as few as are all measured."""
    ids = await remember(memory)
    fact = (await memory.store("The fence has forty boards.", type="fact")).id
    await caught_up(world, memory)
    there = [await memory.get(one) for one in ids]
    mover = Mover(records_of(world), world.archive, model=world.embedder.model)
    await mover.to_long(there[:2])
    assert await mover.archive(there[2:4]) == 2

    redis: Any = world.redis

    async def bytes_in_redis(ids: Sequence[str]) -> int:
        keys = [await key_of(world, one) for one in ids]
        return sum([int(await redis.memory_usage(key)) for key in keys])

    packed = [one async for one in world.memories.find({"tier": "archive"})]
    found = await bytes_of(world.redis, world.archive)
    assert {name: found[name] for name in ("short", "long", "archive")} == {
        "short": await bytes_in_redis([*ids[4:], fact]), "long": await bytes_in_redis(ids[:2]),
        "archive": sum(len(bson.encode(one)) for one in packed),
    }  # fmt: skip


async def test_a_daemon_keeps_the_tiers_by_itself(settings: Settings) -> None:
    """By the rules of its configuration, as often as it says; what is pinned stays."""
    rules = {"acme": {"support": Rules(short_seconds=0.001, content_seconds=0.001)}}
    quick = settings.model_copy(update={"tier_sweep_seconds": 0.2, "tiers": rules})
    async with World(quick) as world, world.connect() as memory, world.connect(project="other") as other:
        await world.start("daemon", "sync")
        ids = await remember(memory, TALK[:2])
        pinned = (await memory.store("The safe's number is secret.", tags=["pinned"])).id
        elsewhere = (await other.store("Another project has its own rules.")).id

        async def light() -> bool:
            return not any(["content" in await fields_of(world, one) for one in ids])

        await eventually(light, what="they are light")
        assert "content" in await fields_of(world, pinned)
        assert "content" in await fields_of(world, elsewhere)
