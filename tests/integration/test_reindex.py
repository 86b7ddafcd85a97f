"""Another embedding model: nothing mixes its vectors with the old ones, and `memoryd reindex` brings it everywhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from bson.binary import Binary, BinaryVectorDtype

import memoryd_sync.follower
from memoryd import MemoryClient
from memoryd.errors import SchemaMismatch
from memoryd.hot.codec import to_record as from_hash
from memoryd.lifecycle.reindex import reindex
from tests.fakes import HashEmbedder
from tests.integration.commands import Commands
from tests.integration.tools import archived, hot
from tests.waiting import eventually
from tests.world import World

TEXTS = ("Ada prefers tea.", "Ada paints lighthouses.", "The build failed.")
OTHER = HashEmbedder(48, "another-model")


@pytest.fixture
async def kept(world: World, memory: MemoryClient) -> list[str]:
    """The ids of three memories that have the first model's vectors in both stores; one was changed since."""
    ids = [(await memory.store(text, type="fact")).id for text in TEXTS]
    await memory.update(ids[0], importance=0.9)
    await world.drained(memory)
    return ids


async def change_model(world: World, embedder: HashEmbedder) -> int:
    """As a person does it: stop the daemon and sync, reindex, configure the new model."""
    await world.stop("daemon")
    await world.stop("sync")
    world.embedder = embedder
    looked_at: list[int] = []
    count = await reindex(world.redis, world.settings, embedder, progress=looked_at.append)
    assert count <= sum(looked_at)
    return count


async def models(world: World) -> set[tuple[str, str, int]]:
    """Where a vector is, of which model it says it is, and its length in float32 bytes."""
    found = set()
    for place, records in (("redis", await hot(world)), ("mongodb", await archived(world))):
        found |= {(place, one.memory.embedding_model, len(one.vector or b"")) for one in records.values()}
    return found


async def test_a_daemon_refuses_the_vectors_of_another_model(world: World, kept: list[str]) -> None:
    """It names the command that computes them anew; nothing was changed."""
    await world.stop("daemon")
    for embedder in (OTHER, HashEmbedder(32, "same-length"), HashEmbedder(64)):
        first, world.embedder = world.embedder, embedder
        with pytest.raises(SchemaMismatch, match="32 dimensions") as refused:
            await world.start("daemon")
        assert "memoryd reindex" in str(refused.value.hint)
        world.embedder = first
    await world.start("daemon")
    assert await models(world) == {(place, "hash-embedder", 128) for place in ("redis", "mongodb")}


async def test_after_a_reindex_every_vector_is_the_new_models(
    world: World, memory: MemoryClient, kept: list[str]
) -> None:
    """In Redis and in MongoDB; until then they are found by their words, and nothing else of them changes."""
    before = {key: one.memory for key, one in (await hot(world)).items()}
    assert await change_model(world, HashEmbedder(48, "another-model")) == len(kept)
    world.embedder.away = True
    await world.start("daemon", "sync")
    [waiting] = await memory.recall("lighthouses")
    assert (waiting.memory.id, (await memory.stats()).pending) == (kept[1], len(kept))

    world.embedder.away = False
    await world.drained(memory)

    async def everywhere() -> bool:
        return await models(world) == {(place, "another-model", 192) for place in ("redis", "mongodb")}

    await eventually(everywhere, what="all vectors are the new model's")
    [hit, *_] = await memory.recall("The build failed.")
    assert (hit.memory.id, hit.why["meaning"].value > 0) == (kept[2], True)
    after = {key: one.memory for key, one in (await hot(world)).items()}
    assert {key: one.version for key, one in after.items()} == {key: one.version for key, one in before.items()}
    assert {key: one.content for key, one in after.items()} == {key: one.content for key, one in before.items()}
    assert (await hot(world)).keys() == (await archived(world)).keys() == set(kept)


async def test_a_second_reindex_has_nothing_to_do(world: World, memory: MemoryClient, kept: list[str]) -> None:
    """What has the new model's vector is left alone, so that one that was cut off can be repeated."""
    assert await change_model(world, HashEmbedder(48, "another-model")) == len(kept)
    assert await reindex(world.redis, world.settings, world.embedder, progress=lambda _: None) == len(
        kept
    )  # still pending
    await world.start("daemon", "sync")
    await world.drained(memory)
    assert await change_model(world, world.embedder) == 0


async def test_what_an_earlier_memoryd_has_stored_is_found_by_its_words_again(world: World, kept: list[str]) -> None:
    """Terms are made when a memory is written; one that has none, or others, gets them, its vector stays."""
    redis: Any = world.redis
    for key in [key async for key in redis.scan_iter(match="aether:memory:*")]:
        await redis.hdel(key, "terms", "speaker", "brief")
    assert await change_model(world, world.embedder) == 0
    world.embedder.away = True
    await world.start("daemon")
    async with world.connect() as memory:
        assert (await memory.recall("lighthouse")).hits[0].memory.id == kept[1]
    await world.start("sync")


async def test_the_same_model_in_half_the_memory(world: World, memory: MemoryClient, kept: list[str]) -> None:
    """float16 is another form of the same vectors: Redis holds half the bytes, MongoDB what it held."""
    await world.stop("daemon")
    await world.stop("sync")
    world.settings = world.settings.model_copy(update={"vector_type": "float16"})
    with pytest.raises(SchemaMismatch, match="float16"):
        await world.start("daemon")
    assert await reindex(world.redis, world.settings, world.embedder, progress=lambda _: None) == len(kept)
    await world.start("daemon", "sync")
    await world.drained(memory)

    redis: Any = world.redis
    hashes = [await redis.hgetall(key) async for key in redis.scan_iter(match="aether:memory:*")]
    assert {len(one[b"embedding"]) for one in hashes} == {64}
    assert {from_hash(one, "float16").memory.embedding_model for one in hashes} == {"hash-embedder"}
    assert {len(one.vector or b"") for one in (await archived(world)).values()} == {128}
    [hit, *_] = await memory.recall("Ada paints lighthouses.")
    assert (hit.memory.id, hit.why["meaning"].value > 0) == (kept[1], True)


async def test_a_touch_does_not_bring_the_old_vector_back(
    world: World, memory: MemoryClient, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory that waits for its new vector is reinforced: its archived form, with the old vector, comes back.

    Somebody forgot to stop sync, whose follower learns of the new model when it next renews its lease.
    """
    monkeypatch.setattr(memoryd_sync.follower, "RENEW_SECONDS", 0)
    await followed(world, kept[2], "The build is red.")  # and so is all that was written before it
    await world.stop("daemon")
    world.embedder = HashEmbedder(48, "another-model")
    await reindex(world.redis, world.settings, world.embedder, progress=lambda _: None)
    await followed(world, kept[2], "The build is yellow.")  # after this, the lease is renewed
    world.embedder.away = True
    await world.start("daemon")
    assert (await memory.store(TEXTS[1], type="fact")).outcome == "reinforced"

    async def touched() -> bool:
        return (await archived(world))[kept[1]].memory.access_count == 1

    await eventually(touched, what="the archive knows of the touch")
    await followed(world, kept[2], "The build is green.")
    assert (await hot(world))[kept[1]].memory.embedding_model == ""
    world.embedder.away = False
    await world.drained(memory)
    assert {one.memory.embedding_model for one in (await hot(world)).values()} == {"another-model"}


async def followed(world: World, memory_id: str, content: str) -> None:
    """Edits the memory in MongoDB and waits until Redis has it: the stream is in order."""
    await world.memories.update_one({"_id": memory_id}, {"$set": {"content": content}})

    async def arrived() -> bool:
        return (await hot(world))[memory_id].memory.content == content

    await eventually(arrived, what="the edit is followed")


@pytest.mark.parametrize("verb", ["update", "store"])
async def test_what_comes_back_from_the_archive_gets_the_new_vector(
    world: World, memory: MemoryClient, kept: list[str], verb: str
) -> None:
    """Redis leaves a record with a vector of another length out of its index altogether, its words included."""
    await change_model(world, HashEmbedder(48, "another-model"))
    await world.start("daemon", "sync")
    await world.drained(memory)
    await world.stop("sync")
    redis: Any = world.redis
    assert await redis.delete(*[key async for key in redis.scan_iter(match=f"aether:memory:*{kept[1]}")]) == 1
    old = {"embedding_model": "hash-embedder", "embedding": await first_vector(TEXTS[1])}
    await world.memories.update_one({"_id": kept[1]}, {"$set": old})

    if verb == "update":
        await memory.update(kept[1], importance=0.1)
    else:
        assert (await memory.store(TEXTS[1], type="fact")).outcome == "reinforced"

    async def embedded() -> bool:
        return (await hot(world))[kept[1]].memory.embedding_model == "another-model"

    await eventually(embedded, what="it has the new model's vector")
    [hit, *_] = await memory.recall(TEXTS[1])
    assert (hit.memory.id, hit.why["meaning"].value > 0, hit.why["words"].value > 0) == (kept[1], True, True)
    await world.start("sync")
    await world.drained(memory)
    assert {model for _, model, _ in await models(world)} == {"another-model"}


async def first_vector(text: str) -> Binary:
    """The first model's vector of this text, as the archive keeps one."""
    [row] = await HashEmbedder().embed([text])
    return Binary.from_vector(row.tolist(), BinaryVectorDtype.FLOAT32)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[str]:
    """An OpenAI-compatible endpoint whose model has two dimensions."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            data = [{"index": at, "embedding": [len(text), 1]} for at, text in enumerate(texts)]
            body = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def memoryd(world: World, endpoint: str) -> Commands:
    """The command, configured for that model."""
    commands = Commands(world.settings)
    commands.environment |= {"MEMORYD_EMBEDDER": "http", "MEMORYD_MODEL": "tiny", "MEMORYD_EMBED_URL": endpoint}
    return commands


async def test_the_command_that_serve_names_is_the_way_out(
    world: World, memory: MemoryClient, memoryd: Commands, kept: list[str]
) -> None:
    """`memoryd serve` refuses and names it, it asks, and then the daemon starts and embeds everything anew."""
    await world.stop("daemon")
    await world.stop("sync")
    refused = await memoryd("serve", exits=1)
    assert "hint: run `memoryd reindex`" in refused.err
    await memoryd("reindex", "--json", stdin="no\n", exits=1)
    assert await models(world) == {(place, "hash-embedder", 128) for place in ("redis", "mongodb")}

    assert (await memoryd("reindex", "--yes", "--json")).json == {"pending": len(kept)}
    again = await memoryd("reindex", stdin="y\n")
    assert again.out.startswith("3 memories wait for their new vector")
    world.embedder = HashEmbedder(2, "tiny")
    await world.start("daemon", "sync")
    await world.drained(memory)

    assert {model for place, model, _ in await models(world) if place == "redis"} == {"tiny"}


async def test_there_is_nothing_to_change_to_without_a_model(memoryd: Commands) -> None:
    """Words only is no model."""
    said = await memoryd("reindex", "--yes", exits=1, environment={"MEMORYD_EMBEDDER": "none"})
    assert "set MEMORYD_EMBEDDER" in said.err
