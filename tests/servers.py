"""The real servers that the tests run on, as pytest fixtures.

They come from TEST_REDIS_URL and TEST_MONGO_URL; else from Docker, when it answers within a second; else as for
`memoryd up`. The MEMORYD_* variables of a developer are never used: behind them may be data that somebody needs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from memoryd.config import Settings, load_settings
from memoryd.errors import ServersUnavailable
from memoryd.local.mongo_server import is_primary, make_member
from memoryd.local.servers import Servers, open_servers

REDIS_IMAGE = "redis/redis-stack-server:7.4.0-v3"
MONGO_IMAGE = "mongo:7.0"
DOCKER_SECONDS = 1  # an engine that is there answers in milliseconds
CONTAINER_SECONDS = 60
MEMORY_DISK = "/dev/shm"
MEMORY_DISK_FREE_BYTES = 4 << 30  # a MongoDB's journal alone takes 300 MB, and laboratories have three


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """One Redis and one MongoDB for the whole run. Tests keep apart by names of their own, and do not stop them."""
    with ExitStack() as stack:
        data = stack.enter_context(scratch())
        urls = _urls_of_environment()
        if len(urls) < 2 and _docker_answers():
            urls = stack.enter_context(_containers()) | urls
        yield stack.enter_context(_running(lambda: open_servers(_settings(**urls), data)))


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """A pair for this test alone, which it may pause, kill and restart."""
    with scratch() as data, _running(lambda: open_servers(_settings(), data)) as servers:
        yield servers


@pytest.fixture(scope="session")
def local_settings() -> Settings:
    """Settings that name no server, so that `memoryd.local` starts its own."""
    return _settings()


def _settings(**urls: str) -> Settings:
    """Only what is named here counts as set: the environment's URLs are left aside."""
    construct: Any = Settings.model_construct  # its signature asks for all fields; the defaults fill them
    settings: Settings = construct(cache_dir=load_settings().cache_dir, **urls)
    return settings


def _urls_of_environment() -> dict[str, str]:
    """Those of the first worker; a test may empty its servers, so each of the other workers gets its own."""
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        return {}
    urls = {"redis_url": os.environ.get("TEST_REDIS_URL"), "mongo_url": os.environ.get("TEST_MONGO_URL")}
    return {name: url for name, url in urls.items() if url}


@contextmanager
def scratch(prefix: str = "memoryd-test-") -> Iterator[Path]:
    """A folder for servers' data: in memory where there is room, because tests wait for a disk's syncs most of the time."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=_memory_disk(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _memory_disk() -> str | None:
    """What dies with the machine is no worse for a test: it kills processes only."""
    try:
        roomy = shutil.disk_usage(MEMORY_DISK).free >= MEMORY_DISK_FREE_BYTES
    except OSError:
        return None
    return MEMORY_DISK if roomy and os.access(MEMORY_DISK, os.W_OK) else None


@contextmanager
def _running(opened: Callable[[], AbstractAsyncContextManager[Servers]]) -> Iterator[Servers]:
    """Enter and leave on a loop of our own. It stands still in between: the processes need none."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        manager = opened()
        try:
            servers = runner.run(_enter(manager))
        except ServersUnavailable as error:
            _absent(error)
        try:
            yield servers
        finally:
            runner.run(_leave(manager))


async def _enter(manager: AbstractAsyncContextManager[Servers]) -> Servers:
    return await manager.__aenter__()


async def _leave(manager: AbstractAsyncContextManager[Servers]) -> None:
    await manager.__aexit__(None, None, None)


def _absent(error: ServersUnavailable) -> None:
    """A machine that can have no servers skips what needs them; in CI that would be a lie."""
    why = f"{error.message} ({error.hint})"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


# --- Docker -----------------------------------------------------------------------------------------------------------
def _docker_answers() -> bool:
    asked = ("docker", "version", "--format", "{{.Server.Version}}")
    try:
        return subprocess.run(asked, capture_output=True, timeout=DOCKER_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextmanager
def _containers() -> Iterator[dict[str, str]]:
    from testcontainers.core.container import DockerContainer

    redis = DockerContainer(REDIS_IMAGE).with_exposed_ports(6379)
    layout = "--stream-node-max-entries 1 --hash-max-listpack-value 4096"
    redis = redis.with_env("REDIS_ARGS", f"--appendonly yes --maxmemory-policy noeviction --save '' {layout}")
    mongo = DockerContainer(MONGO_IMAGE).with_exposed_ports(27017).with_command("--replSet rs0 --bind_ip_all")
    with redis, mongo:
        # The member's address is the one inside the container, so clients must not go by the set's own list.
        urls = {
            "redis_url": f"redis://{_address(redis, 6379)}",
            "mongo_url": f"mongodb://{_address(mongo, 27017)}/?directConnection=true",
        }
        asyncio.run(asyncio.wait_for(_containers_ready(**urls), CONTAINER_SECONDS))
        yield urls


def _address(container: Any, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


async def _containers_ready(redis_url: str, mongo_url: str) -> None:
    from pymongo import AsyncMongoClient
    from redis.asyncio import Redis

    async with Redis.from_url(redis_url) as redis:  # redis-py's own retries wait for it
        await redis.ping()
    async with AsyncMongoClient[dict[str, Any]](mongo_url) as mongo:  # and pymongo's server selection for this one
        await make_member(mongo, "127.0.0.1:27017")
        while not await is_primary(mongo):  # noqa: ASYNC110 - MongoDB tells nobody
            await asyncio.sleep(0.05)
