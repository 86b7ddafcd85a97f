"""MongoDB's search as its documentation and mongot's published code have it, for a MongoDB that has none.

The four things that such a server lacks are answered here, for every collection of this process; everything else is the real
server. What is indexed is copied when a test says so, into a collection of its own, where the real server evaluates filters: so
an index can be behind, and a test can put wrong things into it. What the documentation does not allow is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from bson import ObjectId
from bson.binary import VECTOR_SUBTYPE, Binary
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

COPY = "copied_by_mongot"
STAGE = {"index", "path", "queryVector", "filter", "numCandidates", "limit", "exact"}
COMPARISONS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte"}
LISTS = {"$and", "$or", "$nor"}
VALUES = (bool, int, float, str, datetime, ObjectId, UUID)
KINDS = {b"\x03": "i1", b"\x27": "<f4"}  # a path's vectors of bytes and of floats are fields of their own
Collection = AsyncCollection[dict[str, Any]]


class Mongot:
    """The indexes of one collection."""

    def __init__(self) -> None:
        self.indexes: dict[str, dict[str, Any]] = {}
        self.listed, self.asked = 0, list[dict[str, Any]]()
        self.code = 0
        """Of the error that every stage ends with."""

    async def follow(self, collection: Collection) -> None:
        """Indexes what the collection holds now."""
        there: list[dict[str, Any]] = [{"$match": {"embedding": {"$exists": True}}}, {"$out": COPY}]
        await (await collection.aggregate(there)).to_list(None)

    # --- what the server answers ----------------------------------------------------------------------------------

    async def listed_now(self) -> AsyncIterator[Mapping[str, Any]]:
        """`$listSearchIndexes`."""
        self.listed += 1
        found = list(self.indexes.values())

        async def each() -> AsyncIterator[Mapping[str, Any]]:
            for one in found:
                yield one

        return each()

    def create(self, model: SearchIndexModel) -> str:
        """`createSearchIndexes`; nothing has to be waited for."""
        asked = model.document
        require(asked["name"] not in self.indexes, "Index already exists with a different definition", 68)
        paths = [one["path"] for one in asked["definition"]["fields"]]
        require(len(paths) == len(set(paths)), "Vector and filter fields should have distinct paths")
        self.indexes[asked["name"]] = {
            "name": asked["name"], "type": asked["type"], "status": "READY", "queryable": True,
            "latestDefinition": asked["definition"],
        }  # fmt: skip
        return str(asked["name"])

    async def drop(self, name: str) -> None:
        """`dropSearchIndex`."""
        require(self.indexes.pop(name, None) is not None, "Search index not found", 27)

    async def search(self, collection: Collection, stage: dict[str, Any]) -> list[dict[str, Any]]:
        """`$vectorSearch`: the ids of the nearest."""
        self.asked.append(stage)
        require(not self.code, "Executor error during aggregate command", self.code)
        require(collection.read_concern.level in (None, "local"), "$vectorSearch supports read concern local only")
        require(stage.keys() <= STAGE, "unrecognized field")
        candidates, limit = stage["numCandidates"], stage["limit"]
        require(type(candidates) is int and type(limit) is int and 1 <= limit <= candidates <= 10_000, "numCandidates")
        if stage["index"] not in self.indexes:
            return []
        index = self.indexes[stage["index"]]
        require(index["queryable"], "the index is not queryable")
        fields = {one["path"]: one for one in index["latestDefinition"]["fields"]}
        vector = fields.get(stage["path"], {})
        require(vector.get("type") == "vector", "is not indexed as vector")
        asked = stage["queryVector"]
        require(isinstance(asked, Binary) and asked.subtype == VECTOR_SUBTYPE and asked[:1] in KINDS, "queryVector")
        numbers = np.frombuffer(asked[2:], KINDS[asked[:1]]).astype("<f4")
        require(vector["numDimensions"] == len(numbers) and numbers.any(), "queried with other dimensions, or with zeros")
        check_filter(stage["filter"], {path for path, one in fields.items() if one["type"] == "filter"})
        rows = await collection.database[COPY].find(stage["filter"], {"embedding": 1}).to_list(None)
        alike = [one for one in rows if one["embedding"][:1] == asked[:1] and len(one["embedding"]) == len(asked)]
        near = sorted(alike, key=lambda one: -cosine(numbers, one["embedding"]))
        return [{"_id": one["_id"]} for one in near[:limit]]


def check_filter(asked: Any, indexed: set[str]) -> None:
    """What may be in `filter`: these operators, with values of these types, over fields that are indexed for it."""
    require(isinstance(asked, dict), "filter must be a document")
    for name, value in asked.items():
        if name in LISTS:
            require(isinstance(value, list) and value, "must not be empty")
            for one in value:
                check_filter(one, indexed)
            continue
        require(not name.startswith("$") and name in indexed, f"Path '{name}' needs to be indexed as filter")
        for operator, operand in (value if isinstance(value, dict) else {"$eq": value}).items():
            require(operator in COMPARISONS | {"$in", "$nin"}, f"{operator} is not supported")
            among = operand if operator in ("$in", "$nin") else [operand]
            require(isinstance(among, list) and among, "must not be empty")
            types = {next((kind for kind in VALUES if isinstance(one, kind)), None) for one in among}
            require(None not in types and len(types) == 1, "must have elements of the same type, which can be indexed")


def cosine(asked: Any, embedding: bytes) -> float:
    """Of a question's numbers and a document's vector."""
    row = np.frombuffer(embedding[2:], KINDS[embedding[:1]]).astype("<f4")
    return float(asked @ row / max(np.linalg.norm(asked) * np.linalg.norm(row), 1e-9))


def require(holds: Any, message: str, code: int = 8) -> None:
    """Raises what the server would answer."""
    if not holds:
        raise OperationFailure(message, code)


def answering(patch: pytest.MonkeyPatch) -> Mongot:
    """A server with search, without an index, until the patch is undone."""
    search, aggregate = Mongot(), AsyncCollection.aggregate

    async def aggregated(self: Collection, pipeline: Any, *given: Any, **more: Any) -> Any:
        if "$vectorSearch" not in pipeline[0]:
            return await aggregate(self, pipeline, *given, **more)
        assert pipeline[1:] == [{"$project": {"_id": 1}}]
        ids = [one["_id"] for one in await search.search(self, pipeline[0]["$vectorSearch"])]
        order: list[dict[str, Any]] = [{"$documents": [{"_id": one} for one in ids]}]
        return await self.database.aggregate(order, **more)

    async def created(self: Collection, model: SearchIndexModel) -> str:
        name = search.create(model)
        await search.follow(self)
        return name

    for name, answer in (
        ("aggregate", aggregated), ("create_search_index", created), ("list_search_indexes", search.listed_now),
        ("drop_search_index", search.drop),
    ):  # fmt: skip
        patch.setattr(AsyncCollection, name, answer)
    return search


@pytest.fixture
def mongot(monkeypatch: pytest.MonkeyPatch) -> Mongot:
    """A server with search, without an index."""
    return answering(monkeypatch)
