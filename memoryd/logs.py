"""The log in MongoDB's collection `logs`, for a week: the lines that go to stderr, as documents.

What cannot be written at once is on stderr only, and counted; nothing waits for it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pymongo
from pymongo.write_concern import WriteConcern

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.errors import MemorydError
from memoryd.limits import LOGS_BATCH_MAX, LOGS_SEND_SECONDS, LOGS_WRITE_SECONDS
from memoryd.retry import wait_for_stop
from memoryd_telemetry import names as telemetry
from memoryd_telemetry.kept import KeptLines
from memoryd_telemetry.logs import get_logger
from memoryd_telemetry.metrics import measure

log = get_logger("memoryd.logs")

COLLECTION = "logs"
UNCONCERNED = WriteConcern(w=1)  # what a failover takes of them is on stderr
OF_EVERY_LINE = ("service", "level", "logger", "event", "trace_id", "span_id")
INTEGER_MAX = 2**63


async def give_lines(archive: Archive, lines: KeptLines, stop: asyncio.Event, *, process: str) -> None:
    """Writes what was logged to MongoDB, until told to stop and then once more."""
    stopped, losing = False, False
    while not stopped:
        stopped = await wait_for_stop(stop, LOGS_SEND_SECONDS)
        while batch := lines.take(LOGS_BATCH_MAX):
            try:
                await _write(archive, [_document(line, process) for line in batch])
            except MemorydError as error:
                measure(telemetry.LOGS_DROPPED, len(batch), {telemetry.OUTCOME: "mongo"})
                if not losing:
                    log.warning("logs.lost", code=error.code)
                losing = True
                break  # the others wait for the next turn: a stop must not wait for each batch of them
            losing = False


async def _write(archive: Archive, documents: Sequence[dict[str, Any]]) -> None:
    logs: Any = archive.database.get_collection(COLLECTION, write_concern=UNCONCERNED)
    with archive_errors("keep the log"), pymongo.timeout(LOGS_WRITE_SECONDS):
        await logs.insert_many(documents, ordered=False)


def _document(line: str, process: str) -> dict[str, Any]:
    fields: dict[str, Any] = _storable(json.loads(line))
    at = datetime.fromisoformat(fields.pop("timestamp"))
    every = {name: fields.pop(name) for name in OF_EVERY_LINE if name in fields}
    return {"at": at, "process": process, **every, "fields": fields}


def _storable(value: Any) -> Any:
    """A value as BSON takes it: no number beyond 64 bits, no half of a character, no name that ends early."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case int() if abs(value) >= INTEGER_MAX:
            return str(value)
        case list():
            return [_storable(one) for one in value]
        case dict():
            return {_storable(name).replace("\0", " "): _storable(one) for name, one in value.items()}
    return value
