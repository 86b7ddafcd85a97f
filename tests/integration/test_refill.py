"""Another embedding model while agents go on: they read the old vectors until the new ones are whole, then the new ones."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from redis.exceptions import ResponseError

import memoryd.lifecycle.refill
from memoryd import MemoryClient
from memoryd.config import EmbedderKind, Settings
from memoryd.embed.open import open_embedder
from memoryd.errors import SchemaMismatch
from memoryd.keys import SCHEMA
from memoryd.lifecycle.refill import Refill, Refilled, abandon
from memoryd_schemas.redis_state import load_state
from tests.integration.commands import Commands
from tests.integration.tools import archived, hot, writers
from tests.loopback import Answer, Call, in_json, serving
from tests.waiting import eventually
from tests.world import World

DIMS = {"new-model": 48, "third-model": 24}


@dataclass
class Endpoint:
    """An OpenAI-compatible endpoint whose vectors depend on model and text alone; `asked` are the texts of each model."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    refused: str = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """It runs on loopback."""
    state = Endpoint()

    def answer(call: Call) -> Answer:
        texts, model = call.body["input"], call.body["model"]
        state.asked += [(model, text) for text in texts]
        if state.refused and any(state.refused in text for text in texts):
            return in_json({"error": {"message": "no"}}, 400)
        return in_json(
            {"data": [{"index": at, "embedding": _vector(f"{model}\0{text}", DIMS[model])} for at, text in enumerate(texts)]}
        )

    with serving(answer) as url:
        state.url = f"{url}/v1"
        yield state


def _vector(text: str, dims: int) -> list[float]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    row = np.random.default_rng(seed).standard_normal(dims)
    return [float(one) for one in row / np.linalg.norm(row)]


@pytest.fixture(autouse=True)
def promptly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons of this process look ten times a second."""
    monkeypatch.setattr(memoryd.lifecycle.refill, "NOTICE_SECONDS", 0.5)
    monkeypatch.setattr("memoryd.recalling.FOLLOW_SECONDS_MAX", 60.0)  # a machine may stand still while the model is opened


def changed(world: World, endpoint: Endpoint, model: str = "new-model") -> Settings:
    """The settings of whoever changes the model."""
    about = {"embedder": EmbedderKind.HTTP, "model": model, "embed_url": endpoint.url}
    return world.settings.model_copy(update=about)


async def refilled(world: World, endpoint: Endpoint, model: str = "new-model", **details: Any) -> Refilled:
    """A whole change."""
    settings = changed(world, endpoint, model)
    embedder = await open_embedder(settings)
    assert embedder is not None
    try:
        return await Refill(world.redis, settings, embedder, **details).run()
    finally:
        await embedder.close()


async def slots(world: World) -> dict[str, dict[str, tuple[str, int]]]:
    """Model and length of each vector that each record has, by its field."""
    redis: Any = world.redis
    found: dict[str, dict[str, tuple[str, int]]] = {}
    async for key in redis.scan_iter(match="aether:memory:*", count=1000):
        row = await redis.hgetall(key)
        found[key.decode().rpartition(":")[2]] = {
            f"embedding{slot}": (row[f"embedding_model{slot}".encode()].decode(), len(row[f"embedding{slot}".encode()]))
            for slot in ("", "2") if f"embedding{slot}".encode() in row
        }  # fmt: skip
    return found


@asynccontextmanager
async def readers(world: World, ids: dict[str, str]) -> AsyncIterator[list[str]]:
    """A client that asks for what is there, again and again: each memory is found by its own text, and by its meaning. What
    was not so is in the list."""
    wrong: list[str] = []
    enough = asyncio.Event()

    async def read() -> None:
        async with world.connect() as memory:
            while not enough.is_set():
                for text, memory_id in ids.items():
                    found = await memory.recall(text, limit=3, profile="facts")
                    hit = found.hits[0]
                    meaning = hit.why.get("meaning")
                    if hit.memory.id != memory_id or meaning is None or meaning.value < 0.999 or found.degraded:
                        wrong.append(f"{text}: {found.degraded} {meaning}")
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        try:
            yield wrong
        finally:
            enough.set()


async def test_the_model_is_changed_while_agents_write_and_read(
    world: World, memory: MemoryClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed half-way and run again; nobody misses anything, and in the end every vector is the new model's, in both stores."""
    texts = {f"Ada tells of harbour {number}.": "" for number in range(150)}
    kept = await memory.store_many([{"content": one, "type": "fact"} for one in texts], wait="searchable")
    some = dict(list(zip(texts, (one.id for one in kept if not isinstance(one, Exception)), strict=True))[:5])

    async with readers(world, some) as wrong, writers(world, clients=2) as written:
        running = asyncio.create_task(refilled(world, endpoint, rate=10))
        filled: Any = lambda count: _filled(world, "new-model", count)  # noqa: E731
        await eventually(lambda: filled(60), what="a part is filled")
        state = await load_state(world.redis, SCHEMA)
        assert state is not None
        assert (state.vectors.model, state.filling.model) == ("hash-embedder", "new-model")  # type: ignore[union-attr]
        running.cancel()
        await asyncio.wait([running])
        had = {key for key, one in (await slots(world)).items() if "embedding2" in one}
        told = {one.memory.content for key, one in (await hot(world)).items() if key in had}
        await memory.update(kept[0].id, importance=0.9)  # type: ignore[union-attr]  # its vectors stay
        forgotten = kept[149].id  # type: ignore[union-attr]
        await memory.forget(forgotten)
        del endpoint.asked[:]

        done = await refilled(world, endpoint)

        # What had its vector is not embedded again; the readers' questions are, by the daemon, once it has changed.
        assert not {text for model, text in endpoint.asked if model == "new-model"} & told - set(some)
        assert done.filled >= 50
    await world.drained(memory)
    assert wrong == []
    assert written.acknowledged
    ids = {*written.acknowledged.values(), *(one.id for one in kept if not isinstance(one, Exception))} - {forgotten}

    async def everywhere() -> bool:
        models = {one.memory.embedding_model for one in (await archived(world)).values()}
        return models == {"new-model"} and (await archived(world)).keys() == ids

    await eventually(everywhere, what="the archive has the new vectors")
    assert (await slots(world)).keys() == ids
    assert {json.dumps(one) for one in (await slots(world)).values()} == {json.dumps({"embedding2": ["new-model", 192]})}
    assert {key: one.vector for key, one in (await hot(world)).items()} == {
        key: one.vector for key, one in (await archived(world)).items()
    }
    listed = {one.decode() for one in await world.redis.execute_command("FT._LIST")}  # type: ignore[no-untyped-call]
    assert {one for one in listed if one.endswith((":1", ":2"))} == {"aether:index:semantic:2", "aether:index:episodic:2"}

    params = ["PARAMS", 2, "v", np.ones(48, dtype="<f4").tobytes(), "DIALECT", 2]
    kept_questions: Any = await world.redis.execute_command(  # type: ignore[no-untyped-call]
        "FT.SEARCH", "aether:index:question", "*=>[KNN 1 @embedding $v]", *params
    )
    assert kept_questions[b"total_results"] == 0  # it takes the new model's vectors

    # No query can mix models: one of the old dimensions is refused, one of the old model's name finds nothing.
    for dims, model in ((32, "hash-embedder"), (48, "hash-embedder"), (48, "new-model")):
        query = "(@embedding_model:{$model})=>[KNN 3 @embedding $v AS d]"
        params = ["PARAMS", 4, "v", np.ones(dims, dtype="<f4").tobytes(), "model", model, "DIALECT", 2]
        try:
            answer: Any = await world.redis.execute_command("FT.SEARCH", "aether:index:semantic", query, *params)  # type: ignore[no-untyped-call]
            assert (answer[b"total_results"] > 0) == (model == "new-model")
        except ResponseError as error:
            assert (dims, "expected size" in str(error)) == (32, True)  # noqa: PT017


async def _filled(world: World, model: str, least: int) -> bool:
    return sum((model, DIMS[model] * 4) in one.values() for one in (await slots(world)).values()) >= least


async def test_a_change_of_content_takes_both_vectors(
    world: World, memory: MemoryClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half that is filled must not outlive what it was made of; and what is given up leaves nothing."""
    stored = await memory.store("Ada prefers tea.", type="fact", wait="searchable")
    other = await memory.store("Ada prefers milk.", type="fact", wait="searchable")
    settings = changed(world, endpoint)
    embedder = await open_embedder(settings)
    assert embedder is not None

    async def never(*_: Any, **__: Any) -> bool:
        return False

    refill = Refill(world.redis, settings, embedder)
    with monkeypatch.context() as patch:
        patch.setattr(memoryd.lifecycle.refill, "flip", never)
        endless = asyncio.create_task(refill.run())
        await eventually(lambda: _filled(world, "new-model", 2), what="both are filled")
        endless.cancel()
        await asyncio.wait([endless])
    await embedder.close()
    assert {tuple(one) for one in (await slots(world)).values()} == {("embedding", "embedding2")}
    await memory.update(other.id, content="Ada prefers oat milk.")
    assert "embedding2" not in (await slots(world))[other.id]
    with pytest.raises(SchemaMismatch, match="another model"):
        await refilled(world, endpoint, "third-model")
    assert "new-model" in await abandon(world.redis)
    assert await abandon(world.redis) == ""
    await memory.update(stored.id, content="Ada prefers water.", wait="searchable")
    assert {tuple(one) for one in (await slots(world)).values()} == {("embedding",)}


async def test_what_the_new_model_refuses_is_found_by_its_words(
    world: World, memory: MemoryClient, endpoint: Endpoint
) -> None:
    """One text must not hold up a change for ever. Then the change goes on to a third model, and back to the first slot."""
    endpoint.refused = "walnut"
    one = await memory.store("Ada bakes a walnut cake.", type="fact", wait="searchable")
    many = await memory.store_many([{"content": f"Ben sails {n}.", "type": "fact"} for n in range(9)], wait="searchable")
    done = await refilled(world, endpoint)
    assert (done.filled, len(done.refused)) == (len(many), 1)
    [hit, *_] = await memory.recall("walnut")
    assert hit.memory.id == one.id

    endpoint.refused = ""
    again = await refilled(world, endpoint, "third-model")
    assert (again.filled, again.refused) == (10, [])
    await world.drained(memory)
    assert {json.dumps(found) for found in (await slots(world)).values()} == {json.dumps({"embedding": ["third-model", 96]})}
    found = await memory.recall("Ada bakes a walnut cake.", profile="facts")
    assert (found.hits[0].memory.id, found.degraded) == (one.id, "")
    assert found.hits[0].why["meaning"].value > 0.999
    assert (await memory.stats()).embedder.model == "third-model"  # type: ignore[union-attr]
    assert await refilled(world, endpoint, "third-model") == Refilled()  # it is read already, and settled


async def test_a_daemon_that_cannot_open_the_new_model_goes_on_by_words(
    world: World, memory: MemoryClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so; when it can be opened, it is."""
    monkeypatch.setattr("memoryd.embed.models.OPEN_AGAIN_SECONDS", 0.0)
    stored = await memory.store("Ada prefers tea.", type="fact", wait="searchable")

    async def cannot(*_: Any, **__: Any) -> Any:
        raise OSError("no such file")

    with monkeypatch.context() as patch:
        patch.setattr("memoryd.embed.models.open_embedder", cannot)
        await refilled(world, endpoint)
        found = await memory.recall("What does Ada prefer, tea?")
        assert found.hits[0].memory.id == stored.id
        assert (found.searched, "embedder_failed" in found.degraded) == (["words"], True)

    async def opened() -> bool:
        return not (await memory.recall("tea")).degraded

    await eventually(opened, what="the daemon opens the model")


async def test_the_command_fills_flips_and_says_what_to_set(world: World, memory: MemoryClient, endpoint: Endpoint) -> None:
    """It needs no stop of anything; a daemon with the old configuration is refused the next time, and told."""
    await memory.store_many([{"content": f"Ben sails {n}.", "type": "fact"} for n in range(5)], wait="searchable")
    commands = Commands(world.settings)
    commands.environment |= {"MEMORYD_EMBEDDER": "http", "MEMORYD_EMBED_URL": endpoint.url}
    said = await commands("reindex", "--model", "new-model", "--rate", "0")
    assert said.out.splitlines()[-1] == "Set MEMORYD_MODEL=new-model before a daemon starts again."
    assert (await commands("reindex", "--model", "new-model", "--json")).json == {"filled": 0, "settled": 0, "refused": 0}
    assert (await commands("reindex", "--abandon")).out.strip() == "no model is being filled"
    assert (await memory.recall("Ben sails 3.", profile="facts")).hits[0].why["meaning"].value > 0.999
    await world.stop("daemon")
    with pytest.raises(SchemaMismatch, match="new-model"):
        await world.start("daemon")
