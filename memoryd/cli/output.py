"""What the command prints: tables for people, JSON for pipes, errors on stderr with an exit code for each kind."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from memoryd.errors import (
    ArchiveUnavailable,
    BadRequest,
    Conflict,
    HotUnavailable,
    MemorydError,
    NoAnswer,
    NotFound,
    Overloaded,
    ServersUnavailable,
)

if TYPE_CHECKING:
    from msgspec import Struct
    from rich.progress import Progress
    from rich.text import Text

# What draws and what encodes is imported where it is used: most commands need one of them, and none needs all.

FAILED, USAGE, NOT_FOUND, CONFLICT, NO_ANSWER, PARTIAL = 1, 2, 3, 4, 5, 6
INTERRUPTED = 130

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a verb; an error goes to stderr in our words and ends the command with its exit code."""
    import asyncio

    try:
        return asyncio.run(work)
    except MemorydError as error:
        fail(error)
    except BaseExceptionGroup as group:  # of a task group: its first error ended the others
        errors, others = group.split(MemorydError)
        if errors is None or others is not None:
            raise
        fail(_first(errors))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _first(group: BaseExceptionGroup[MemorydError]) -> MemorydError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def fail(error: MemorydError) -> NoReturn:
    """Ends the command."""
    _say(error)
    raise typer.Exit(exit_code(error))


def extra_missing(error: ModuleNotFoundError) -> int:
    """Says which extra brings the package that a command needs; returns the exit code."""
    package = (error.name or "").partition(".")[0]
    if package.startswith("memoryd"):
        raise error  # ours: a broken installation, not a light one
    extra = "mcp" if package == "mcp" else "daemon"
    _say(MemorydError(f"this command needs the package {package}", hint=f"pip install 'memoryd[{extra}]'"))
    return FAILED


def _say(error: MemorydError) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    console.print(shown(f"memoryd: {error.message}"), style="red", soft_wrap=True)
    if error.hint:
        console.print(shown(f"hint: {error.hint}"), soft_wrap=True)  # a path or a command stays in one piece


def exit_code(error: MemorydError) -> int:
    """The exit code of a kind of error."""
    match error:
        case NotFound():
            return NOT_FOUND
        case Conflict():
            return CONFLICT
        case NoAnswer() | HotUnavailable() | ArchiveUnavailable() | Overloaded() | ServersUnavailable():
            return NO_ANSWER
        case BadRequest():
            return USAGE
    return FAILED


def confirm(question: str) -> None:
    """Asks on stderr, and ends the command unless the answer is yes. (`typer.confirm` writes to stdout as well.)"""
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(FAILED)


def progress() -> Progress:
    """Bars on stderr while work goes on; none where nobody watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_one(value: Struct, *, json: bool) -> None:
    """One answer: as JSON, or its names and values for people."""
    import msgspec

    if json:
        print_json(value)
    else:
        print_fields(msgspec.structs.asdict(value))


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table for people. Neither markup nor a control sequence in a memory's text is obeyed: both are shown."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell(value)) for value in row))
    Console(highlight=False).print(table)


def shown(words: str) -> Text:
    """Words of somebody else for a terminal: neither markup nor a control sequence in them is obeyed, both are shown."""
    from rich.text import Text

    return Text(words.translate(_SHOWN))


def print_fields(fields: dict[str, Any]) -> None:
    """Names and values, one a line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, shown(cell(value)))
    Console(highlight=False).print(table)


# A terminal obeys control characters: they can retitle its window, rewrite what stands above, or hide a line.
_SHOWN = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ("", [], {}):
        return "-"
    match value:
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:.3f}"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}: {cell(item)}" for key, item in value.items())
    return str(value)
