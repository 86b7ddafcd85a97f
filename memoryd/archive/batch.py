"""What one bulk write to the archive is to do, and the operations that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo import DeleteMany, InsertOne, ReplaceOne, UpdateMany, UpdateOne

from memoryd.archive.codec import Document, from_feedback
from memoryd.model.feedback import Feedback

Operation = InsertOne[Document] | ReplaceOne[Document] | UpdateOne | UpdateMany | DeleteMany


@dataclass
class Batch:
    """What one bulk write is to do, collapsed so that each document is written once."""

    current: dict[str, Document] = field(default_factory=dict)
    versions: dict[str, Document] = field(default_factory=dict)
    vectors: list[Vector] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    forgotten: dict[str, int] = field(default_factory=dict)
    said_at: dict[str, int] = field(default_factory=dict)
    known: dict[str, bool] = field(default_factory=dict)
    """Whether the archive had a memory before: if it has it no longer, somebody deleted it there, and it must not come back."""

    def put(self, document: Document, op: str, said_at: int, *, known: bool = False) -> None:
        """A version of a memory, and when it was said by Redis's clock."""
        self.known[document["_id"]] = known and self.known.get(document["_id"], True)
        self.current[document["_id"]] = document
        self.said_at[document["_id"]] = said_at
        version_id = f"{document['_id']}:{document['version']}"
        self.versions[version_id] = {**document, "_id": version_id, "memory_id": document["_id"], "op": op}

    def bury(self, tombstone: Document) -> None:
        """The end of a memory, and of all its versions so far."""
        memory_id, version = tombstone["_id"], tombstone["version"]
        self.current[memory_id] = tombstone
        self.forgotten[memory_id] = version
        self.known[memory_id] = False
        self.versions = {
            key: one for key, one in self.versions.items() if one["memory_id"] != memory_id or one["version"] > version
        }


@dataclass(frozen=True)
class Vector:
    """The vector of a content that a memory may still have, made in one of its contexts. Without `vector`: it has a new
    context, and the vectors of the earlier ones go."""

    memory_id: str
    content_hash: str
    model: str
    vector: Any
    context: int = 0
    follows: Sequence[str] = ()
    followed_by: Sequence[str] = ()


@dataclass(frozen=True)
class Touch:
    """Counters of one version; they only grow."""

    memory_id: str
    version: int
    access_count: int
    last_accessed: int


@dataclass(frozen=True)
class Verdict:
    """What was said of one version by then; the higher count knows more."""

    memory_id: str
    version: int
    feedback: Feedback


def up_to(forgotten: Mapping[str, int]) -> list[Operation]:
    return [DeleteMany({"memory_id": key, "version": {"$lte": version}}) for key, version in forgotten.items()]


def attach(key: str, one: Vector) -> UpdateMany:
    """Only where the content is the one that was embedded, whatever its version, and not over a later context's."""
    place: Document = {"follows": list(one.follows), "context": one.context}
    earlier: Document = {"context": {"$not": {"$gte": one.context}}}
    if one.vector is None:
        gone = {"$set": {**place, "embedding_model": ""}, "$unset": {"embedding": "", "followed_by": ""}}
        return UpdateMany({key: one.memory_id, "tombstone": {"$ne": True}, **earlier}, gone)
    other_model = {"embedding_model": {"$ne": one.model}, "context": {"$not": {"$gt": one.context}}}
    match = {key: one.memory_id, "content_hash": one.content_hash, "$or": [other_model, earlier]}
    now: Document = {"$set": {**place, "embedding": one.vector, "embedding_model": one.model}}
    if one.followed_by:
        now["$set"]["followed_by"] = list(one.followed_by)
    else:
        now["$unset"] = {"followed_by": ""}
    return UpdateMany(match, now)


def touch(one: Touch) -> UpdateOne:
    grown = {"access_count": one.access_count, "last_accessed": one.last_accessed}
    return UpdateOne({"_id": one.memory_id, "version": one.version, "tombstone": {"$ne": True}}, {"$max": grown})


def judge(one: Verdict) -> UpdateOne:
    less: Document = {"feedback.count": {"$not": {"$gte": one.feedback.count}}}
    match = {"_id": one.memory_id, "version": one.version, "tombstone": {"$ne": True}, **less}
    return UpdateOne(match, {"$set": {"feedback": from_feedback(one.feedback)}})
