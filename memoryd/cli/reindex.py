"""memoryd reindex"""

from __future__ import annotations

from typing import Annotated

import typer

from memoryd.cli import options, output
from memoryd.errors import ConfigError


def reindex(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> None:
    """Change the embedding model: drop the old vectors and have everything embedded by MEMORYD_MODEL.

    Stop every daemon and sync first. Memories are found by their words meanwhile; the daemon that starts next embeds them.
    """
    if not yes:
        output.confirm("Drop the vectors of all other models and embed every memory anew?")
    count = output.run(_reindex())
    if json:
        output.print_json({"pending": count})
    else:
        typer.echo(f"{count} memories wait for their new vector; start the daemon (`memoryd serve`) to embed them")


async def _reindex() -> int:
    from memoryd.config import load_settings
    from memoryd.embed import open_embedder
    from memoryd.hot.client import open_redis
    from memoryd.lifecycle.reindex import reindex as make_pending

    settings = load_settings()
    embedder = await open_embedder(settings)
    if embedder is None:
        raise ConfigError(
            "MEMORYD_EMBEDDER is none", hint="set MEMORYD_EMBEDDER and MEMORYD_MODEL to the model to change to"
        )
    with output.progress() as progress:
        bar = progress.add_task("reindexing", total=None)
        async with open_redis(settings.redis_url) as redis:
            return await make_pending(redis, settings, embedder, progress=lambda count: progress.advance(bar, count))
