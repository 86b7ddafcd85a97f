"""What a process says of itself is what it can do: parts are really stopped, and named, and well again when they are back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import memoryd.health.probes
import memoryd.health.report
import memoryd.retry
from memoryd.local.ports import free_port
from memoryd.local.servers import Servers
from tests.http import fetch
from tests.integration.commands import Commands, run
from tests.waiting import eventually, settles
from tests.world import World, private_settings


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is a new look, and what is back is noticed soon."""
    monkeypatch.setattr(memoryd.health.report, "HEALTH_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(memoryd.health.probes, "HEALTH_EMBED_SECONDS", 0.0)
    monkeypatch.setattr(memoryd.retry, "PAUSE_SECONDS_MAX", 0.2)


def ports() -> dict[str, int]:
    """Settings of where both parts answer."""
    return {"health_port": free_port(), "sync_health_port": free_port()}


@pytest.fixture
async def own_world(own_servers: Servers) -> AsyncIterator[World]:
    """A memoryd whose servers belong to this test."""
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url, **ports())) as world:
        await world.start("daemon", "sync")
        yield world


async def told(port: int) -> tuple[int, list[str]]:
    """The status of /ready and the modes; 0 while nobody listens there."""
    try:
        page = await fetch(port, "/ready")
    except ConnectionRefusedError:
        return 0, []
    return page.status, json.loads(page.body)["modes"] if page.body else []


def says(world: World, status: int, *modes: str, sync: bool = False) -> Callable[[], Any]:
    """Whether the daemon (or sync) tells this."""
    port = world.settings.sync_health_port if sync else world.settings.health_port

    async def look() -> bool:
        return await told(port) == (status, list(modes))

    return look


async def becomes(world: World, status: int, *modes: str, sync: bool = False) -> None:
    """Waits until the daemon (or sync) tells this."""
    about = f"{'sync' if sync else 'the daemon'} says {status} {modes}"
    await eventually(says(world, status, *modes, sync=sync), what=about)


async def test_each_part_that_is_away_is_a_mode_and_only_what_is_needed_is_a_failure(
    own_servers: Servers, own_world: World
) -> None:
    """MongoDB, which the daemon can do without and sync cannot; Redis hanging, which nobody can do without; in the pages and
    in the command."""
    assert own_servers.mongo is not None
    assert own_servers.redis is not None
    memoryd = Commands(own_world.settings)
    await becomes(own_world, 200)
    await becomes(own_world, 200, sync=True)

    async def healthy() -> None:
        said = (await run(("health", "--json"), memoryd.environment)).json
        assert (said["ready"], said["modes"], all(one["ok"] for one in said["parts"])) == (True, [], True)

    await settles(healthy)

    await own_servers.mongo.stop()
    await becomes(own_world, 200, "archive away")
    await becomes(own_world, 503, "archive away", sync=True)

    async def served() -> None:
        assert "agents are served; archive away" in (await run(("health",), memoryd.environment)).out

    await settles(served)
    await own_servers.mongo.start()
    await becomes(own_world, 200)
    await becomes(own_world, 200, sync=True)

    own_servers.redis.pause()
    try:
        for sync in (False, True):
            await becomes(own_world, 503, "redis away", sync=sync)
            port = own_world.settings.sync_health_port if sync else own_world.settings.health_port
            assert (await fetch(port, "/live")).status == 200
    finally:
        own_servers.redis.resume()
    await becomes(own_world, 200)


async def test_what_memoryd_itself_lacks_is_named(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model, the followers, the indexes, room; each mended again."""
    async with World(settings.model_copy(update=ports())) as world:
        await world.start("daemon", "sync")
        redis: Any = world.redis
        await becomes(world, 200)

        world.embedder.away = True
        await becomes(world, 200, "embedder away")
        monkeypatch.setattr(memoryd.health.probes, "HEALTH_LAG_SECONDS", 0.3)
        async with world.connect() as memory:
            await memory.store("Ada sails.", type="fact")
            await becomes(world, 200, "embedder away", "embedding behind")
            monkeypatch.setattr(memoryd.health.probes, "HEALTH_LAG_SECONDS", 60.0)
            world.embedder.away = False
            await becomes(world, 200)
            await world.drained(memory)

            await world.stop("sync")
            await becomes(world, 200, "follower away")
            monkeypatch.setattr(memoryd.health.probes, "HEALTH_LAG_SECONDS", 0.3)
            await memory.store("Ada paints.", type="fact")
            await becomes(world, 200, "archiver behind", "follower away")
            await world.start("sync")
            monkeypatch.setattr(memoryd.health.probes, "HEALTH_LAG_SECONDS", 60.0)
            await becomes(world, 200)

        await redis.execute_command("FT.DROPINDEX", "aether:index:working")
        await becomes(world, 503, "indexes missing")
        await world.stop("daemon")
        await world.start("daemon")
        await becomes(world, 200)

        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used * 1.05))
        try:
            await becomes(world, 200, "redis full")
        finally:
            await redis.config_set("maxmemory", 0)
        await becomes(world, 200)


async def test_a_process_says_when_it_is_not_yet_ready_and_when_it_is_no_more(own_servers: Servers) -> None:
    """Sync waits for MongoDB at its start, and lives meanwhile; nobody sends work to what stops."""
    assert own_servers.mongo is not None
    await own_servers.mongo.stop()
    async with World(private_settings(own_servers.redis_url, own_servers.mongo_url, **ports())) as world:
        await world.start("daemon")
        starting = asyncio.create_task(world.start("sync"))
        await becomes(world, 503, "archive away", "starting", "follower away", sync=True)
        assert (await fetch(world.settings.sync_health_port, "/live")).status == 200
        await own_servers.mongo.start()
        await starting
        await becomes(world, 200, sync=True)
