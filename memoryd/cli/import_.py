"""memoryd import"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.cli import options, output
from memoryd.errors import MemorydError

if TYPE_CHECKING:
    from memoryd.exchange import Item

BATCH = 64  # memories of one request: a progress bar that moves, and a retry that repeats little


@dataclass
class Report:
    """What became of a file's memories."""

    stored: int = 0
    reinforced: int = 0
    already: int = 0  # by an earlier run of the same import
    failed: list[str] = field(default_factory=list)


def import_(
    file: Annotated[
        Path, typer.Argument(help="JSONL, a message list, or LoCoMo conversations.", exists=True, dir_okay=False)
    ],
    format: Annotated[str, typer.Option("--format", help="auto, jsonl, messages or locomo.")] = "auto",
    conversation: Annotated[str | None, typer.Option("--conversation", help="Only this one of the file.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Store everything once more; otherwise a repeat within a day resumes.")
    ] = False,
    url: options.Url = options.DEFAULT_URL,
    tenant: options.Tenant = "default",
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            envvar="MEMORYD_PROJECT",
            help="Put all in this project; else the file's own, else default.",
            rich_help_panel="Scope",
        ),
    ] = None,
    agent: options.Agent = "",
    json: options.Json = False,
) -> None:
    """Store the memories of a file. What cannot be stored is named on stderr, and the rest is stored (exit code 6).

    A LoCoMo conversation becomes a project, its turns episodic memories in their sessions, valid from their dates.
    """
    report = output.run(_import(file, format, conversation, again, url, Scoping(tenant, project, agent)))
    counts = {"stored": report.stored, "reinforced": report.reinforced, "already": report.already}
    if json:
        output.print_json({**counts, "failed": report.failed})
    else:
        output.print_fields({**counts, "failed": len(report.failed)})
    for line in report.failed:
        typer.echo(line, err=True)
    if report.failed:
        raise typer.Exit(output.PARTIAL)


@dataclass(frozen=True)
class Scoping:
    """Where items go: the command's names first, then the file's."""

    tenant: str
    project: str | None
    agent: str

    def of(self, item: Item) -> tuple[str, str]:
        """Project and agent of an item."""
        return self.project or item.get("project") or "default", self.agent or item.get("agent") or ""


async def _import(file: Path, format: str, conversation: str | None, again: bool, url: str, scoping: Scoping) -> Report:
    report = Report()
    # Requests are named after the import, so that repeating one that was cut off stores nothing twice.
    run = secrets.token_hex(8) if again else _digest(file, format, conversation, scoping)
    with output.progress() as progress:
        bar = progress.add_task("storing", total=None)
        for number, (names, items) in enumerate(_batches(file, format, conversation, scoping, report)):
            await _store(url, scoping.tenant, names, items, f"import-{run}-{number}", report)
            progress.advance(bar, len(items))
    return report


async def _store(
    url: str, tenant: str, names: tuple[str, str], items: list[dict[str, Any]], request_id: str, report: Report
) -> None:
    from memoryd import connect

    project, agent = names
    async with connect(url, tenant=tenant, project=project, agent=agent) as memory:
        answers = await memory.store_many(items, request_id=request_id)
    for answer in answers:
        if isinstance(answer, MemorydError):
            report.failed.append(answer.message)
        elif answer.replayed:
            report.already += 1
        elif answer.outcome == "reinforced":
            report.reinforced += 1
        else:
            report.stored += 1


def _batches(
    file: Path, format: str, conversation: str | None, scoping: Scoping, report: Report
) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Up to BATCH items of one project and agent at a time, in the file's order; bad ones go to the report."""
    from memoryd.exchange import BadItem, read

    names: tuple[str, str] | None = None
    batch: list[dict[str, Any]] = []
    for item in read(file, format=format, conversation=conversation):
        if isinstance(item, BadItem):
            report.failed.append(str(item))
            continue
        if batch and (names != scoping.of(item) or len(batch) == BATCH):
            assert names is not None
            yield names, batch
            batch = []
        names = scoping.of(item)
        batch.append({name: value for name, value in item.items() if name not in ("project", "agent")})
    if batch and names is not None:
        yield names, batch


def _digest(file: Path, *options: object) -> str:
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(repr(options).encode())
    return digest.hexdigest()[:16]
