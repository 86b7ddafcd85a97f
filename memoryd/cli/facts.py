"""memoryd facts put | find | end"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from memoryd.cli import options, output

app = typer.Typer(help="What is held for true: subject, predicate, object, when, and how surely.", no_args_is_help=True)

Subject = Annotated[str, typer.Argument(help="Of whom or what.", show_default=False)]
Predicate = Annotated[str, typer.Argument(help="What is said of it, for instance lives_in.", show_default=False)]


@app.command("put")
@options.scoped
def put(
    target: options.Target,
    subject: Subject,
    predicate: Predicate,
    object: Annotated[str, typer.Argument(help="What it is.", show_default=False)],
    confidence: Annotated[float, typer.Option("--confidence", min=0, max=1, help="How sure it is.")] = 1.0,
    many: Annotated[bool, typer.Option("--many", help="It may have other objects beside this one.")] = False,
    valid_from: Annotated[
        str, typer.Option("--valid-from", help="Since when it is true, e.g. 2026-05-08T13:56:00Z; now without it.")
    ] = "",
    valid_until: Annotated[str, typer.Option("--valid-until", help="Until when; no end without it.")] = "",
    durability: options.Durability = "hot",
    json: options.Json = False,
) -> None:
    """Say a fact. What held of this subject and predicate ends when it begins, and is kept."""
    details: dict[str, Any] = {"confidence": confidence, "many": many, "durability": durability}
    details |= {name: text for name, text in (("valid_from", valid_from), ("valid_until", valid_until)) if text}

    async def work() -> None:
        async with target.connect() as memory:
            done = await memory.facts.put(subject, predicate, object, **details)
        output.print_one(done, json=json)

    output.run(work())


@app.command("find")
@options.scoped
def find(
    target: options.Target,
    subject: Annotated[str, typer.Argument(help="Of whom or what; of all without it.")] = "",
    predicate: Annotated[str, typer.Option("--predicate", help="Only this predicate.")] = "",
    object: Annotated[str, typer.Option("--object", help="Only with this object.")] = "",
    at: Annotated[str, typer.Option("--at", help="What was true then, e.g. 2026-05-08T13:56:00Z; now without it.")] = "",
    ever: Annotated[bool, typer.Option("--ever", help="Whenever it is or was true.")] = False,
    confidence: Annotated[float, typer.Option("--confidence", min=0, max=1, help="Only what is at least so sure.")] = 0.0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many.")] = 50,
    json: options.Json = False,
) -> None:
    """Show what is true, or was: by subject, predicate and object, now or at another moment."""
    wanted: dict[str, Any] = {"ever": ever, "confidence_min": confidence, **({"at": at} if at else {})}

    async def work() -> None:
        async with target.connect() as memory:
            found = await memory.facts.find(subject, predicate, object, limit=limit, **wanted)
        if json:
            output.print_json(found)
            return
        rows = [
            [one.subject, one.predicate, one.object, one.confidence, one.valid_from, one.valid_until, one.id]
            for one in found.facts
        ]
        output.print_table("", ["subject", "predicate", "object", "confidence", "since", "until", "id"], rows)
        if found.degraded:
            typer.echo(found.degraded, err=True)

    output.run(work())


@app.command("end")
@options.scoped
def end(
    target: options.Target,
    subject: Subject,
    predicate: Predicate,
    object: Annotated[str, typer.Option("--object", help="Only this object.")] = "",
    at: Annotated[str, typer.Option("--at", help="Since when it holds no longer; now without it.")] = "",
    json: options.Json = False,
) -> None:
    """Say that something holds no longer. It is kept, with its end."""
    when: dict[str, Any] = {"at": at} if at else {}

    async def work() -> None:
        async with target.connect() as memory:
            ended = await memory.facts.end(subject, predicate, object, **when)
        if json:
            output.print_json({"ended": ended})
        else:
            output.print_fields({"ended": ended})

    output.run(work())
