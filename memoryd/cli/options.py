"""Options that several verbs share, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str, typer.Option("--url", envvar="MEMORYD_REDIS_URL", help="Redis of the daemons.", rich_help_panel="Scope")
]
Tenant = Annotated[
    str, typer.Option("--tenant", envvar="MEMORYD_TENANT", help="Whose memories.", rich_help_panel="Scope")
]
Project = Annotated[
    str, typer.Option("--project", envvar="MEMORYD_PROJECT", help="Which project's.", rich_help_panel="Scope")
]
Agent = Annotated[
    str,
    typer.Option(
        "--agent",
        envvar="MEMORYD_AGENT",
        help="One agent's only; all of the project's without it.",
        rich_help_panel="Scope",
    ),
]
Session = Annotated[str, typer.Option("--session", help="One session's only.", rich_help_panel="Scope")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a pipe.")]
Durability = Annotated[
    str,
    typer.Option("--durability", help="Acknowledge when it is hot, fsync (on Redis's disk) or archived (in MongoDB)."),
]
MemoryId = Annotated[str, typer.Argument(help="The memory's id (mem_…).", show_default=False)]

DEFAULT_URL = "redis://127.0.0.1:6379"
