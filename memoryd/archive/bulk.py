"""Bulk writes of which any part may have been done before: what is there already is no error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from memoryd.archive.batch import Operation
from memoryd.archive.client import DUPLICATE_KEY, NOT_NOW
from memoryd.errors import ArchiveUnavailable


async def write_unordered(collection: Any, operations: Sequence[Operation]) -> list[int]:
    """One unordered bulk write; returns the indexes that met an equal or higher version. Other errors are raised.

    Of two archivers that write two versions of what is not there yet, both find nothing lower and both insert: the higher
    one may be refused beside a lower. So what was refused is written once more, over what is there by then.
    """
    refused = await _write_once(collection, operations)
    again = [index for index in refused if isinstance(operations[index], ReplaceOne)]
    twice = await _write_once(collection, [operations[index] for index in again])
    gone_in = set(again) - {again[index] for index in twice}
    return [index for index in refused if index not in gone_in]


async def _write_once(collection: Any, operations: Sequence[Operation]) -> list[int]:
    return (await write_counted(collection, operations))[1] if operations else []


async def write_counted(collection: Any, operations: Sequence[Operation]) -> tuple[int, list[int]]:
    """How many documents it has met, and the indexes of what was refused as a duplicate."""
    try:
        done = await collection.bulk_write(operations, ordered=False)
    except BulkWriteError as error:
        failures = error.details.get("writeErrors", [])
        codes = {one["code"] for one in failures} - {DUPLICATE_KEY}
        if error.details.get("writeConcernErrors") or codes & NOT_NOW:
            raise ArchiveUnavailable("archive: MongoDB has not confirmed the write to a majority") from error
        if codes:
            raise
        return int(error.details["nMatched"]), [int(one["index"]) for one in failures]
    return int(done.matched_count), []
