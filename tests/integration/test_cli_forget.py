"""`memoryd forget` by criteria: shows its plan and asks, does exactly that, and its receipts can be listed and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memoryd import MemoryClient
from memoryd.cli import export as exporting
from memoryd.cli.options import Target
from memoryd.hot import files
from memoryd.local.servers import Servers
from tests.integration.commands import Commands, run
from tests.integration.test_forget_many import ids_of
from tests.integration.tools import caught_up, hot, verified
from tests.world import World, private_settings


@pytest.fixture
def command(world: World) -> Commands:
    """`memoryd`, against this test's memoryd."""
    return Commands(world.settings)


async def test_a_forget_by_criteria_shows_its_plan_asks_and_does_exactly_that(
    command: Commands, world: World, memory: MemoryClient
) -> None:
    """On stderr, so that a pipe sees the receipt only; no is an answer, and an empty selection is none."""
    ids = await ids_of(memory, *(f"Kumquat {number}." for number in range(12)), session="s1", tags=["fruit"])
    [other] = await ids_of(memory, "Kumquat, elsewhere.", tags=["fruit"])
    await caught_up(world, memory)

    plan = (await command("forget", "--session", "s1", "--tag", "fruit", "--dry-run", "--json")).json
    table = (await command("forget", "--words", "kumquat elsewhere", "--dry-run")).out
    asked = await command("forget", "--session", "s1", "--json", stdin="n\n", exits=1)
    for wrong in ([], ["--older-than", "soon"], ["--everything", "--tag", "fruit"], ["mem_1", "--dry-run"]):
        await command("forget", *wrong, exits=2)
    assert {one["id"] for one in plan["memories"]} == set(ids)
    assert other in table
    assert "and 2 more" in asked.err
    assert "12 memories" in asked.err
    assert len(await hot(world)) == 13

    done = (await command("forget", "--session", "s1", "--json", stdin="y\n")).json
    assert (done["count"], done["durability"]) == (12, "archived")
    assert done["plan"] == (await command("forget", "receipts", done["id"], "--json")).json["plan"]
    assert set(await hot(world)) == {other}

    single = (await command("forget", other, "--yes", "--json")).json
    [line, _] = (await command("forget", "receipts", "--json")).json
    assert (line["id"], line["seq"], line["count"]) == (single["receipt"], 2, 1)
    assert "selected by session" in (await command("forget", "receipts", done["id"])).out


async def test_verify_says_what_it_finds_by_its_exit_code(command: Commands, world: World, memory: MemoryClient) -> None:
    """0: nothing is left. 1: a table of what is; unknown receipts are not found."""
    [one] = await ids_of(memory, "A kumquat.")
    key = world.keys.memory("semantic", memory.scope, one)
    receipt = (await command("forget", "--words", "kumquat", "--yes", "--json")).json
    await caught_up(world, memory)

    assert (await verified(memory, receipt["id"])).ok
    assert (await command("forget", "verify", receipt["id"], "--chain", "--json")).json["ok"]
    await world.redis.hset(key, mapping={"content": "A kumquat.", "version": "1"})
    found = await run(("forget", "verify", receipt["id"]), command.environment)
    assert (found.code, found.err) == (1, "")
    assert "Redis: records" in found.out
    assert one in found.out
    await command("forget", "verify", "rcp_" + "0" * 32, exits=3)


async def test_redis_files_hold_nothing_of_it_after_a_rewrite(own_servers: Servers) -> None:
    """The append-only file and the snapshot; one that cannot be cleaned is refused before anything is forgotten."""
    assert own_servers.redis is not None
    folder = own_servers.redis.data
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url)) as world:
        await world.redis.config_set("rdbcompression", "no")  # so that the words could be seen
        await world.start("daemon", "sync")
        command = Commands(world.settings)
        async with world.connect() as memory:
            await ids_of(memory, *(f"The kumquat number {number}." for number in range(50)), "The salak.")
            await world.redis.config_set("stream-node-max-entries", "100")
            refused = await command("forget", "--words", "kumquat", "--yes", "--rewrite-aof", exits=2)
            assert "stream-node-max-entries" in refused.err
            await world.redis.config_set("stream-node-max-entries", "1")
            await world.redis.config_set("save", "3600 100000")
            await world.redis.bgsave()
            await caught_up(world, memory)
            assert "kumquat" in _bytes(folder)

            done = await command("forget", "--words", "kumquat", "--yes", "--rewrite-aof", "--json")

            assert done.json["count"] == 50
            assert "aof, rdb" in done.err
            held = _bytes(folder)
            assert "kumquat" not in held
            assert "salak" in held


def _bytes(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


async def test_a_rewrite_that_takes_too_long_is_said(
    world: World, memory: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on in Redis; nobody claims what nobody has seen."""
    await ids_of(memory, "A kumquat.")
    monkeypatch.setattr(files, "AOF_REWRITE_SECONDS_MAX", -1.0)
    assert await memory.rewrite_aof() == []
    assert await memory.rewrite_aof(dry_run=True) == []


async def test_what_is_forgotten_while_a_file_is_exported_is_not_in_it(
    world: World, memory: MemoryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was stored again meanwhile: the line is of its former life."""
    [keep, gone, again] = await ids_of(memory, "A salak.", "A kumquat.", "A rambutan.")
    await caught_up(world, memory)
    for name, value in Commands(world.settings).environment.items():
        monkeypatch.setenv(name, value)
    target = Target(url=world.settings.redis_url, tenant="acme", project="support", agent="scout")
    part = tmp_path / "out.jsonl.part"
    export: Any = exporting
    with part.open("w", encoding="utf-8") as stream:
        assert await export._export(target, stream) == 3
    await memory.forget_many(ids=[gone, again])
    await ids_of(memory, "A rambutan.")

    assert await export._leave_out_forgotten(target, part) == 2

    assert [json.loads(line)["id"] for line in part.read_text("utf-8").splitlines()] == [keep]
