"""How the demo speaks: chapters, sentences, tables. On a terminal in colours, in a pipe as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from memoryd.retry import heed_cancellation

CONTENT_CHARS = 150  # of a memory in a table: enough to recognise it


class Voice:
    """One console. Nothing that a memory says is taken for markup."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._chapters = 0

    def chapter(self, title: str, explanation: str) -> None:
        """Begin a chapter: its number and title, and what it is about. After a Ctrl-C none begins."""
        heed_cancellation()
        self._chapters += 1
        self.console.print()
        self.console.print(f"{self._chapters}. {title}", style="bold cyan")
        self.console.print(explanation, style="dim")

    def say(self, sentence: str, *, style: str = "") -> None:
        """A sentence of the story."""
        self.console.print(sentence, style=style)

    def typed(self, text: str) -> None:
        """Something as one would type it."""
        self.console.print(Padding(Text(text, style="green"), (0, 0, 0, 4)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
        """Rows under column heads."""
        table = Table(
            title=title or None, title_justify="left", title_style="", header_style="bold", box=box.SIMPLE_HEAD
        )
        for column in columns:
            table.add_column(column, overflow="fold", justify="right" if column in NUMBERS else "left")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
        self.console.print(table)

    def fields(self, title: str, fields: Iterable[tuple[str, Any]]) -> None:
        """Names and values, under a line that says of what."""
        self.console.print(title)
        table = Table(show_header=False, box=None, padding=(0, 1, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in fields:
            table.add_row(name, Text(str(value)))
        self.show(table)

    def show(self, what: RenderableType) -> None:
        """Anything else that rich can print, indented."""
        self.console.print(Padding(what, (0, 0, 0, 4)))

    def progress(self, doing: str) -> Progress:
        """A bar that vanishes when it is done; none in a pipe."""
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)


NUMBERS = frozenset({"score", "ms", "expected", "found", "before", "after"})


def short(text: str) -> str:
    """The beginning of a text, on one line."""
    return textwrap.shorten(text, CONTENT_CHARS, placeholder=" …")
