"""memoryd trace"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output
from memoryd.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memoryd.traces.span import Span

Slow = Annotated[bool, typer.Option("--slow", help="List what took longest.")]
Errors = Annotated[bool, typer.Option("--errors", help="List what failed lately.")]


def trace(
    id: Annotated[str, typer.Argument(help="A trace's id: 32 hex digits, as logs and lists show it.")] = "",
    slow: Slow = False,
    errors: Errors = False,
    memory: Annotated[
        str, typer.Option("--memory", help="Everything that happened to this memory (mem_…).", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many traces.")] = 20,
    json: options.Json = False,
) -> None:
    """Draw a trace as a tree, with what it has caused later; or list what is slow or failed; or tell a memory's history.

    Needs MEMORYD_TRACES=redis (the latest spans) or mongo (a week of them) where the daemon and sync run, and here.
    """
    if sum(map(bool, (id, slow, errors, memory))) != 1:
        output.fail(BadRequest("expected one of: a trace's id, --slow, --errors, --memory", field="id"))
    spans = output.run(_find(id, memory, slow=slow, limit=limit))
    if json:
        output.print_json(spans)
    elif id or memory:
        _draw(spans)
    else:
        rows = [
            [_when(one), f"{one.milliseconds:.1f}", one.service, one.name, one.error, one.trace_id] for one in spans
        ]
        output.print_table("", ["when", "ms", "service", "span", "error", "trace"], rows)


async def _find(id: str, memory: str, *, slow: bool, limit: int) -> Sequence[Span]:
    from contextlib import AsyncExitStack

    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import Kept, load_settings
    from memoryd.errors import ConfigError
    from memoryd.hot.client import open_redis
    from memoryd.traces.find import Traces

    settings = load_settings()
    if settings.traces is Kept.NONE:
        raise ConfigError(
            "MEMORYD_TRACES is none: no spans are kept",
            hint="set MEMORYD_TRACES=redis, or mongo, for the daemon, for sync and here",
        )
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        archive = None
        if settings.traces is Kept.MONGO:
            mongo = await stack.enter_async_context(open_mongo(settings.mongo_url))
            archive = Archive(mongo[settings.mongo_database])
        traces = Traces(redis, archive)
        if id or memory:
            spans = await (traces.trace(id.lower()) if id else traces.of_memory(memory, limit))
            if not spans:
                raise NotFound(f"{id or memory}: no span of it is kept", id=id or memory)
            return spans
        return await (traces.slowest(limit) if slow else traces.failed(limit))


def _draw(spans: Sequence[Span]) -> None:
    from rich.console import Console

    from memoryd.traces.find import by_trace
    from memoryd.traces.tree import tree

    console = Console(highlight=False)
    for own, linked in by_trace(spans).values():
        console.print(_when(own[0]), style="bold")
        console.print(tree(own, linked, told=True))


def _when(span: Span) -> str:
    return datetime.fromtimestamp(span.start / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
