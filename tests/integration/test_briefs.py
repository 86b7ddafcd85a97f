"""What a daemon keeps of candidates between recalls."""

from __future__ import annotations

from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.hot import briefs, finding
from memoryd.hot.clauses import Filters
from memoryd.hot.search import Search
from memoryd.model.ids import hash_content
from memoryd.model.question import Narrowing
from memoryd.model.scope import Scope
from tests.world import World


async def words_of(search: Search, scope: Scope) -> dict[str, list[str]]:
    """What a search by words finds in a scope: the words of each."""
    found = await search.by_words(scope, Filters(Narrowing()), terms=["ada"], content_hash=hash_content("?"))
    return {row.memory_id: row.terms.split() for row in found.rows.values()}


async def test_a_brief_is_read_once_and_again_when_it_changes(world: World, memory: MemoryClient) -> None:
    """A stamp tells whether what is known is what Redis has."""
    kept, search = await memory.store("Ada paints in Porto.", type="fact"), Search(world.redis, ef_runtime=None)
    assert await words_of(search, memory.scope) == {kept.id: ["ada", "paint", "porto"]}

    key = await key_of(world, kept.id)
    await world.redis.hset(key, "brief", "not read")  # nobody writes it so, without its stamp
    assert await words_of(search, memory.scope) == {kept.id: ["ada", "paint", "porto"]}

    await memory.update(kept.id, content="Ada sails to Lagos.")
    assert await words_of(search, memory.scope) == {kept.id: ["ada", "sail", "lago"]}
    await memory.forget(kept.id)
    assert await words_of(search, memory.scope) == {}


async def test_what_is_stored_since_is_read_alone(world: World, memory: MemoryClient) -> None:
    """Who stores and recalls in turn does not have all that is known read again."""
    first, search = await memory.store("Ada paints in Porto.", type="fact"), Search(world.redis, ef_runtime=None)
    assert await words_of(search, memory.scope) == {first.id: ["ada", "paint", "porto"]}
    await world.redis.hset(await key_of(world, first.id), "brief", "not read")

    second = await memory.store("Ada sails to Lagos.", type="fact")
    both = {first.id: ["ada", "paint", "porto"], second.id: ["ada", "sail", "lago"]}
    assert await words_of(search, memory.scope) == both


async def test_many_that_are_unknown_are_read_at_once(world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where nothing is known yet."""
    monkeypatch.setattr(finding, "UNKNOWN_FEW_MAX", 1)
    ids = {(await memory.store(f"Ada {what}.", type="fact")).id for what in ("paints", "sails", "sings")}
    search = Search(world.redis, ef_runtime=None)
    for _ in range(2):
        assert (await words_of(search, memory.scope)).keys() == ids


async def test_a_stamp_is_known_in_its_project_only(world: World, memory: MemoryClient) -> None:
    """If two memories ever had the same one, none would come to another project."""
    search = Search(world.redis, ef_runtime=None)
    async with world.connect(project="other") as other:
        one, two = await memory.store("Ada paints in Porto.", type="fact"), await other.store("Ada sails.", type="fact")
        same: Any = await world.redis.hget(await key_of(world, one.id), "stamp")
        await world.redis.hset(await key_of(world, two.id), "stamp", same)
        assert (await words_of(search, memory.scope)).keys() == {one.id}
        assert (await words_of(search, other.scope)).keys() == {two.id}


async def test_what_an_earlier_memoryd_wrote_has_no_stamp_and_is_found(world: World, memory: MemoryClient) -> None:
    """Also when all the others are known."""
    ids = {(await memory.store(f"Ada {what}.", type="fact")).id for what in ("paints", "sails")}
    await world.drained(memory)
    search = Search(world.redis, ef_runtime=None)
    await world.redis.hdel(await key_of(world, min(ids)), "stamp")
    for _ in range(2):
        assert (await words_of(search, memory.scope)).keys() == ids
        assert {hit.memory.id for hit in await memory.recall("Ada")} == ids


@pytest.mark.parametrize("bound", ["BRIEFS_MAX", "BRIEFS_SECONDS"])
async def test_what_nobody_meets_is_dropped(
    world: World, memory: MemoryClient, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for so many, and the words of what was forgotten do not stay in the process."""
    monkeypatch.setattr(briefs, bound, 0)
    await memory.store("Ada paints in Porto.", type="fact")
    search = Search(world.redis, ef_runtime=None)
    known = search._finder._briefs
    for _ in range(3):
        await words_of(search, memory.scope)
        places = [*known._young.values(), *known._old.values()]
        assert len({stamp for place in places for stamp in place}) == 1, "it has been met since"
    for _ in range(2):
        await words_of(search, Scope("nobody", "here", ""))
    assert not known._young
    assert not known._old


async def key_of(world: World, memory_id: str) -> bytes:
    """Where a memory's record is."""
    [key] = [key async for key in world.redis.scan_iter(f"aether:memory:*{memory_id}")]
    return bytes(key)
