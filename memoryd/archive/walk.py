"""All memories of the archive in the order of their ids, a page at a time: a walk may take hours, and holds no cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document
from memoryd.archive.living import LIVING, whole
from memoryd.archive.packing import PACKED
from memoryd.archive.store import NAMED_MAX, Archive
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.archive")

_TEXTLESS = dict.fromkeys(("embedding", "content", PACKED, "metadata", "terms"), 0)


async def in_order(archive: Archive, tenants: Sequence[str], size: int) -> AsyncIterator[list[Memory]]:
    """The living memories of these tenants, of all without one; without their texts. What is no memory any more is left out.

    Raises ArchiveUnavailable.
    """
    query: Document = {**LIVING, "_id": {"$gt": ""}} | ({"tenant": {"$in": list(tenants)}} if tenants else {})
    while True:
        with archive_errors("walk through the archive"):
            # Another index would have every page sorted anew.
            found = archive.memories.find(query, _TEXTLESS).hint([("_id", 1)]).sort("_id", 1).limit(size)
            documents = [one async for one in found]
        yield [memory for one in documents if (memory := _memory(one))]
        if len(documents) < size:
            return
        query["_id"] = {"$gt": documents[-1]["_id"]}


async def made_of(archive: Archive, project: Scope, memory_ids: Sequence[str]) -> list[Memory]:
    """The project's living memories that were made of these; without their texts."""
    found: list[Memory] = []
    for start in range(0, len(memory_ids), NAMED_MAX):
        named = {"derived_from": {"$in": list(memory_ids[start : start + NAMED_MAX])}, "derived_from.0": {"$exists": True}}
        query: Document = {"tenant": project.tenant, "project": project.project, **LIVING, **named}
        with archive_errors("walk through the archive"):
            found += [memory async for one in archive.memories.find(query, _TEXTLESS) if (memory := _memory(one))]
    return found


def _memory(document: Document) -> Memory | None:
    try:
        return whole(document)
    except (KeyError, ValueError, TypeError, OverflowError):  # a person's edit; it must not keep others from what is done with them
        log.warning("archive.no_memory", id=document["_id"], next="memoryd sync verify")
        return None
