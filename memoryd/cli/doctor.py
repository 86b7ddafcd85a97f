"""memoryd doctor"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from memoryd.cli import options, output

if TYPE_CHECKING:
    from memoryd.doctor.examine import Examination


def doctor(json: options.Json = False) -> None:
    """Look for what is wrong: each finding with its consequence and the command that mends it. Nothing is changed.

    Redis and MongoDB are those of MEMORYD_REDIS_URL and MEMORYD_MONGO_URL. Exit code 1: there are findings.
    """
    found = output.run(_examine())
    if json:
        output.print_json(found)
    else:
        _print(found)
    if found.findings:
        raise typer.Exit(output.FAILED)


async def _examine() -> Examination:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import load_settings
    from memoryd.doctor.examine import examine
    from memoryd.doctor.patient import Patient
    from memoryd.hot.client import open_redis

    settings = load_settings()
    async with open_redis(settings.redis_url) as redis, open_mongo(settings.mongo_url) as mongo:
        return await examine(Patient(settings, redis, Archive(mongo[settings.mongo_database]), os.environ))


def _print(found: Examination) -> None:
    for one in found.findings:
        output.print_fields(
            {one.check: one.finding, "consequence": one.consequence, "to mend it": one.mend}
        )
        typer.echo()
    for name, why in found.unchecked.items():
        typer.echo(f"not looked at: {name} ({why})", err=True)
    count = len(found.findings)
    what = "nothing is wrong" if not count else f"{count} finding{'s' if count > 1 else ''}"
    typer.echo(f"{found.checked} checks: {what}")
