"""Read your writes: by its words a memory is found at once, by its meaning when a write has waited for that."""

from __future__ import annotations

import asyncio

import pytest

import memoryd.embed.follower
import memoryd.engine
from memoryd.config import Settings
from memoryd.daemon import serve
from memoryd.errors import BadRequest, MemorydError, NotSearchable
from memoryd.model.results import Stored
from tests.waiting import PATIENCE_SECONDS, eventually
from tests.world import World


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is away is asked again at once, and waited for not for long. (For what it does not answer only.)"""
    monkeypatch.setattr(memoryd.embed.follower, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(memoryd.engine, "SEARCHABLE_TIMEOUT_SECONDS", 0.3)


@pytest.fixture
async def daemon(unsynced: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A daemon whose model needs a moment."""
    embed = unsynced.embedder.embed

    async def slowly(texts: list[str]) -> object:
        await asyncio.sleep(0.05)
        return await embed(texts)

    monkeypatch.setattr(unsynced.embedder, "embed", slowly)
    return unsynced


async def test_a_write_that_waits_is_found_by_its_meaning(daemon: World) -> None:
    """Each way to write, in the next breath. (The fake's vectors are equal for equal texts only.)"""
    async with daemon.connect() as memory:
        daemon.embedder.away = True
        assert (await memory.get((await memory.store("Ada sails.")).id)).embedding_model == ""
        daemon.embedder.away = False
        one = await memory.store("Ada prefers tea.", wait="searchable")
        [hit] = [hit for hit in await memory.recall("Ada prefers tea.") if hit.memory.id == one.id]
        assert hit.why["meaning"].value == pytest.approx(1, abs=1e-5)

        await memory.update(one.id, content="Ada prefers coffee.", wait="searchable")
        [hit] = [hit for hit in await memory.recall("Ada prefers coffee.") if hit.memory.id == one.id]
        assert hit.why["meaning"].value == pytest.approx(1, abs=1e-5)

        kites = [{"content": f"Ada owns {number} kites."} for number in range(30)]
        assert all(isinstance(one, Stored) for one in await memory.store_many(kites, wait="searchable"))
        assert (await memory.stats()).pending == 0


async def test_what_has_its_vector_already_is_not_waited_for(daemon: World) -> None:
    """The same memory again, or a change that leaves its words as they are: the model need not even be there."""
    async with daemon.connect() as memory:
        kept = await memory.store("Ada prefers tea.", type="fact", wait="searchable")
        daemon.embedder.away = True
        assert (await memory.store("Ada prefers tea.", type="fact", wait="searchable")).outcome == "reinforced"
        assert (await memory.update(kept.id, importance=0.9, wait="searchable")).outcome == "updated"


@pytest.mark.usefixtures("impatient")
async def test_a_model_that_is_away_is_said_and_the_memory_is_kept(daemon: World) -> None:
    """Nothing hangs: it is stored and found by its words; a repeat waits again, and has no second effect."""
    daemon.embedder.away = True
    async with daemon.connect() as memory:
        with pytest.raises(NotSearchable) as refusal:
            await memory.store("Ada paints lighthouses.", type="episodic", wait="searchable", request_id="r-1")
        details = refusal.value.details
        assert (details["version"], details["outcome"], details["reached"]) == (1, "stored", "hot")
        assert [hit.memory.id for hit in await memory.recall("lighthouses")] == [details["id"]]

        answers = await memory.store_many(
            [{"content": "Ada sails."}, {"content": " "}, {"content": "Ada sings."}], wait="searchable"
        )
        assert [getattr(one, "code", "") for one in answers] == ["not_searchable", "bad_request", "not_searchable"]

        daemon.embedder.away = False

        async def repeated() -> Stored | None:
            try:
                return await memory.store(
                    "Ada paints lighthouses.", type="episodic", wait="searchable", request_id="r-1"
                )
            except NotSearchable:
                return None

        stored = await eventually(repeated, what="the vector has come")
        assert (stored.id, stored.replayed) == (details["id"], True)


@pytest.mark.usefixtures("impatient")
async def test_a_refused_text_does_not_hold_up_its_caller(daemon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model will never take it; the wait ends like any other."""
    daemon.embedder.refused = "forbidden"
    async with daemon.connect() as memory:
        with pytest.raises(NotSearchable):
            await memory.store("A forbidden text.", wait="searchable")
        monkeypatch.setattr(memoryd.engine, "SEARCHABLE_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        await memory.store("A welcome text.", wait="searchable")


async def test_without_a_model_nobody_waits_and_nothing_is_stored(settings: Settings) -> None:
    """There will be no vector, so the question is refused before it has an effect."""
    async with World(settings) as world:
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(serve(settings, stop, ready=ready.set))
        await eventually(ready.is_set, what="a daemon without a model is ready")
        async with world.connect() as memory:
            kept = await memory.store("Ada prefers tea.")
            for refused in (
                memory.store("Ada sails.", wait="searchable"),
                memory.update(kept.id, content="Ada sails.", wait="searchable"),
                memory.store_many([{"content": "Ada sails."}], wait="searchable"),
            ):
                with pytest.raises(BadRequest) as refusal:
                    await refused
                assert refusal.value.details == {"field": "wait"}
            assert (await memory.stats()).memories == 1
            assert not isinstance(await memory.get(kept.id), MemorydError)
        stop.set()
        await running
