"""The command `memoryd`: one file a verb, shared options in `options`, output and exit codes in `output`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from memoryd.cli import (
    agent,
    channel,
    compress,
    config,
    day,
    demo,
    doctor,
    duplicates,
    explain,
    export,
    facts,
    feedback,
    forget,
    get,
    health,
    import_,
    insight,
    jobs,
    lease,
    mcp,
    model,
    output,
    recall,
    rehydrate,
    reindex,
    retention,
    seen,
    serve,
    session,
    share,
    stats,
    store,
    sync,
    tiers,
    top,
    trace,
    up,
    update,
    version,
    why,
)

app = typer.Typer(
    name="memoryd",
    help="The memory of AI agents: hot in Redis Stack, everything ever known in MongoDB, one story in both.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such memory or session, 4 version conflict, 5 nobody answers, "
    "6 done in part.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def memoryd(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=version.show, help="Show the versions of memoryd and what it stands on, and leave."
        ),
    ] = False,
) -> None:
    """The options that stand before any command."""


app.command("up")(up.up)
app.command("serve")(serve.serve)
app.command("sync", context_settings=sync.PASSED_ON)(sync.sync)
app.command("store")(store.store)
app.command("recall")(recall.recall)
app.command("count")(recall.count)
app.command("explain")(explain.explain)
app.command("feedback")(feedback.feedback)
app.command("get")(get.get)
app.command("update")(update.update)
app.command("share")(share.share)
app.command("unshare")(share.unshare)
app.command("seen")(seen.seen)
app.command("stats")(stats.stats)
app.command("why")(why.why)
app.command("trace")(trace.trace)
app.command("top")(top.top)
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.command("summarize")(compress.summarize)
app.command("compress")(compress.compress)
app.command("expand")(compress.expand)
app.command("day")(day.day)
app.command("rehydrate")(rehydrate.rehydrate)
app.command("duplicates")(duplicates.duplicates)
app.command("import")(import_.import_)
app.command("export")(export.export)
app.command("demo")(demo.demo)
app.command("mcp")(mcp.mcp)
app.command("config")(config.config)
app.command("reindex")(reindex.reindex)
app.add_typer(session.app, name="session")
app.add_typer(agent.app, name="agent")
app.add_typer(lease.app, name="lease")
app.add_typer(channel.app, name="channel")
app.add_typer(facts.app, name="facts")
app.add_typer(forget.app, name="forget")
app.add_typer(tiers.app, name="tiers")
app.add_typer(retention.app, name="retention")
app.add_typer(jobs.app, name="jobs")
app.add_typer(model.app, name="model")
app.add_typer(insight.app, name="insight")


def main() -> None:
    """The console script."""
    try:
        app()
    except ModuleNotFoundError as error:
        sys.exit(output.extra_missing(error))
