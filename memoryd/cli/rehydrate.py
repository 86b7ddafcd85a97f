"""memoryd rehydrate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.model.scope import Scope

if TYPE_CHECKING:
    from memoryd.archive.store import Archive
    from memoryd.hot.records import Records
    from memoryd.lifecycle.rehydrating import Rehydrated


@options.scoped
def rehydrate(
    target: options.Target,
    archived: Annotated[
        bool, typer.Option("--archived", help="Also what summaries stand for, and what was merged into another memory.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come, and change nothing.")] = False,
    json: options.Json = False,
) -> None:
    """Bring a session, an agent (--agent) or a whole project back to Redis, contents and all, from MongoDB (MEMORYD_MONGO_URL).

    The warmest first, as far as the limits of the tier short and Redis's memory leave room (MEMORYD_TIERS); what is left is
    told by why. With --session its messages and variables come, too. Exit code 6: there was no room for all.
    """
    done = output.run(_rehydrate(target, archived=archived, dry_run=dry_run))
    output.print_one(done, json=json)
    if set(done.left) - {"archived"}:
        raise typer.Exit(output.PARTIAL)


async def _rehydrate(target: options.Target, *, archived: bool, dry_run: bool) -> Rehydrated:
    from memoryd.clock import SystemClock
    from memoryd.config import load_settings
    from memoryd.lifecycle.moving import Mover
    from memoryd.lifecycle.rehydrating import Rehydrating
    from memoryd.stores import open_both

    settings = load_settings(redis_url=target.url)
    scope = Scope(target.tenant, target.project, target.agent, target.session).check()
    async with open_both(settings) as (records, archive, model):
        mover = Mover(records, archive, model=model)
        work = Rehydrating(records, archive, mover, settings.tiers, SystemClock(), model=model)
        with output.progress() as progress:
            bar = progress.add_task("bringing back", total=None)
            done = await work.run(
                scope, archived=archived, dry_run=dry_run,
                progress=lambda count, total: progress.update(bar, completed=count, total=total),
            )  # fmt: skip
        if scope.session:
            done = msgspec.structs.replace(done, session=await _session(scope, records, archive, dry_run=dry_run))
    return done


async def _session(scope: Scope, records: Records, archive: Archive, *, dry_run: bool) -> str:
    """Where the session itself was: hot, archive, or missing. It is in Redis then."""
    from memoryd.agent.documents import DocumentStore
    from memoryd.agent.session_archive import SessionArchive
    from memoryd.archive.documents import DocumentArchive
    from memoryd.clock import SystemClock
    from memoryd.hot.documents import Documents
    from memoryd.hot.sessions import Sessions
    from memoryd.model.session import session_place

    documents = Documents(records.redis, records.keys)
    store = DocumentStore(documents, DocumentArchive(archive), SystemClock())
    place = session_place(scope)
    if await Sessions(documents).head(place):
        return "hot"
    if (found := await store.archived(place)) is None:
        return "missing"
    if not dry_run:
        await SessionArchive(store).bring_back(found)
    return "archive"
