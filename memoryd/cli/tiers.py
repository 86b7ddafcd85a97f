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
