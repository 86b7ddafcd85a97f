"""A record as a MongoDB document, and back.

Times are microseconds since 1970 as 64-bit integers: a BSON date holds milliseconds only, and both stores must hold
the same. Vectors are BSON's own float32 vectors, a third of a list's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from bson.binary import Binary, BinaryVectorDtype
from bson.dbref import DBRef
from bson.timestamp import Timestamp

from memoryd.clock import from_microseconds, to_microseconds
from memoryd.model.feedback import Feedback
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.record import Record, Tombstone, seal
from memoryd.model.scope import from_tag
from memoryd.model.terms import terms_of

Document = dict[str, Any]

NOW = Timestamp(0, 0)  # MongoDB puts its own time there, which its change stream can be compared with
TIMES = ("created_at", "last_accessed", "valid_from", "recorded_at", "valid_until")


def to_document(record: Record) -> Document:
    """The document of a record, sealed. `embedding`, and whom it has read after it, is there only when the vector is."""
    values = msgspec.structs.asdict(record.memory)
    document: Document = {"_id": values.pop("id")}
    document |= {name: _encode(value) for name, value in values.items()}
    if document["feedback"] is None:
        del document["feedback"]
    if not document["shared_with"]:
        del document["shared_with"]
    document["seal"] = seal(record.memory)
    if record.vector is not None:
        document["embedding"] = to_bson_vector(record.vector)
        if record.followed_by:
            document["followed_by"] = list(record.followed_by)
    return document


def with_terms(document: Document) -> Document:
    """The document as `memories` holds it: one of the tier `long` with its words, which are searched there (archive/words.py)."""
    known = {name: value for name, value in document.items() if name != "terms"}
    if known.get("tier") != Tier.LONG:
        return known
    return {**known, "terms": terms_of(known["content"], known["metadata"])}


def to_record(document: Mapping[str, Any]) -> Record:
    """The record of a living document. Raises KeyError, ValueError or TypeError when it is no whole memory."""
    values = {name: document[name] for name in Memory.__struct_fields__ if name in document}
    values |= {"id": document["_id"], "metadata": plain(document["metadata"])}
    for name in TIMES:
        if (count := values.get(name)) is not None:
            values[name] = from_microseconds(int(count))
    values["memory_type"] = MemoryType(values["memory_type"])
    values["tier"] = Tier(values["tier"])
    values["importance"] = float(values["importance"])
    if (said := values.get("feedback")) is not None:
        values["feedback"] = to_feedback(said)
    for name in ("version", "access_count", "context"):
        values[name] = int(values.get(name, 0))
    vector = from_bson_vector(document["embedding"]) if document.get("embedding") is not None else None
    return Record(Memory(**values), vector, tuple(document.get("followed_by") or ()) if vector else ())


def completed(document: Mapping[str, Any], now: datetime) -> Document:
    """A document that someone else wrote, with what only we write filled in. Raises like `to_record`."""
    moment = to_microseconds(now)
    defaults: Document = {
        "agent_id": "", "session_id": "", "tier": Tier.SHORT, "importance": 0.5, "created_at": moment,
        "last_accessed": moment, "access_count": 0, "source_tool": "", "metadata": {}, "tags": [], "related": [],
        "derived_from": [], "follows": [], "context": 0, "version": 0, "valid_from": moment, "valid_until": None,
        "embedding_model": "", "feedback": None,
    }  # fmt: skip
    whole = {name: value for name, value in (defaults | dict(document)).items() if name not in ("content_zstd", "dictionary")}
    whole["content_hash"] = hash_content(whole["content"])
    whole["recorded_at"] = moment
    if whole["content_hash"] != document.get("content_hash"):
        whole = {name: value for name, value in whole.items() if name not in ("embedding", "followed_by")}
        whole |= {"embedding_model": "", "feedback": None}
    return whole


def to_tombstone(document: Mapping[str, Any]) -> Tombstone:
    """What remains of a forgotten memory, as the hot tier keeps it."""
    return Tombstone(
        document["_id"], document["tenant"], document["project"], document["agent_id"], document["session_id"],
        MemoryType(document["memory_type"]), int(document["version"]), int(document["forgotten_at"]),
        int(document.get("said_at") or document["forgotten_at"]),
    )  # fmt: skip


def tombstone_document(entry: Mapping[bytes, bytes]) -> Document:
    """The document that replaces a forgotten memory, from its journal entry."""
    text = {name.decode(): raw.decode() for name, raw in entry.items()}
    names = {name: from_tag(text[name]) for name in ("tenant", "project", "agent_id", "session_id")}
    return {
        "_id": text["id"], "tombstone": True, **names, "memory_type": text["memory_type"],
        "version": int(text["version"]), "forgotten_at": int(text["forgotten_at"]),
        "said_at": int(text["said_at"]),
    }  # fmt: skip


def to_bson_vector(vector: bytes) -> Binary:
    """Little-endian float32 bytes as a BSON vector."""
    return Binary(bytes([BinaryVectorDtype.FLOAT32.value[0], 0]) + vector, 9)


def from_bson_vector(binary: bytes) -> bytes:
    """The float32 bytes of a BSON vector (whose first two bytes are its type and padding). One of bytes comes back with the
    same direction, to a part in about a hundred; its length is one."""
    kind, numbers = bytes(binary)[:1], bytes(binary)[2:]
    if kind != BinaryVectorDtype.INT8.value:
        return numbers
    import numpy as np

    row = np.frombuffer(numbers, dtype=np.int8).astype("<f4")
    return (row / max(1.0, float(np.linalg.norm(row)))).astype("<f4").tobytes()


def to_bytes_vector(binary: bytes) -> Binary:
    """A BSON vector with a signed byte a dimension, the largest number as 127: a quarter of the size, for the tier
    `archive`."""
    if bytes(binary)[:1] == BinaryVectorDtype.INT8.value:
        return Binary(bytes(binary), 9)
    import numpy as np

    row = np.frombuffer(bytes(binary)[2:], dtype="<f4")
    largest = float(np.max(np.abs(row), initial=0.0)) or 1.0
    numbers = np.rint(row * (127 / largest)).astype(np.int8).tobytes()
    return Binary(bytes([BinaryVectorDtype.INT8.value[0], 0]) + numbers, 9)


def from_feedback(feedback: Feedback) -> Document:
    """Feedback as a part of a document."""
    return {name: _encode(value) for name, value in msgspec.structs.asdict(feedback).items()}


def to_feedback(said: Mapping[str, Any]) -> Feedback:
    """The feedback in a document."""
    at = from_microseconds(int(said["at"]))
    return Feedback(int(said["count"]), float(said["useful"]), float(said["useless"]), at)


def _encode(value: Any) -> Any:
    match value:
        case datetime():
            return to_microseconds(value)
        case Feedback():
            return from_feedback(value)
    return value


def plain(value: Any) -> Any:
    """What BSON's decoder made of the metadata as JSON again: its number types, and references out of `$ref` and `$id`."""
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value
