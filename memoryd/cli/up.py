"""memoryd up"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memoryd.cli import options, output

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Where the data lives between runs.", show_default="~/.local/share/memoryd", file_okay=False
    ),
]


def up(
    data: DataDir = None,
    redis_port: Annotated[int, typer.Option("--redis-port", min=0, max=65535, help="0 takes a free one.")] = 6379,
    mongo_port: Annotated[int, typer.Option("--mongo-port", min=0, max=65535, help="0 takes a free one.")] = 27017,
    workers: options.Workers = 1,
    json: options.Json = False,
) -> None:
    """Start a real Redis Stack and MongoDB, the daemon and sync; keep the data; drain all of it on Ctrl-C.

    Servers are taken from MEMORYD_REDIS_URL and MEMORYD_MONGO_URL, else from PATH, else they are fetched once.
    With --json, one line says where they are: redis, mongo, pid, data.
    """

    async def work() -> None:
        from memoryd.config import load_settings
        from memoryd.local.up import default_data
        from memoryd.local.up import up as run_all

        folder = data or default_data()
        await run_all(load_settings(), data=folder, redis_port=redis_port, mongo_port=mongo_port, workers=workers, json_output=json)

    output.run(work())
