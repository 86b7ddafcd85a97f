"""memoryd demo"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from memoryd.cli import output

Conversation = Annotated[
    Path | None,
    typer.Option(
        "--conversation",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        show_default=False,
        help="A file in the LoCoMo format, whose first conversation is taken; without it the data set or our own.",
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        metavar="DIR",
        file_okay=False,
        show_default=False,
        help="Keep the data in this new folder; without it all of it is removed at the end.",
    ),
]


def demo(conversation: Conversation = None, keep: Keep = None) -> None:
    """Watch a long conversation become memories, on real servers, from the first request to the last count."""
    from rich.console import Console

    from memoryd.demo.story import tell

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Unicode still gets the story
    right = output.run(tell(Console(highlight=False, markup=False), conversation, keep))
    if right is None:
        raise typer.Exit(130)
    if not right:
        raise typer.Exit(output.FAILED)
