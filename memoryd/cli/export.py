"""memoryd export"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

import msgspec
import typer

from memoryd.cli import options, output
from memoryd.errors import ArchiveUnavailable, BadRequest
from memoryd.model.scope import Scope

WAIT_SECONDS = 30.0  # the archiver is milliseconds behind; more means that it does not run
LINES = 1_000  # memories that are looked at again together


@options.scoped
def export(
    target: options.Target,
    file: Annotated[
        Path | None, typer.Argument(help="Where to; stdout without it.", show_default=False, dir_okay=False)
    ] = None,
) -> None:
    """Write a scope's memories as JSONL, oldest first, from MongoDB (MEMORYD_MONGO_URL).

    `memoryd import` reads it back. What is forgotten while FILE is written is not in it; stdout takes nothing back."""
    count = output.run(_export(target, sys.stdout)) if file is None else _to_file(target, file)
    typer.echo(f"{count} memories", err=True)


def _to_file(target: options.Target, file: Path) -> int:
    """Aside first: an export that is cut off leaves no half file under the name."""
    part = file.with_name(file.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            count = output.run(_export(target, stream))
        count -= output.run(_leave_out_forgotten(target, part))
        part.replace(file)
    except OSError as error:
        output.fail(BadRequest(f"{file}: cannot be written: {error.strerror}"))
    finally:
        part.unlink(missing_ok=True)
    return count


async def _export(target: options.Target, stream: TextIO) -> int:
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import load_settings
    from memoryd.exchange import export_line

    settings = load_settings(redis_url=target.url)
    scope = Scope(target.tenant, target.project, target.agent, target.session).check()
    await _archived(target)
    count = 0
    async with open_mongo(settings.mongo_url) as mongo:
        with output.progress() as progress:
            bar = progress.add_task("exporting", total=None)
            async for memory in Archive(mongo[settings.mongo_database]).export(scope):
                stream.write(export_line(msgspec.to_builtins(memory)))
                progress.advance(bar)
                count += 1
    return count


async def _leave_out_forgotten(target: options.Target, part: Path) -> int:
    """Writes the file anew without the memories that were forgotten since their lines were written; how many."""
    from memoryd.archive.client import open_mongo
    from memoryd.archive.store import Archive
    from memoryd.config import load_settings

    settings = load_settings(redis_url=target.url)
    await _archived(target)
    kept = part.with_name(part.name + ".kept")
    count = 0
    try:
        async with open_mongo(settings.mongo_url) as mongo:
            archive = Archive(mongo[settings.mongo_database])
            with part.open(encoding="utf-8") as lines, kept.open("w", encoding="utf-8") as stream:
                while batch := list(islice(lines, LINES)):
                    memories = [msgspec.json.decode(line, type=_Exported) for line in batch]
                    living = await archive.living([one.id for one in memories], with_text=False)
                    for line, one in zip(batch, memories, strict=True):
                        # One that was stored again lives another life than the one that was exported.
                        if one.id in living and living[one.id].created_at == one.created_at:
                            stream.write(line)
                        else:
                            count += 1
        kept.replace(part)
    finally:
        kept.unlink(missing_ok=True)
    return count


class _Exported(msgspec.Struct):
    id: str
    created_at: datetime


async def _archived(target: options.Target) -> None:
    """Waits until MongoDB has what Redis has acknowledged."""
    import asyncio

    deadline = time.monotonic() + WAIT_SECONDS
    async with target.connect() as memory:
        while backlog := (await memory.stats()).archive_backlog:
            if time.monotonic() > deadline:
                raise ArchiveUnavailable(
                    f"export: MongoDB lags {backlog} journal entries behind and does not catch up",
                    hint="see that sync runs (`memoryd sync`), then export again",
                )
            await asyncio.sleep(0.1)
