"""`memoryd up`: the servers, the daemon and sync, from one command until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from memoryd.config import Settings, hide_password
from memoryd.local.processes import Process, kill_all
from memoryd.local.servers import Servers, log_path, open_servers
from memoryd.local.service import Service
from memoryd.local.workers import COMMAND

SERVICES = {
    "daemon": COMMAND,
    "sync": (sys.executable, "-m", "memoryd_sync"),
}
USUAL_REDIS_URL = "redis://127.0.0.1:6379"  # where every command looks when it is told nothing else
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.2  # how soon the end of a part is noticed


async def up(
    settings: Settings, *, data: Path, redis_port: int, mongo_port: int, workers: int = 1, json_output: bool
) -> None:
    """Start all of it, say so, and run until a stop signal or until a part ends by itself; then drain in reverse order.

    Returns after a stop signal. Raises ServersUnavailable when a part did not start or has ended; the rest is drained.
    """
    console = Console(stderr=True, quiet=json_output, highlight=False)
    with stopped_by_signals(console):
        console.print(f"starting Redis and MongoDB on the data in {data} …", soft_wrap=True)
        async with open_servers(settings, data, redis_port, mongo_port) as servers:
            _say_servers(console, servers)
            async with open_services(servers, workers) as services:
                _say_ready(console, servers, json_output=json_output)
                await until_one_ends([*services, *_ours(servers)])


def default_data() -> Path:
    """Where the data of `memoryd up` lives: $XDG_DATA_HOME/memoryd, else ~/.local/share/memoryd."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "memoryd"


@asynccontextmanager
async def open_services(servers: Servers, workers: int = 1) -> AsyncIterator[list[Process]]:
    """Run the daemon, with so many workers, and sync against these servers; at the end they get SIGTERM in reverse order."""
    environment = {
        **os.environ,
        "MEMORYD_REDIS_URL": servers.redis_url,
        "MEMORYD_MONGO_URL": servers.mongo_url,
        "PYTHONUNBUFFERED": "1",  # their stdout is a file: the line that says ready would wait in a buffer
    }
    services = {**SERVICES, "daemon": (*SERVICES["daemon"], "--workers", str(workers))}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Service(name, command, log_path(servers.data, name), environment))
            for name, command in services.items()
        ]


async def until_one_ends(processes: list[Process]) -> None:
    """Watch them. Raises ServersUnavailable that names the first one that has ended."""
    while True:
        for process in processes:
            if not process.alive:
                raise process.failed(f"ended by itself (exit code {process.exit_code})")
        await asyncio.sleep(LOOK_SECONDS)


@contextmanager
def stopped_by_signals(console: Console) -> Iterator[None]:
    """The first stop signal cancels the block, wherever it is, and ends it as if it were done; a second one kills."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    seen = 0

    def stop() -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            console.print("draining; once more to leave at once")
            task.cancel()
        else:
            kill_all()  # whoever waits for their end then goes on

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not seen or task.uncancel():
            raise
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _ours(servers: Servers) -> list[Process]:
    return [server for server in (servers.mongo, servers.redis) if server]


def _say_servers(console: Console, servers: Servers) -> None:
    console.print(servers.origin, soft_wrap=True)
    console.print("starting the daemon and sync …")


def _say_ready(console: Console, servers: Servers, *, json_output: bool) -> None:
    if json_output:
        urls = {"redis": servers.redis_url, "mongo": servers.mongo_url}
        sys.stdout.write(json.dumps({**urls, "pid": os.getpid(), "data": str(servers.data)}) + "\n")
        sys.stdout.flush()
        return
    url = hide_password(servers.redis_url)
    elsewhere = [] if servers.redis_url == USUAL_REDIS_URL else [f"try it   export MEMORYD_REDIS_URL={url}"]
    lines = (
        f"Redis    {url}",
        f"MongoDB  {hide_password(servers.mongo_url)}",
        f"data     {servers.data}  (kept; logs in logs/)",
        "",
        *elsewhere,
        f'{"      " if elsewhere else "try it"}   memoryd store "Ada prefers tea to coffee."',
        '         memoryd recall "What does Ada drink?"',
        "stop it  Ctrl-C",
    )
    console.print(Panel(Text("\n".join(lines)), title="memoryd is ready", title_align="left", expand=False))
