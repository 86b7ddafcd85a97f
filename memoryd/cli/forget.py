"""memoryd forget: memories by id or by what they have in common; its receipts, and a look whether they are true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from memoryd.cli import options, output
from memoryd.errors import BadRequest

if TYPE_CHECKING:
    from memoryd.model.receipt import ForgetPlan, FullReceipt, Verification

SHOWN_MAX = 10  # memories of a plan that a person reads before deciding; `--dry-run --json` has them all
NOT_TRUE = 1
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


class WithDefault(TyperGroup):
    """A group that takes every word which is none of its commands for its default command's."""

    default = "memories"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default command in front of what names no other."""
        if not args or args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=WithDefault, help="Remove memories for good; see its receipts, and verify them.", pretty_exceptions_enable=False
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command(
    "memories", epilog="Also: memoryd forget receipts [ID], memoryd forget verify ID. Sizes of time: 90s, 15m, 12h, 30d, 4w."
)
@options.scoped
def memories(
    target: options.Target,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of memories (mem_…).", show_default=False)] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="With one of these tags; may be repeated.")] = None,
    type: Annotated[list[str] | None, typer.Option("--type", help="Of one of these types; may be repeated.")] = None,
    older_than: Annotated[str, typer.Option("--older-than", help="Stored longer ago, for instance 30d.")] = "",
    before: Annotated[str, typer.Option("--before", help="Stored before, for instance 2026-05-08T13:56:00Z.")] = "",
    words: Annotated[str, typer.Option("--words", help="Whose content has all of these words, whole.")] = "",
    query: Annotated[str, typer.Option("--query", help="What recall finds for it; look at the plan first.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="How many hits of the query at most.")] = 10,
    min_score: Annotated[float, typer.Option("--min-score", help="Only hits of the query with this score.")] = 0.0,
    everything: Annotated[bool, typer.Option("--everything", help="The whole scope.")] = False,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Also what is related. What was made of them goes in any case.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, and forget nothing.")] = False,
    rewrite_aof: Annotated[
        bool, typer.Option("--rewrite-aof", help="Have Redis write its files anew, and wait for it.")
    ] = False,
    yes: Yes = False,
    durability: options.Durability = "archived",
    json: options.Json = False,
) -> None:
    """Remove memories for good, by id or by what they have in common, and what was made of them. Prints the receipt.

    All that is given must hold. It shows what it will remove, and asks; what it then removes is exactly that.
    """

    async def work() -> list[str] | None:
        selection = _selection(
            ids=ids, session=target.session, tags=tag, types=type, before=before, words=words, query=query,
            older_than_seconds=seconds_of(older_than), everything=everything,
        )  # fmt: skip
        if query:
            selection |= {"limit": limit, "min_score": min_score}
        if not selection:
            raise BadRequest(
                "nothing was selected", hint="give ids or criteria, or --everything for the whole scope; see --help"
            )
        alone = set(selection) - {"session"} == {"ids"} and not (cascade or dry_run or rewrite_aof)
        async with target.connect() as memory:
            if alone and len(selection["ids"]) == 1:
                await _forget_one(memory, selection["ids"][0], durability, yes=yes, json=json)
                return None
            await memory.stats()  # says soon that nobody is there; the next answer may take long
            if rewrite_aof:
                await memory.rewrite_aof(dry_run=True)  # refused before anything is forgotten
            digest = None
            if dry_run or not yes:
                plan = await memory.plan_forget(cascade=cascade, **selection)
                if dry_run:
                    _print_plan(plan, json=json)
                    return None
                _ask(plan)
                digest = plan.digest
            receipt = await memory.forget_many(cascade=cascade, if_plan=digest, durability=durability, **selection)
            _print_receipt(receipt, json=json)
            return await memory.rewrite_aof() if rewrite_aof else None

    rewritten = output.run(work())
    if rewritten:
        typer.echo(f"Redis has written its files anew: {', '.join(rewritten)}", err=True)
    elif rewritten is not None:
        typer.echo("Redis did not finish writing its files anew in time; it goes on", err=True)
        raise typer.Exit(output.PARTIAL)


@app.command("receipts")
@options.scoped
def receipts(
    target: options.Target,
    id: Annotated[str, typer.Argument(help="A receipt's id (rcp_…): show it whole.", show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", help="How many at most.")] = 50,
    before: Annotated[int, typer.Option("--before", help="Only those with a lower number.", show_default=False)] = 0,
    json: options.Json = False,
) -> None:
    """List what was forgotten in the scope, newest first; or show one receipt."""

    async def work() -> Any:
        async with target.connect() as memory:
            return await memory.receipt(id) if id else await memory.receipts(before_seq=before or None, limit=limit)

    found = output.run(work())
    if json:
        output.print_json(found)
    elif id:
        _print_receipt(found, json=False)
        output.print_table("", ["memory", "version", "why"], [[m.id, m.version, m.reason] for m in found.memories])
    else:
        rows = [[one.seq or "-", one.id, one.asked_at, one.count, one.agent, one.session, one.asked_by] for one in found]
        output.print_table("", ["number", "receipt", "asked at", "memories", "agent", "session", "by"], rows)


@app.command("verify")
@options.scoped
def verify(
    target: options.Target,
    id: Annotated[str, typer.Argument(help="The receipt's id (rcp_…).", show_default=False)],
    chain: Annotated[bool, typer.Option("--chain", help="Look at all receipts of the project.")] = False,
    json: options.Json = False,
) -> None:
    """Look again, everywhere, for what a receipt says is gone. Exit code 1: something is there, or not as it says."""

    async def work() -> Verification:
        async with target.connect() as memory:
            await memory.stats()
            return await memory.verify_receipt(id, chain=chain)

    found = output.run(work())
    if json:
        output.print_json(found)
    else:
        if found.findings:
            rows = [[one.where, one.id, one.what] for one in found.findings]
            output.print_table("", ["where", "what", "finding"], rows)
        output.print_fields(
            {"receipt": found.id, "findings": found.found, "looked at": found.looked, "stored again": found.stored_again}
        )
    if not found.ok:
        raise typer.Exit(NOT_TRUE)


async def _forget_one(memory: Any, memory_id: str, durability: str, *, yes: bool, json: bool) -> None:
    if not yes:
        output.confirm(
            f"Forget {memory_id} with all its versions and what was made of it, in Redis and in MongoDB?"
        )
    receipt = await memory.forget(memory_id, durability=durability)
    if json:
        output.print_json(receipt)
    else:
        import msgspec

        output.print_fields(msgspec.structs.asdict(receipt))


def _selection(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value}


def seconds_of(text: str) -> int | None:
    """A length of time, for instance 30d. Raises BadRequest."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if not found:
        raise BadRequest("--older-than: expected a number and s, m, h, d or w, for instance 30d", field="older_than")
    return int(found[1]) * UNITS[found[2]]


def _ask(plan: ForgetPlan) -> None:
    """Shows what will be removed, on stderr, and asks."""
    if plan.degraded:
        typer.echo(plan.degraded, err=True)
    for one in plan.memories[:SHOWN_MAX]:
        typer.echo(f"  {one.id}  version {one.version}  {one.type}  {one.where}  {one.reason}", err=True)
    if plan.count > SHOWN_MAX:
        typer.echo(f"  … and {plan.count - SHOWN_MAX} more", err=True)
    output.confirm(f"Forget these {plan.count} memories ({_counts(plan.removes)}) for good?")


def _print_plan(plan: ForgetPlan, *, json: bool) -> None:
    if json:
        output.print_json(plan)
        return
    rows = [[one.id, one.version, one.type, one.where, one.reason] for one in plan.memories]
    output.print_table("", ["memory", "version", "type", "where", "why"], rows)
    output.print_fields(
        {"memories": plan.count, "removes": _counts(plan.removes), "digest": plan.digest, "degraded": plan.degraded}
    )


def _print_receipt(receipt: FullReceipt, *, json: bool) -> None:
    if json:
        output.print_json(receipt)
        return
    output.print_fields(
        {
            "receipt": receipt.id, "number": receipt.seq or None, "memories": receipt.count,
            "removed": _counts(receipt.removed), "asked at": receipt.asked_at, "asked by": receipt.asked_by,
            "durability": receipt.durability, "hash": receipt.hash,
        }
    )  # fmt: skip


def _counts(removed: dict[str, dict[str, int]]) -> str:
    return "; ".join(
        f"{store}: " + ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
        for store, kinds in removed.items()
    )
