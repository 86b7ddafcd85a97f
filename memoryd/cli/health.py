"""memoryd health"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer

from memoryd.cli import options, output

if TYPE_CHECKING:
    from memoryd.health.report import Probe, Report


@options.scoped
def health(
    target: options.Target,
    json: options.Json = False,
) -> None:
    """Ask every part whether it works: Redis, its indexes and room, MongoDB, a daemon and its model, the followers.

    Each is asked by doing what the service does with it, for 2 s at most. Exit code 1: agents cannot be served. What can be
    done without is named as a mode (archive away, embedder away, follower behind …) and is no failure.
    """
    found = output.run(_look(target))
    if json:
        output.print_json(found)
    else:
        rows = [[one.part, "well" if one.ok else one.mode or "unknown", one.why, one.milliseconds] for one in found.parts]
        output.print_table("", ["part", "state", "why", "ms"], rows)
        modes = f"; {', '.join(found.modes)}" if found.modes else ""
        typer.echo(("agents are served" if found.ready else "agents cannot be served") + modes)
    if not found.ready:
        raise typer.Exit(output.FAILED)


async def _look(target: options.Target) -> Report:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import load_settings
    from memoryd.health import probes
    from memoryd.health.report import look
    from memoryd.hot.client import open_redis
    from memoryd.keys import Keys

    settings = load_settings()
    keys = Keys(settings.buckets)
    async with open_redis(target.url) as redis, open_mongo(settings.mongo_url) as mongo:
        archive = Archive(mongo[settings.mongo_database])
        return await look([*probes.of_daemon(redis, archive, keys, None), *_of_the_service(target)])


def _of_the_service(target: options.Target) -> list[Probe]:
    """A daemon, by a request that Redis alone answers; and its model, as that daemon knows it."""
    from memoryd import connect
    from memoryd.errors import NoAnswer
    from memoryd.health.probes import EMBEDDER_AWAY, REDIS
    from memoryd.health.report import Probe
    from memoryd.limits import HEALTH_PROBE_SECONDS

    scope = {"tenant": target.tenant, "project": target.project}
    seconds = HEALTH_PROBE_SECONDS * 0.8  # so that it is the client who says that nobody has answered

    async def served() -> str:
        async with connect(target.url, timeout_seconds=seconds, **scope) as memory:
            await memory.seen("health")
        return ""

    async def embeds() -> str:
        with contextlib.suppress(NoAnswer):  # then the daemon is what is missing, or it waits for MongoDB
            async with connect(target.url, timeout_seconds=seconds, **scope) as memory:
                model = (await memory.stats()).embedder
            return "the model does not answer the daemon" if model and model.failing == "retrying" else ""
        return ""

    return [
        Probe("daemon", "daemon away", served, needed=True, through=REDIS),
        Probe("embedder", EMBEDDER_AWAY, embeds, through=REDIS),
    ]
