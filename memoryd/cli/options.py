"""Options that several verbs share, each declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoryd.errors import BadRequest
from memoryd.limits import WORKERS_MAX

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
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        max=WORKERS_MAX,
        help="Daemons side by side, each a process with its own model; one that dies is replaced.",
    ),
]
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


_PANEL = "Among which memories"


def _among(help: str, *names: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, show_default=False)


@dataclass(frozen=True)
class Among:
    """Which memories a verb looks at."""

    type: Annotated[list[str] | None, _among("Only this type; may be repeated.", "--type")] = None
    tag: Annotated[list[str] | None, _among("Only with this tag; may be repeated.", "--tag")] = None
    tier: Annotated[list[str] | None, _among("Only of this tier; may be repeated.", "--tier")] = None
    metadata: Annotated[
        list[str] | None, _among("Only with this NAME=VALUE in the metadata; may be repeated.", "--metadata")
    ] = None
    valid_since: Annotated[datetime | None, _among("Only what was true then or later (UTC).")] = None
    valid_before: Annotated[datetime | None, _among("Only what has been true before then (UTC).")] = None
    recorded_since: Annotated[datetime | None, _among("Only what was written then or later (UTC).")] = None
    recorded_before: Annotated[datetime | None, _among("Only what was written before then (UTC).")] = None

    def given(self) -> dict[str, Any]:
        """As the client's verbs take them. Raises BadRequest."""
        metadata: dict[str, list[str]] = {}
        for pair in self.metadata or ():
            name, equals, value = pair.partition("=")
            if not equals:
                raise BadRequest("--metadata: expected NAME=VALUE", field="metadata")
            metadata.setdefault(name, []).append(value)
        times = {name: getattr(self, name) for name in ("valid_since", "valid_before", "recorded_since", "recorded_before")}
        return {
            "types": self.type or [], "tags": self.tag or [], "tiers": self.tier or [], "metadata": metadata,
            **{name: moment.replace(tzinfo=UTC) for name, moment in times.items() if moment is not None},
        }  # fmt: skip


_SHARED: dict[str, Any] = {"among": Among, "target": Target}


def scoped(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb the options of a scope, which it takes as one `target`; and of filters, if it takes them as `among`."""
    taken = inspect.signature(verb, eval_str=True).parameters
    own = [one for one in taken.values() if one.name not in _SHARED]
    groups = {
        name: list(inspect.signature(group, eval_str=True).parameters.values())
        for name, group in _SHARED.items()
        if name in taken
    }

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        shared = {
            name: _SHARED[name](**{one.name: given.pop(one.name) for one in options}) for name, options in groups.items()
        }
        verb(**shared, **given)

    shared = [one for options in groups.values() for one in options]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
    # What typer reads: the verb's own parameters, then the scope's.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
