"""memoryd reindex"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from memoryd.config import Settings
    from memoryd.lifecycle.refill import Refilled


def reindex(
    model: Annotated[
        str, typer.Option("--model", help="Fill this model's vectors beside the old ones while everything runs.")
    ] = "",
    rate: Annotated[float, typer.Option("--rate", min=0, help="With --model: memories a second at most; 0: no limit.")] = 200.0,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a --model that is being filled.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: options.Json = False,
) -> None:
    """Change the embedding model.

    With --model everything runs on: the new vectors are filled beside the old ones, then all read them at once, then the old
    ones go. Run it again when it was interrupted. Without it, drop the old vectors and have everything embedded by
    MEMORYD_MODEL: stop every daemon and sync first; memories are found by their words until they have their new vector.
    """
    if abandon:
        if model:
            output.fail(BadRequest("--abandon and --model: expected one of them", field="model"))
        _tell(output.run(_abandon()), json)
    elif model:
        _say(output.run(_refill(model, rate)), model, json)
    else:
        if not yes:
            output.confirm("Drop the vectors of all other models and embed every memory anew?")
        count = output.run(_reindex())
        if json:
            output.print_json({"pending": count})
        else:
            typer.echo(f"{count} memories wait for their new vector; start the daemon (`memoryd serve`) to embed them")


def _say(done: Refilled, model: str, json: bool) -> None:
    if json:
        output.print_json({"filled": done.filled, "settled": done.settled, "refused": len(done.refused)})
        return
    typer.echo(f"{done.filled} memories got their new vector, and it is read; {done.settled} were settled.")
    if done.refused:
        typer.echo(f"The model refuses the text of {len(done.refused)} memories: they are found by their words.")
    typer.echo(f"Set MEMORYD_MODEL={model} before a daemon starts again.")


def _tell(given_up: str, json: bool) -> None:
    if json:
        output.print_json({"abandoned": given_up})
    else:
        typer.echo(f"gave up {given_up}" if given_up else "no model is being filled")


async def _refill(model: str, rate: float) -> Refilled:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.hot.client import open_redis
    from memoryd.lifecycle.refill import Refill

    settings, embedder = await _opened(model=model)
    with output.progress() as progress:
        bar = progress.add_task("filling", total=None)
        async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as mongo:
            refill = Refill(
                redis, settings, embedder, archive=Archive(mongo[settings.mongo_database]), rate=rate,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )  # fmt: skip
            try:
                return await refill.run()
            finally:
                await embedder.close()


async def _abandon() -> str:
    from memoryd.config import load_settings
    from memoryd.hot.client import open_redis
    from memoryd.lifecycle.refill import abandon

    settings = load_settings()
    async with open_redis(settings.redis_url) as redis:
        return await abandon(redis)


async def _reindex() -> int:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.hot.client import open_redis
    from memoryd.lifecycle.reindex import reindex as make_pending

    settings, embedder = await _opened()
    with output.progress() as progress:
        bar = progress.add_task("reindexing", total=None)
        async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as mongo:
            return await make_pending(
                redis, settings, embedder, archive=Archive(mongo[settings.mongo_database]),
                progress=lambda count: progress.advance(bar, count),
            )  # fmt: skip


async def _opened(**overrides: Any) -> tuple[Settings, Any]:
    """The settings, and the model to change to."""
    from memoryd.config import load_settings
    from memoryd.embed import open_embedder

    settings = load_settings(**overrides)
    embedder = await open_embedder(settings)
    if embedder is None:
        raise ConfigError(
            "MEMORYD_EMBEDDER is none", hint="set MEMORYD_EMBEDDER and MEMORYD_MODEL to the model to change to"
        )
    return settings, embedder
