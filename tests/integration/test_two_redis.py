"""Two daemons, each with a Redis of its own, over one MongoDB: they tell one story."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from memoryd import MemoryClient
from memoryd.archive.codec import Document
from memoryd.config import Settings
from memoryd.keys import FOLLOWER_PLACE
from memoryd.local.find import find_redis
from memoryd.local.program import Program
from memoryd.local.redis_server import RedisServer
from memoryd.model.ids import hash_content
from tests.fakes import HashEmbedder
from tests.integration.tools import a_hand, archived, caught_up, gone, hot, one_story, past, sees
from tests.waiting import eventually, settles
from tests.world import World


@dataclass(frozen=True)
class Pair:
    """Both memoryds, and a client of each in the same scope."""

    here: World
    there: World
    memory: MemoryClient
    elsewhere: MemoryClient

    async def together(self) -> None:
        """Waits until both journals are drained and both Redis hold the same, then asserts that all is one story."""
        for world, client in ((self.here, self.memory), (self.there, self.elsewhere)):
            await caught_up(world, client)

        async def same() -> bool:
            return await hot(self.here) == await hot(self.there)

        await eventually(same, what="both Redis hold the same")

        async def told() -> None:
            assert await one_story(self.here) == await one_story(self.there)

        await settles(told)  # a count may still be on its way from one of them to the archive


@pytest.fixture
async def second_redis(local_settings: Settings, tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis beside the run's own."""
    program = await find_redis(local_settings)
    assert isinstance(program, Program)
    async with RedisServer(program, tmp_path / "redis", tmp_path / "redis.log") as server:
        yield server


@pytest.fixture
async def pair(world: World, memory: MemoryClient, second_redis: RedisServer) -> AsyncIterator[Pair]:
    """A second memoryd on that Redis, over the same MongoDB and with the same model."""
    async with World(world.settings.model_copy(update={"redis_url": second_redis.url})) as other:
        await other.start("daemon", "sync")
        async with other.connect() as client:
            yield Pair(world, other, memory, client)
        await world.stop("sync")  # before the database goes with the second world


async def test_what_one_stores_the_other_recalls_with_its_vector(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model need not answer: the vector comes along, or after the memory, which is given up by who waits for the model."""
    monkeypatch.setattr("memoryd.embed.follower.EMBED_TRIES_MAX", 2)
    pair.there.embedder.away = True
    kept = await pair.memory.store("Ada paints lighthouses.", type="fact", metadata={"a": [1, {"b": 2}]}, tags=["art"])

    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()

    pair.there.embedder.away = False
    [hit] = (await pair.elsewhere.recall("Ada paints lighthouses.")).hits
    assert (hit.memory.id, hit.memory.metadata, hit.memory.tags) == (kept.id, {"a": [1, {"b": 2}]}, ["art"])
    assert hit.why["meaning"].value > 0


async def test_updates_and_reinforcements_go_both_ways(pair: Pair) -> None:
    """Whoever changes it counts on from the version that the other one made."""
    kept = await pair.memory.store("Ada prefers tea.", type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.elsewhere.update(kept.id, content="Ada prefers coffee.", if_version=1)
    await eventually(sees(pair.memory, kept.id, 2), what="the update arrives")
    await pair.memory.update(kept.id, importance=0.9, if_version=2)
    await eventually(sees(pair.elsewhere, kept.id, 3), what="the next update arrives")

    await pair.together()

    assert await past(pair.here, kept.id) == [
        (1, "Ada prefers tea."),
        (2, "Ada prefers coffee."),
        (3, "Ada prefers coffee."),
    ]


async def test_what_one_forgets_the_other_has_no_more(pair: Pair) -> None:
    """Also not in the cache of the one that had embedded it; and it may forget what the other one stored."""
    content = "Ada's locker code is kumquat-4711."
    kept = await pair.memory.store(content, type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()

    await pair.elsewhere.forget(kept.id)
    await eventually(gone(pair.memory, kept.id), what="the forget arrives")
    for world, client in ((pair.here, pair.memory), (pair.there, pair.elsewhere)):
        await caught_up(world, client)

    for world in (pair.here, pair.there):
        everything = await world.everything_in_redis()
        assert b"kumquat" not in everything
        assert hash_content(content).encode() not in everything, "its vector is still cached"
    assert "kumquat" not in await pair.here.everything_in_mongo()
    assert (await pair.memory.forget(kept.id)).outcome == "already"


@pytest.mark.parametrize("embedded", [False, True], ids=["it comes pending", "it comes with its vector"])
async def test_an_update_elsewhere_drops_the_vector_of_the_old_words(pair: Pair, embedded: bool) -> None:
    """The one that had embedded them hears of it in its own journal."""
    content = "Ada's locker code is kumquat-4711."
    kept = await pair.memory.store(content, type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()

    await pair.here.stop("sync")
    pair.there.embedder.away = not embedded
    await pair.elsewhere.update(kept.id, content="Ada has no locker any more.", durability="archived")
    if embedded:
        await caught_up(pair.there, pair.elsewhere)
        await pair.here.redis.delete(
            FOLLOWER_PLACE
        )  # a copy brings it as it is now; its event brings it as it was then
    await pair.here.start("sync")
    await eventually(sees(pair.memory, kept.id, 2), what="the update arrives")
    pair.there.embedder.away = False
    await pair.together()

    assert hash_content(content).encode() not in await pair.here.everything_in_redis()


async def test_the_same_fact_stored_by_both_is_one_memory(pair: Pair) -> None:
    """Ids come from the content, so both mean the same one, at the same version."""
    texts = [f"Ada knows fact {count}." for count in range(20)]
    both = await asyncio.gather(
        *(client.store(text, type="fact") for text in texts for client in (pair.memory, pair.elsewhere))
    )
    ids = {one.id for one in both}

    assert len(ids) == 20

    async def there() -> bool:
        return (await hot(pair.here)).keys() == (await hot(pair.there)).keys() == ids

    await eventually(there, what="both have all of them")
    for world, client in ((pair.here, pair.memory), (pair.there, pair.elsewhere)):
        await caught_up(world, client)
    assert len(await archived(pair.here)) == 20


async def test_two_updates_of_one_version_lose_neither(pair: Pair) -> None:
    """Both make version 2. The archive takes one; the loser is lifted to version 3, and both agree on it."""
    kept = await pair.memory.store("Ada prefers tea.", type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()
    await asyncio.gather(pair.here.stop("sync"), pair.there.stop("sync"))

    await pair.memory.update(kept.id, content="Ada prefers coffee.", if_version=1)
    await pair.elsewhere.update(kept.id, content="Ada prefers water.", if_version=1)
    await asyncio.gather(pair.here.start("sync"), pair.there.start("sync"))

    await eventually(sees(pair.memory, kept.id, 3), what="the lifted update")
    await eventually(sees(pair.elsewhere, kept.id, 3), what="the lifted update")
    await pair.together()
    versions = await past(pair.here, kept.id)
    assert [version for version, _ in versions] == [1, 2, 2, 3], "both called theirs version 2, and it was"
    assert {content for _, content in versions[1:3]} == {"Ada prefers coffee.", "Ada prefers water."}
    assert versions[3][1] == (await pair.memory.get(kept.id)).content


async def test_a_loser_whose_history_came_first_is_lifted_as_well(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One archiver is first with the current document, the other one with the history: still one of them loses."""
    kept = await pair.memory.store("Ada prefers tea.", type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()
    await asyncio.gather(pair.here.stop("sync"), pair.there.stop("sync"))
    await pair.memory.update(kept.id, content="Ada prefers coffee.")
    await pair.elsewhere.update(kept.id, content="Ada prefers water.")

    async with a_hand(pair.here) as first, a_hand(pair.there) as second:
        add = pair.here.archive.history.add

        async def slow(documents: Sequence[Document]) -> None:
            await second.archive_all()
            await add(documents)

        with monkeypatch.context() as patch:
            patch.setattr(pair.here.archive.history, "add", slow)
            await first.archive_all()
        await second.archive_all()

    await asyncio.gather(pair.here.start("sync"), pair.there.start("sync"))
    await eventually(sees(pair.memory, kept.id, 3), what="the lifted update")
    await pair.together()
    assert {content for _, content in await past(pair.here, kept.id)} >= {"Ada prefers coffee.", "Ada prefers water."}


async def test_two_chains_of_updates_of_one_version_lose_none(pair: Pair) -> None:
    """The longer chain wins; what the shorter one said is in the history all the same."""
    kept = await pair.memory.store("Ada prefers tea.", type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()
    await pair.here.stop("sync")
    await pair.there.stop("sync")

    await pair.memory.update(kept.id, content="Ada prefers coffee.")
    await pair.elsewhere.update(kept.id, content="Ada prefers water.")
    await pair.elsewhere.update(kept.id, content="Ada prefers juice.")
    await pair.here.start("sync")
    await caught_up(pair.here, pair.memory)
    await pair.there.start("sync")
    await caught_up(pair.there, pair.elsewhere)
    await pair.together()

    said = {content for _, content in await past(pair.here, kept.id)}
    assert said == {"Ada prefers tea.", "Ada prefers coffee.", "Ada prefers water.", "Ada prefers juice."}


async def test_a_person_s_edit_reaches_both(pair: Pair) -> None:
    """One of the two followers gives it its version; it has one, not two."""
    kept = await pair.memory.store("Ada lives in Porto.", type="fact")
    await eventually(sees(pair.elsewhere, kept.id, 1), what="the memory arrives")
    await pair.together()

    await pair.here.memories.update_one({"_id": kept.id}, {"$set": {"content": "Ada lives in Lisbon."}})

    await eventually(sees(pair.memory, kept.id, 2), what="the edit arrives here")
    await eventually(sees(pair.elsewhere, kept.id, 2), what="the edit arrives there")
    await pair.together()
    assert await past(pair.here, kept.id) == [(1, "Ada lives in Porto."), (2, "Ada lives in Lisbon.")]


async def test_another_model_brings_vectors_of_its_own(
    world: World, memory: MemoryClient, second_redis: RedisServer
) -> None:
    """A vector of another model has no place in this index: the words come along, the vector is made anew."""
    kept = await memory.store("Ada paints lighthouses.", type="fact")
    await caught_up(world, memory)
    async with World(world.settings.model_copy(update={"redis_url": second_redis.url})) as other:
        other.embedder = HashEmbedder(dims=16, model="another-model")
        await other.start("daemon", "sync")
        async with other.connect() as elsewhere:
            await eventually(sees(elsewhere, kept.id, 1), what="the memory arrives")
            await caught_up(other, elsewhere)
            record = (await hot(other))[kept.id]
        await world.stop("sync")

    assert record.memory.embedding_model == "another-model"
    assert record.vector is not None
    assert len(record.vector) == 4 * 16
