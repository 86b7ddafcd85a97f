"""MongoDB's `$vectorSearch` for deep recalls, where the server has it and an operator has made the index.

The stage only proposes: what it names is read from `memories` by the question's whole query, and its likeness is computed from
its own vector (`deep`). So an index that is behind, or of another form, can leave something out and nothing else; and whatever
goes wrong here, nothing is proposed and the scan does what it does without an index.

The archive's vectors of bytes and the others' of floats are two indexes to the stage: a question in bytes meets bytes only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.operations import SearchIndexModel
from pymongo.read_concern import ReadConcern

from memoryd.archive.client import archive_errors
from memoryd.archive.codec import Document, to_bson_vector, to_bytes_vector
from memoryd.errors import MemorydError
from memoryd.limits import (
    SCANNED_MEMORIES_MAX,
    VECTOR_ANSWER_SECONDS,
    VECTOR_CANDIDATES_MAX,
    VECTOR_INDEX_SECONDS,
    VECTOR_PROPOSED_MAX,
    VECTOR_SERVER_SECONDS,
)
from memoryd_telemetry.logs import get_logger

if TYPE_CHECKING:
    from pymongo.asynchronous.database import AsyncDatabase

    from memoryd.hot.search import QueryVector
    from memoryd.model.scope import Scope

log = get_logger("memoryd.archive")

NAME = "memoryd_embedding"
FILTERED = (
    "tenant", "project", "tier", "agent_id", "shared_with", "session_id", "memory_type", "tags", "valid_from", "recorded_at",
    "embedding_model",
)  # fmt: skip
# The command or the stage is unknown (4 to 7), is Atlas's alone (7), or needs a mongot that is not configured (8).
NO_SEARCH = frozenset({59, 115, 31082, 40324, 6047401})


class NoSearch(MemorydError):
    """This MongoDB has no search: it needs Atlas, or MongoDB 8.2 or later with mongot."""

    hint = "nothing is wrong: a deep recall looks at every vector of its scope instead"


class VectorSearch:
    """The index of one archive; what is known of it stays in this process for some minutes."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        # The stage refuses every other read concern. What it proposes is read anew, as a majority has it.
        self._memories = database.get_collection("memories", read_concern=ReadConcern("local"))
        self._known: list[Document] = []
        self._vain: set[Scope] = set()
        self._until = 0.0

    async def proposed(self, scope: Scope, query: Document, vector: QueryVector, end: float) -> list[str] | None:
        """Ids of the scope's memories of the tier archive that are perhaps the nearest of those that match. None where it was not
        asked: there are few enough to look at each, or no index. Of the time until `end` at least half is left."""
        seconds = max((end - asyncio.get_running_loop().time()) / 2, 0.001)
        try:
            with pymongo.timeout(seconds):
                index = await self._index(len(vector.vector) // 4)
                if index is None or scope in self._vain or not await self._many(query):
                    return None
                return await self._ask(index, query, vector)
        except PyMongoError as error:
            if not error.timeout or seconds >= VECTOR_ANSWER_SECONDS:
                self._leave(getattr(error, "code", None))
            return None

    def in_vain(self, scope: Scope) -> None:
        """It proposes too little of this scope: nobody asks it there for a while."""
        self._vain.add(scope)

    async def _index(self, dims: int) -> str | None:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + VECTOR_INDEX_SECONDS  # the others go on by what is known while this one asks
            self._vain.clear()
            self._known = await self._listed()
        return next((one["name"] for one in self._known if fits(one, dims)), None)

    async def _many(self, query: Document) -> bool:
        return await self._memories.count_documents(query, limit=SCANNED_MEMORIES_MAX) == SCANNED_MEMORIES_MAX

    async def _ask(self, index: str, query: Document, vector: QueryVector) -> list[str]:
        stage = {
            "index": index, "path": "embedding", "queryVector": to_bytes_vector(to_bson_vector(vector.vector)),
            "filter": {**query, "embedding_model": vector.model},
            "numCandidates": VECTOR_CANDIDATES_MAX, "limit": VECTOR_PROPOSED_MAX,
        }  # fmt: skip
        pipeline: list[Document] = [{"$vectorSearch": stage}, {"$project": {"_id": 1}}]
        cursor = await self._memories.aggregate(pipeline, batchSize=VECTOR_PROPOSED_MAX)
        return [one["_id"] for one in await cursor.to_list(None)]

    def _leave(self, code: int | None) -> None:
        """Nobody asks again for a while."""
        without = code in NO_SEARCH
        if not without:
            log.warning("archive.vector_search_failed", code=code, next="memoryd doctor")
        self._known = []
        self._until = time.monotonic() + (VECTOR_SERVER_SECONDS if without else VECTOR_INDEX_SECONDS)

    async def _listed(self) -> list[Document]:
        return [dict(one) async for one in await self._memories.list_search_indexes()]

    # --- what an operator does ------------------------------------------------------------------------------------

    async def index(self) -> Document | None:
        """Our index, as the server describes it. Raises NoSearch, ArchiveUnavailable."""
        with _search_errors("look at the search index"):
            return next((one for one in await self._listed() if one["name"] == NAME), None)

    async def make(self, dims: int) -> None:
        """Begins to make it; the server builds it by itself. Raises NoSearch, ArchiveUnavailable."""
        with _search_errors("make the search index"):
            await self._memories.create_search_index(SearchIndexModel(definition(dims), NAME, "vectorSearch"))

    async def drop(self) -> None:
        """Ends it. Raises NoSearch, ArchiveUnavailable."""
        with _search_errors("drop the search index"):
            await self._memories.drop_search_index(NAME)


def definition(dims: int) -> Document:
    """Of the index: the vector, and all that a question can be narrowed by."""
    embedding = {"type": "vector", "path": "embedding", "numDimensions": dims, "similarity": "cosine"}
    return {"fields": [embedding, *({"type": "filter", "path": name} for name in FILTERED)]}


def fits(index: Document, dims: int) -> bool:
    """Whether it can be asked now, by a vector of so many dimensions. One that was made by hand will do as well."""
    wanted: list[dict[str, Any]] = definition(dims)["fields"]
    fields = (index.get("latestDefinition") or {}).get("fields") or []
    return bool(index.get("queryable")) and all(any(one.items() <= field.items() for field in fields) for one in wanted)


@contextmanager
def _search_errors(doing: str) -> Iterator[None]:
    with archive_errors(doing):
        try:
            yield
        except OperationFailure as error:
            if error.code in NO_SEARCH:
                raise NoSearch from error
            raise
