"""Options that several verbs share, each declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from memoryd.protocol.client import MemoryClient

DEFAULT_URL = "redis://127.0.0.1:6379"

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
Wait = Annotated[
    str | None,
    typer.Option("--wait", help="searchable: acknowledge only when it is found by its meaning, too.", show_default=False),
]
MemoryId = Annotated[str, typer.Argument(help="The memory's id (mem_…).", show_default=False)]


@dataclass(frozen=True)
class Target:
    """Which daemons a verb asks, and for which scope."""

    url: Url = DEFAULT_URL
    tenant: Tenant = "default"
    project: Project = "default"
    agent: Agent = ""
    session: Session = ""

    def connect(self) -> MemoryClient:
        """A client for this scope."""
        from memoryd import connect

        return connect(self.url, tenant=self.tenant, project=self.project, agent=self.agent, session=self.session)


def scoped(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb the options of a scope; the verb itself takes them as one `target`."""
    own = [one for one in inspect.signature(verb, eval_str=True).parameters.values() if one.name != "target"]
    shared = list(inspect.signature(Target, eval_str=True).parameters.values())

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        target = Target(**{one.name: given.pop(one.name) for one in shared})
        verb(target=target, **given)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
    # What typer reads: the verb's own parameters, then the scope's.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
