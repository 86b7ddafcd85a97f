"""memoryd tiers: which memories change their tier, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.errors import NotFound, Overloaded
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from memoryd.lifecycle.tiering import Tiering

MOVES_MAX = 1_000  # that one answer lists; the others are counted

app = typer.Typer(help="Which memories keep their content in Redis, which move, and why.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option("--tenant", envvar="MEMORYD_TENANT", help="Of this tenant only.")]
Project = Annotated[str, typer.Option("--project", envvar="MEMORYD_PROJECT", help="Of this project only.")]


@app.command("plan")
def plan(
    tenant: Tenant = "",
    project: Project = "",
    explain: Annotated[bool, typer.Option("--explain", help="List each move with its reason and the numbers behind it.")] = False,
    json: options.Json = False,
) -> None:
    """Say what a sweep would move now. Nothing is changed."""
    from memoryd.lifecycle.tiering import told

    async def work() -> dict[Scope, Any]:
        async with _opened() as tiers:
            return await tiers.plan()

    plans = {
        place: moves for place, moves in output.run(work()).items()
        if tenant in ("", place.tenant) and project in ("", place.project)
    }  # fmt: skip
    counted = [
        {"tenant": place.tenant, "project": place.project, "to": to, "reason": reason, "memories": count}
        for place, moves in plans.items()
        for (to, reason), count in sorted(Counter((str(one.to), one.reason.name.lower()) for one in moves).items())
    ]
    listed = [
        {"id": one.memory_id, "tenant": place.tenant, "project": place.project, "to": str(one.to), "why": told(one)}
        for place, moves in plans.items()
        for one in moves
    ]
    if json:
        output.print_json({"moves": counted} | ({"listed": listed[:MOVES_MAX]} if explain else {}))
        return
    output.print_table("", ["tenant", "project", "to", "reason", "memories"], [list(one.values()) for one in counted])
    if explain:
        rows = [[one["id"], one["to"], one["why"]] for one in listed[:MOVES_MAX]]
        output.print_table("", ["memory", "to", "why"], rows)


@app.command("run")
def run(json: options.Json = False) -> None:
    """Sweep now, as the daemons do by themselves; exit code 5 while another one sweeps."""

    async def work() -> Any:
        async with _opened() as tiers:
            if (done := await tiers.sweep()) is None:
                raise Overloaded("tiers: a daemon sweeps at this moment", retry_after_seconds=5)
            return done

    done = output.run(work())
    if json:
        output.print_json(done)
    else:
        output.print_fields(msgspec.to_builtins(done))


@app.command("why")
def why(
    id: options.MemoryId,
    tenant: Annotated[str, typer.Option("--tenant", envvar="MEMORYD_TENANT", help="Whose memory.")] = "default",
    project: Annotated[str, typer.Option("--project", envvar="MEMORYD_PROJECT", help="Of which project.")] = "default",
    json: options.Json = False,
) -> None:
    """Show a memory's heat, what holds it, and what a sweep would do with it."""

    async def work() -> Any:
        async with _opened() as tiers:
            if (found := await tiers.explain(Scope(tenant, project).check(), id)) is None:
                raise NotFound(f"{id}: Redis does not hold it: it is in the archive, or nowhere", id=id)
            return found

    found = output.run(work())
    if json:
        output.print_json(found)
    else:
        output.print_fields(msgspec.to_builtins(found))


@app.command("vector-index")
def vector_index(
    drop: Annotated[bool, typer.Option("--drop", help="Drop it: deep recalls look at every vector of their scope again.")] = False,
    json: options.Json = False,
) -> None:
    """Make the index by which deep recalls of large scopes are answered, if it is not there, and say what it is like.

    It needs a MongoDB with search: Atlas, or 8.2 and later with mongot. The server builds it by itself, which takes a while.
    Of another model's dimensions it is of no use: drop it, and make it again. It is one more copy of vectors, tags and names of
    scopes, which forgets when it follows MongoDB.
    """
    told = output.run(_vector_index(drop))
    if json:
        output.print_json(told)
    else:
        output.print_fields(told)


async def _vector_index(drop: bool) -> dict[str, Any]:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.archive.vector_search import NAME, fits
    from memoryd.config import load_settings
    from memoryd.hot.client import hot_errors, open_redis
    from memoryd.keys import SCHEMA
    from memoryd_schemas.redis_state import load_state

    settings = load_settings()
    async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as mongo:
        search = Archive(mongo[settings.mongo_database]).vector_search
        if drop:
            await search.drop()
            return {"index": NAME, "status": "dropped"}
        with hot_errors("look at the schema"):
            state = await load_state(redis, SCHEMA)
        if state is None or state.vectors is None:
            raise NotFound("vector-index: Redis knows of no vectors yet", hint="start a daemon with a model: `memoryd serve`")
        dims = state.vectors.settings.dims
        if (there := await search.index()) is None:
            await search.make(dims)
            there = await search.index() or {}
        return {"index": NAME, "status": there.get("status", "PENDING"), "dimensions": dims, "used": fits(there, dims)}


@asynccontextmanager
async def _opened() -> AsyncIterator[Tiering]:
    from memoryd.clock import SystemClock
    from memoryd.config import load_settings
    from memoryd.lifecycle.moving import Mover
    from memoryd.lifecycle.tiering import Tiering
    from memoryd.stores import open_both

    settings = load_settings()
    async with open_both(settings) as (records, archive, model):
        mover = Mover(records, archive, model=model)
        yield Tiering(records, mover, settings.tiers, SystemClock())
