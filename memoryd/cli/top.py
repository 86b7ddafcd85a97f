"""memoryd top"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from memoryd.cli import options, output
from memoryd.errors import MemorydError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from memoryd.top.look import Top

Interval = Annotated[
    float, typer.Option("--interval", "-i", min=0.5, max=60, help="Seconds from one look to the next; rates are of this time.")
]


def top(
    interval: Interval = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look as text; so it is where nobody watches, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one look as JSON, for a pipe.")] = False,
    url: options.Url = options.DEFAULT_URL,
) -> None:
    """Watch a memoryd at work: requests, changes, tiers, followers, Redis's memory, the busiest agents. Ctrl-C leaves.

    It asks Redis alone, and works beside any daemon. Rates and latencies by operation need MEMORYD_METRICS=redis where the
    daemon runs; without it the verbs and the agents are those of the requests that it overhears. It shows names of tenants,
    projects and agents, and never what a memory says.
    """
    try:
        output.run(_show(url, interval, once=once or not sys.stdout.isatty(), json=json))
    except typer.Exit as left:
        if left.exit_code != output.INTERRUPTED:
            raise


async def _show(url: str, interval: float, *, once: bool, json: bool) -> None:
    from rich.console import Console

    from memoryd.top.draw import draw

    async with _opened(url) as watched:
        if json:
            output.print_json(await watched.frame(interval))
        elif once:
            Console(highlight=False).print(draw(await watched.frame(interval), output.shown))
        else:
            await _live(watched, interval)


async def _live(watched: Top, interval: float) -> None:
    """One frame after the other; a Redis that is away may come back."""
    import asyncio

    from rich.live import Live

    from memoryd.top.draw import draw

    with Live(output.shown("looking …"), screen=True, auto_refresh=False) as live:
        while True:
            try:
                live.update(draw(await watched.frame(interval), output.shown), refresh=True)
            except MemorydError as error:
                live.update(output.shown(f"{error.message}\n{error.hint}"), refresh=True)
                await asyncio.sleep(interval)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Top]:
    from memoryd.config import load_settings
    from memoryd.hot.client import open_blocking_redis, open_redis
    from memoryd.keys import Keys
    from memoryd.top.look import Top

    async with open_redis(url, connections=4) as redis, open_blocking_redis(url) as blocking:
        yield Top(redis, blocking, Keys(load_settings(redis_url=url).buckets))
