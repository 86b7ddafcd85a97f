"""`memoryd sync …`: without a word the service; with one, a look at it or a hand for it."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_text
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from memoryd.archive.documents import DocumentArchive
from memoryd.archive.store import Archive
from memoryd.cli import options, output
from memoryd.clock import SystemClock
from memoryd.config import Kept, LogsKept, Settings, load_settings
from memoryd.hot.documents import Documents
from memoryd.hot.records import Records
from memoryd.interpreter import serve_for_weeks
from memoryd.limits import FOLLOW_BATCH_MAX
from memoryd.retry import stop_on_signals
from memoryd.stores import open_both
from memoryd_sync.dead import DeadLetters
from memoryd_sync.documents import DocumentReconciler
from memoryd_sync.order import put_in_order
from memoryd_sync.projector import Projector
from memoryd_sync.reconcile import Reconciler
from memoryd_sync.service import sync
from memoryd_sync.sound import Soundness, Unsound
from memoryd_sync.status import status as read_status
from memoryd_sync.verifying import Looked, compare
from memoryd_telemetry.logs import setup_logs
from memoryd_telemetry.metrics import setup_metrics
from memoryd_telemetry.tracing import Sampling, setup_tracing

app = typer.Typer(
    name="memoryd sync",
    help="Keep Redis and MongoDB telling one story. Without a command it runs the service (the same as `memoryd-sync`).",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dead_app = typer.Typer(help="What a follower gave up, with its reason.", no_args_is_help=True)
app.add_typer(dead_app, name="dead")

Letter = Annotated[str, typer.Argument(help="The letter's own id, as `dead list` shows it.", show_default=False)]
DIFFERENT = 1


@app.callback(invoke_without_command=True)
def service(context: typer.Context) -> None:
    """Keep Redis and MongoDB telling one story. Without a command it runs the service (the same as `memoryd-sync`)."""
    if context.invoked_subcommand is None:
        with contextlib.suppress(ImportError):
            import uvloop

            uvloop.install()
        output.run(_serve())


@app.command("status")
def status(json: options.Json = False) -> None:
    """Show the lag of each follower in entries and seconds, the place in the change stream, the last gap in it and the
    oplog's window."""

    async def work() -> None:
        async with _opened() as tools:
            now = await read_status(tools.records.redis, tools.archive, tools.records.keys)
        if json:
            output.print_json(now)
            return
        behind = [[one.bucket, one.follower, one.entries, one.seconds] for one in now.lags if one.entries]
        if behind:
            output.print_table("", ["bucket", "follower", "entries behind", "seconds behind"], behind)
        output.print_fields(
            {
                "entries behind": sum(one.entries for one in now.lags),
                "dead letters": now.dead_letters,
                "active follower": now.lease_holder,
                "place": now.place or "none: the follower begins with a whole comparison",
                "place saved": _ago(now.place_age_seconds),
                "place lost": _ago(now.gap_age_seconds) + (f" ({now.gap_why})" if now.gap_why else ""),
                "compared whole": _ago(now.compared_age_seconds),
                "oplog reaches back": "unknown"
                if now.oplog_window_seconds is None
                else f"{now.oplog_window_seconds:.0f} s",
            }
        )

    output.run(work())


@app.command("verify")
def verify(json: options.Json = False) -> None:
    """Compare every memory of Redis with MongoDB's, by version, content, vector and history; of sessions and other
    documents, the versions and the number of messages. Of each record and document, whether it fits the schema, is in its
    index, and has no vector that nobody reads. Exit code 1: they differ, or one is unsound."""
    looked = output.run(_compare())
    _report(looked, [], json=json)
    if looked.wrong:
        raise typer.Exit(DIFFERENT)


@app.command("repair")
def repair(
    json: options.Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be mended, as `verify` does.")
    ] = False,
) -> None:
    """Mend what `verify` finds: the side that is behind is brought up to the other, and nothing forgotten returns. What is
    unsound is replaced by what the other store has. Exit code 6: some is left, because no other store has it."""

    looked, left = (output.run(_compare()), []) if dry_run else output.run(_mend())
    _report(looked, left, json=json)
    if left:
        raise typer.Exit(output.PARTIAL)


@app.command("rebuild")
def rebuild(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring all of MongoDB to Redis again, with vectors, and what only Redis has to MongoDB.

    Agents keep working meanwhile. Nothing in Redis is removed first; a Redis that lost everything is filled.
    """
    if not yes:
        output.confirm("Compare and copy every memory of MongoDB to Redis again?")

    async def work() -> None:
        async with _opened() as tools:
            count = await _with_progress("rebuilding", await tools.archive.size(), tools.rebuild)
            typer.echo(f"{count} documents of MongoDB were applied", err=True)
        looked, _ = await _mend()
        typer.echo(f"{len(looked.differing)} memories were mended", err=True)

    output.run(work())


@dead_app.command("list")
def dead_list(
    after: Annotated[str, typer.Option("--after", help="Only letters after this one.")] = "-",
    json: options.Json = False,
) -> None:
    """List the dead letters, oldest first."""
    letters = output.run(_with_letters(lambda one: one.list(after=after)))
    if json:
        output.print_json(letters)
        return
    rows = [[one.letter, one.group, one.op, one.id, one.reason] for one in letters]
    output.print_table("", ["letter", "follower", "op", "memory", "reason"], rows)


@dead_app.command("show")
def dead_show(letter: Letter, json: options.Json = False) -> None:
    """Show one dead letter whole."""
    one = output.run(_with_letters(lambda letters: letters.show(letter)))
    output.print_one(one, json=json)


@dead_app.command("retry")
def dead_retry(letter: Letter) -> None:
    """Have the memory followed again as it is now, and drop the letter."""
    done = output.run(_with_letters(lambda letters: letters.retry(letter)))
    typer.echo("it is followed again" if done else "there is nothing left to follow; the letter is dropped", err=True)


@dead_app.command("drop")
def dead_drop(letter: Letter) -> None:
    """Remove a dead letter without trying again."""
    output.run(_with_letters(lambda letters: letters.drop(letter)))


# --- what the commands stand on ---------------------------------------------------------------------------------------


class _Tools:
    """Open stores, and what works on them."""

    def __init__(self, records: Records, archive: Archive, model: str) -> None:
        self.records = records
        self.archive = archive
        self._projector = Projector(records, archive, SystemClock())
        self._projector.model = model
        self.soundness = Soundness(records, archive, self._projector)
        self.reconciler = Reconciler(records, archive, self._projector)
        self.documents = DocumentReconciler(Documents(records.redis, records.keys), DocumentArchive(archive))
        self.letters = DeadLetters(records, archive, self._projector.apply_document)

    async def rebuild(self, progress: Callable[[int], None]) -> int:
        """Applies every document of the archive to Redis; returns how many."""
        count = 0
        async for documents in self.archive.batches({}, FOLLOW_BATCH_MAX):
            await self._projector.apply_all(documents, copied=True)
            progress(len(documents))
            count += len(documents)
        await put_in_order(self.records, self._projector.model, asyncio.Event())
        return count


@contextlib.asynccontextmanager
async def _opened() -> AsyncIterator[_Tools]:
    async with open_both(load_settings()) as (records, archive, model):
        yield _Tools(records, archive, model)


async def _compare() -> Looked:
    """A look at every record by itself, and a whole comparison."""
    async with _opened() as tools:
        return await _compared(tools, await _checked(tools))


async def _checked(tools: _Tools) -> list[Unsound]:
    about = await tools.archive.size()  # Redis has about as many
    found: list[Unsound] = await _with_progress("checking", about, lambda one: tools.soundness.look(progress=one))
    return found


async def _compared(tools: _Tools, unsound: list[Unsound]) -> Looked:
    about = 2 * await tools.archive.size()  # both sides are read
    found: Looked = await _with_progress(
        "comparing", about, lambda progress: compare(unsound, tools.reconciler, tools.documents, progress=progress)
    )
    return found


async def _mend() -> tuple[Looked, list[Unsound]]:
    """What differed or was unsound, and was mended (first each record by itself); and what is left unsound."""
    async with _opened() as tools:
        unsound = await _checked(tools)
        left = await tools.soundness.mend(unsound)
        looked = await _compared(tools, unsound)
        await _with_progress(
            "mending", len(looked.differing),
            lambda progress: tools.reconciler.mend(looked.differing, progress=progress),
        )  # fmt: skip
        for place in looked.documents.behind:
            await tools.documents.mend(place)
    return looked, left


async def _with_progress(title: str, total: int, work: Callable[[Callable[[int], None]], Awaitable[Any]]) -> Any:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(title, total=total)
        return await work(lambda count: progress.advance(bar, count))


async def _with_letters(work: Callable[[DeadLetters], Awaitable[Any]]) -> Any:
    async with _opened() as tools:
        return await work(tools.letters)


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s ago"


def _report(looked: Looked, left: list[Unsound], *, json: bool) -> None:
    comparison, documents = looked.comparison, looked.documents
    rows = [[one.place.memory_id, one.kind] for one in looked.differing]
    unsound = [[one.memory_id, one.flaw] for one in looked.unsound]
    if json:
        digests = {bucket: [f"{one:032x}" for one in pair] for bucket, pair in sorted(comparison.digests.items())}
        output.print_json(
            {
                "hot": comparison.hot,
                "archived": comparison.archived,
                "away": comparison.away,
                "differences": [{"id": memory_id, "kind": kind} for memory_id, kind in rows],
                "unsound": [{"id": memory_id, "flaw": flaw} for memory_id, flaw in unsound],
                "left": [one.memory_id for one in left],
                "digests": digests,
                "documents": {"hot": documents.hot, "behind": [one.id for one in documents.behind]},
            }
        )
        return
    rows += [[one.id, "archive holds an older version, or none"] for one in documents.behind]
    if unsound or rows:
        output.print_table("", ["memory or document", "what is wrong"], [*unsound, *rows])
    output.print_fields(
        {
            "memories in Redis": comparison.hot,
            "memories in MongoDB": comparison.archived,
            "of these in the archive only": comparison.away,
            "documents in Redis": documents.hot,
            "unsound": len(unsound),
            "left unsound": len(left),
            "differences": len(rows),
        }
    )


async def _serve() -> None:
    settings: Settings = load_settings()
    setup_logs(settings.log_level, "memoryd-sync", kept=settings.logs is not LogsKept.NONE)
    sampling = Sampling(settings.trace_sample, settings.trace_slow_milliseconds)
    endings = [
        setup_tracing(
            "memoryd-sync", kept=settings.traces is not Kept.NONE, sampling=sampling, stores=settings.trace_stores
        ),
        setup_metrics("memoryd-sync", fetched=bool(settings.sync_health_port), kept=settings.metrics is not Kept.NONE),
    ]
    try:
        await sync(settings, stop_on_signals(), ready=_say_ready)
    finally:
        for end in endings:
            await asyncio.to_thread(end)


def _say_ready() -> None:
    serve_for_weeks()
    sys.stdout.write(json_text.dumps({"ready": True, "service": "sync"}) + "\n")
    sys.stdout.flush()
