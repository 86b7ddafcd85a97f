"""How far back MongoDB remembers its changes: who is away for longer cannot go on from where it was."""

from __future__ import annotations

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive


async def oplog_window(archive: Archive) -> float | None:
    """In seconds; None where there is no oplog, because it is no replica set. Raises ArchiveUnavailable, ArchiveRefused."""
    oplog = archive.database.client["local"]["oplog.rs"]
    with archive_errors("look at the oplog"):
        first = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        last = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", -1)])
    return float(last["ts"].time - first["ts"].time) if first and last else None
