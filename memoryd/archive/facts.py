"""Triples in the archive, found by any of their parts and by time."""

from __future__ import annotations

from memoryd.archive.codec import Document, to_record
from memoryd.archive.documents import within
from memoryd.archive.store import Archive
from memoryd.model.fact import FactFilter
from memoryd.model.memory import Memory
from memoryd.model.scope import Scope

SECONDS_MAX_MS = 3_000  # of a search that an agent waits for


class FactArchive:
    """The triples of an archive's database."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def find(self, scope: Scope, wanted: FactFilter, limit: int) -> list[Memory]:
        """The scope's triples that fit, those that hold since last first."""
        with self._archive.asking("look for facts"):
            found = (
                self._archive.memories.find(_query(scope, wanted), {"embedding": 0})
                .sort([("valid_from", -1), ("_id", 1)])
                .limit(limit)
                .max_time_ms(SECONDS_MAX_MS)
            )
            return [to_record(one).memory async for one in found]


def _query(scope: Scope, wanted: FactFilter) -> Document:
    query: Document = {**within(scope), "tombstone": {"$ne": True}, "seal": {"$exists": True}}
    query |= {"metadata.fact.find.subject": {"$exists": True}, "metadata.fact.find.object": {"$exists": True}}
    query |= {f"metadata.fact.find.{name}": text for name, text in wanted.parts().items()}
    if wanted.confidence_min > 0:
        query["metadata.fact.confidence"] = {"$gte": wanted.confidence_min}
    if wanted.at is not None:
        query |= {"valid_from": {"$lte": wanted.at}, "$or": [{"valid_until": None}, {"valid_until": {"$gt": wanted.at}}]}
    return query
