"""Embedding follows the journal: every memory gets the vector of its words, or says why it has none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import memoryd.embed.follower
from memoryd import MemoryClient
from memoryd.embed.protocol import Vectors
from memoryd.hot.changes import Attached
from memoryd.hot.records import Records
from memoryd.limits import EMBED_TRIES_MAX
from memoryd.model.ids import hash_content
from memoryd.model.results import Stored
from memoryd.model.scope import Scope
from tests.fakes import HashEmbedder
from tests.integration.tools import caught_up, dead_letters, hot, idle, one_story
from tests.waiting import eventually
from tests.world import World


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is back is noticed soon."""
    monkeypatch.setattr(memoryd.embed.follower, "FIRST_PAUSE_SECONDS", 0.02)


@pytest.fixture
async def daemon(unsynced: World) -> World:
    """A daemon without sync: embedding needs neither MongoDB nor the archiver."""
    return unsynced


async def vector_of(text: str) -> bytes:
    """What the model says of a text."""
    return bytes((await HashEmbedder().embed([text]))[0].tobytes())


async def settled(world: World, memory: MemoryClient) -> None:
    """Waits until the embedding follower has nothing to do."""

    async def idle() -> bool:
        return (await memory.stats()).embed_backlog == 0

    await eventually(idle, what="the embedding follower is done")


async def test_every_memory_gets_the_vector_of_its_own_words(daemon: World) -> None:
    """Batches across memories mix nothing up."""
    async with daemon.connect() as memory:
        stored = await memory.store_many([{"content": f"Fact {count}.", "type": "fact"} for count in range(200)])
        await settled(daemon, memory)

        records = await hot(daemon)
        assert len(records) == len(stored) == 200
        for record in records.values():
            assert record.vector == await vector_of(record.memory.content)
        assert daemon.embedder.calls < 50, "memories were embedded one by one"


async def test_a_memory_is_pending_until_its_vector_is_there(daemon: World) -> None:
    """It says so, `stats` counts it, its words find it, and no placeholder stands in for the vector."""
    daemon.embedder.away = True
    async with daemon.connect() as memory:
        kept = await memory.store("Ada paints lighthouses.", type="fact")

        assert (await memory.get(kept.id)).pending
        assert (await memory.stats()).pending == 1
        assert (await hot(daemon))[kept.id].vector is None
        assert [hit.memory.id for hit in await memory.recall("lighthouses")] == [kept.id]

        daemon.embedder.away = False
        await settled(daemon, memory)
        assert not (await memory.get(kept.id)).pending
        assert (await memory.stats()).pending == 0


async def test_a_model_that_comes_back_costs_nothing_but_time(daemon: World) -> None:
    """While it is away `stats` says so; within the bound of tries nothing is given up."""
    daemon.embedder.away = True
    async with daemon.connect() as memory:
        kept = await memory.store("Ada paints lighthouses.", type="fact")

        async def failing() -> bool:
            stats = await memory.stats()
            return stats.embedder is not None and bool(stats.embedder.failing)

        await eventually(failing, what="stats say that the model fails")
        daemon.embedder.away = False
        await settled(daemon, memory)

        assert (await hot(daemon))[kept.id].vector == await vector_of("Ada paints lighthouses.")
        assert not await failing()
        assert not await dead_letters(daemon)


async def test_a_model_that_stays_away_is_given_up_after_bounded_tries(daemon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead letters say which memory and why; it stays pending, and is found by its words."""
    monkeypatch.setattr(memoryd.embed.follower, "EMBED_TRIES_MAX", EMBED_TRIES_MAX)
    daemon.embedder.away = True
    async with daemon.connect() as memory:
        kept = await memory.store("Ada paints lighthouses.", type="fact")
        await settled(daemon, memory)

        assert daemon.embedder.calls == EMBED_TRIES_MAX
        assert [(one["group"], one["id"], one["reason"]) for one in await dead_letters(daemon)] == [
            ("embed", kept.id, "the model is away")
        ]
        stats = await memory.stats()
        assert (stats.dead_letters, stats.pending) == (1, 1)
        assert stats.embedder is not None
        assert stats.embedder.failing
        assert (await hot(daemon))[kept.id].vector is None
        assert [hit.memory.id for hit in await memory.recall("lighthouses")] == [kept.id]


async def test_what_waits_no_more_when_the_model_is_given_up_is_no_dead_letter(
    daemon: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One got its vector elsewhere, one has other words, one follows others, one was forgotten; of each, and of one that still
    waits, there is a letter only for what it is now."""
    monkeypatch.setattr(memoryd.embed.follower, "EMBED_TRIES_MAX", EMBED_TRIES_MAX)
    daemon.embedder.away = True
    records = Records(daemon.redis, daemon.keys)
    async with daemon.connect() as memory:
        with held_back(daemon) as gate:
            given, reworded, gone, waits = [
                await memory.store(f"Ada likes {one}.", type="fact") for one in ("tea", "milk", "rum", "juice")
            ]
            first, second = [await memory.store(one, type="episodic", session="s1") for one in ("Tea?", "Yes, please.")]
            tea, key = "Ada likes tea.", daemon.keys.memory("semantic", memory.scope, given.id)
            attached = Attached(hash_content(tea), daemon.embedder.model, 0, await vector_of(tea), memory.scope, "")
            assert await records.attach(key, given.id, attached)
            await memory.update(reworded.id, content="Ada likes oat milk.")
            await memory.forget(gone.id)
            await records.refollow(Scope("acme", "support", "scout", "s1"), [second.id], reworded=True, traceparent="")
            gate.set()
        await settled(daemon, memory)

        letters = sorted((one["id"], one["version"]) for one in await dead_letters(daemon))
        assert letters == sorted([(reworded.id, "2"), *((one.id, "1") for one in (waits, first, second))])
        assert (await memory.stats()).pending == 4


async def test_a_text_that_the_model_refuses_takes_no_other_with_it(daemon: World) -> None:
    """Its batch is halved until it stands alone; no error or letter quotes it."""
    daemon.embedder.refused = "kumquat"
    async with daemon.connect() as memory:
        texts = [f"Fact {count}." for count in range(40)]
        texts[17] = "A kumquat is a fruit."
        stored = await memory.store_many([{"content": text, "type": "fact"} for text in texts])
        await settled(daemon, memory)

        assert len(stored) == 40
        without = [one.memory.content for one in (await hot(daemon)).values() if one.vector is None]
        assert without == ["A kumquat is a fruit."]
        [letter] = await dead_letters(daemon)
        assert "kumquat" not in str(letter)
        assert (await memory.stats()).pending == 1


async def test_what_is_no_record_any_more_takes_no_other_with_it(daemon: World) -> None:
    """Somebody has put something else under its key. It is a dead letter; the daemon lives, and embeds the others."""
    async with daemon.connect() as memory:
        with held_back(daemon) as gate:
            lost = await memory.store("A kumquat is a fruit.", type="fact")
            others = await memory.store_many([{"content": f"Fact {count}.", "type": "fact"} for count in range(5)])
            key = daemon.keys.memory("semantic", memory.scope, lost.id)
            await daemon.redis.delete(key)
            await daemon.redis.set(key, "not a hash")
            gate.set()
        await settled(daemon, memory)

        [letter] = await dead_letters(daemon)
        assert letter["id"] == lost.id
        assert "kumquat" not in str(letter)
        await daemon.redis.delete(key)
        assert {one.memory.id for one in (await hot(daemon)).values() if one.vector} == {
            one.id for one in others if isinstance(one, Stored)
        }


@contextlib.contextmanager
def held_back(daemon: World) -> Iterator[asyncio.Event]:
    """The model answers when the gate is opened."""
    gate, embed = asyncio.Event(), daemon.embedder.embed

    async def slow(texts: Sequence[str]) -> Vectors:
        await gate.wait()
        return await embed(texts)

    daemon.embedder.embed = slow  # type: ignore[method-assign]
    try:
        yield gate
    finally:
        gate.set()
        daemon.embedder.embed = embed  # type: ignore[method-assign]


async def test_new_words_get_a_new_vector_and_never_keep_the_old_one(
    daemon: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the update on it is pending; a vector of the old words that comes late is thrown away."""
    gate, embed = asyncio.Event(), daemon.embedder.embed

    async def slow(texts: Sequence[str]) -> Vectors:
        await gate.wait()
        return await embed(texts)

    monkeypatch.setattr(daemon.embedder, "embed", slow)
    async with daemon.connect() as memory:
        kept = await memory.store("Ada prefers tea.", type="fact")
        await memory.update(kept.id, content="Ada prefers coffee.")
        gate.set()
        await settled(daemon, memory)
        assert (await hot(daemon))[kept.id].vector == await vector_of("Ada prefers coffee.")

        gate.clear()
        await memory.update(kept.id, content="Ada prefers water.")
        record = (await hot(daemon))[kept.id]
        assert record.memory.pending
        assert record.vector is None
        gate.set()
        await settled(daemon, memory)
        assert (await hot(daemon))[kept.id].vector == await vector_of("Ada prefers water.")


async def test_a_change_that_leaves_the_words_keeps_the_vector(daemon: World) -> None:
    """There is nothing to embed, and at no moment is it pending."""
    async with daemon.connect() as memory:
        kept = await memory.store("Ada prefers tea.", type="fact")
        await settled(daemon, memory)
        calls = daemon.embedder.calls

        await memory.update(kept.id, importance=0.9, metadata={"checked": True})
        assert not (await memory.get(kept.id)).pending
        await settled(daemon, memory)

        assert daemon.embedder.calls == calls
        assert (await hot(daemon))[kept.id].vector == await vector_of("Ada prefers tea.")


async def test_equal_content_is_embedded_once_a_project(daemon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is by model and content; projects share nothing, not even a vector."""
    texts: list[str] = []
    embed = daemon.embedder.embed

    async def listening(asked: Sequence[str]) -> Vectors:
        texts.extend(asked)
        return await embed(asked)

    monkeypatch.setattr(daemon.embedder, "embed", listening)
    async with daemon.connect() as memory, daemon.connect(project="other") as other:
        for _ in range(5):
            await memory.store("The build failed.", type="episodic")
            await settled(daemon, memory)
        assert texts == ["The build failed."]

        await other.store("The build failed.", type="episodic")
        await settled(daemon, memory)
        assert texts == ["The build failed."] * 2
        vectors = {one.vector for one in (await hot(daemon)).values()}
        assert vectors == {await vector_of("The build failed.")}


async def test_no_vector_is_ever_zero(world: World, memory: MemoryClient) -> None:
    """Neither in Redis nor in MongoDB, whatever failed in between."""
    world.embedder.refused = "kumquat"
    await memory.store("A kumquat is a fruit.", type="fact")
    await memory.store("Ada prefers tea.", type="fact")

    await eventually(lambda: idle(memory), what="all is done")
    for record in (await one_story(world, vectors=False)).values():
        length = np.linalg.norm(np.frombuffer(record.vector or b"", "<f4"))
        assert record.vector is None or length == pytest.approx(1, abs=1e-5)


async def test_a_recall_without_its_model_says_that_it_is_degraded(daemon: World) -> None:
    """Words only is an answer, but not a silent one."""
    async with daemon.connect() as memory:
        kept = await memory.store("Ada paints lighthouses.", type="fact")
        await settled(daemon, memory)
        whole = await memory.recall("Which lighthouses?")
        daemon.embedder.away = True

        degraded = await memory.recall("Who paints lighthouses?")

        # and the archive: without a sync, nobody has ever filled this Redis from it
        assert (whole.searched, whole.degraded) == (["words", "meaning", "archive"], "")
        assert degraded.searched == ["words"]
        assert "model" in degraded.degraded
        assert [hit.memory.id for hit in degraded] == [kept.id]
        assert "meaning" not in degraded.hits[0].why


async def test_two_daemons_share_the_embedding(world: World, memory: MemoryClient) -> None:
    """Each memory is embedded by one of them; the other one's death leaves nothing pending."""
    await world.start("daemon2")
    await asyncio.gather(*(memory.store(f"Fact {count}.", type="fact") for count in range(100)))
    await world.kill("daemon")
    await asyncio.gather(*(memory.store(f"Fact {count}.", type="fact") for count in range(100, 200)))
    await caught_up(world, memory)

    assert len(await one_story(world)) == 200
