"""What has written memories last, as a trace tells it: the context is kept with each document, so it outlives every process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from memoryd.archive.store import Archive
from memoryd.errors import ArchiveUnavailable
from memoryd_telemetry.tracing import add_links, recorded


async def link_to_writes(archive: Archive, memory_ids: Sequence[str]) -> None:
    """Links the current span to what wrote these memories last, as far as that is archived. No look where nothing is traced."""
    if recorded() is None:
        return
    with contextlib.suppress(ArchiveUnavailable), archive.asking("look for causes"):
        found = archive.memories.find({"_id": {"$in": list(memory_ids)}}, {"traceparent": 1})
        add_links([one.get("traceparent", "") async for one in found])
