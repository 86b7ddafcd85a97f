"""A record as the fields of a Redis hash, and back. A journal entry carries the same fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from memoryd.clock import from_microseconds, to_microseconds
from memoryd.limits import NAMES_KNOWN_MAX
from memoryd.model.episode import event_fields
from memoryd.model.facets import facets_of
from memoryd.model.fact import fact_fields
from memoryd.model.feedback import from_text, to_text
from memoryd.model.memory import Memory, MemoryType, Tier
from memoryd.model.record import Record
from memoryd.model.scope import from_tag, to_tag
from memoryd.model.speech import speaker_of
from memoryd.model.terms import terms_of

NAMES = ("tenant", "project", "agent_id", "session_id", "source_tool")
TIMES = ("created_at", "last_accessed", "valid_from", "recorded_at", "valid_until")
TAGS = ("tags", "shared_with")
IDS = ("related", "derived_from", "follows")
PLAIN = ("id", "content", "content_hash", "embedding_model")

SLOTS = ("", "2")
"""What follows `embedding` and `embedding_model` in a record: while a model is changed it has both. See docs/reindex.md."""

# What a reader needs to build a Memory: everything but the vector and the bookkeeping.
MEMORY_FIELDS = (
    *PLAIN, *NAMES, *TIMES, *IDS, *TAGS, "memory_type", "tier", "importance", "access_count", "metadata", "version",
    "context", "feedback", "embedding_model2", "hash",
)  # fmt: skip

MADE_OF = (
    "id", "tenant", "project", "agent_id", "session_id", "memory_type", "content", "content_hash", "hash", "speaker", "follows",
    "followed_by", "context",
)  # fmt: skip
"""What a vector is made of, and where."""

HALF = "float16"
"""How a light record keeps its vector, in its field `half`. The whole one is in the archive."""

Encoded: TypeAlias = str | bytes | int | float


def to_fields(values: Mapping[str, Any]) -> dict[str, Encoded]:
    """The hash fields of some of a memory's values. None is left out: a hash has no null."""
    fields = {name: _encode(name, value) for name, value in values.items() if value is not None}
    return fields | derived_fields(values.get("content"), values.get("metadata"))


def derived_fields(content: str | None, metadata: Mapping[str, Any] | None) -> dict[str, Encoded]:
    """What ranking asks of every candidate: made once, when it is written, and for Redis only (it follows from the rest)."""
    fields: dict[str, Encoded] = {} if content is None else {"terms": terms_of(content, metadata or {})}
    if metadata is None:
        return fields
    from_metadata = {**event_fields(metadata), **fact_fields(metadata), "facets": facets_of(metadata)}
    return {**fields, "speaker": speaker_of(metadata), **from_metadata}


def record_fields(record: Record, datatype: str) -> dict[str, Encoded]:
    """All hash fields of a record, its vector as the index's `datatype`, `pending` included when it has none."""
    fields = to_fields(msgspec.structs.asdict(record.memory))
    if not record.memory.shared_with:
        del fields["shared_with"]
    if record.vector is None:
        fields.pop("embedding_model", None)
        return {**fields, "pending": "1"}
    if record.followed_by:
        fields["followed_by"] = ",".join(record.followed_by)
    return {**fields, "embedding": to_hot_vector(record.vector, datatype)}


def to_memory(fields: Mapping[bytes, bytes]) -> Memory:
    """The memory that these hash fields hold. Raises KeyError or ValueError when they are no whole memory."""
    return _memory({name: decode(fields[key]) for name, key, decode in _READ if key in fields})


def read_memory(row: Sequence[bytes | None], wanted: Sequence[str] = MEMORY_FIELDS) -> Memory:
    """The memory of a record of which these fields were read, without content and metadata where it is light or they are not
    wanted. Raises as `to_memory` does, which is for who needs it whole: for a journal entry or the archive."""
    found: dict[str, Any] = {name: _DECODED[name](raw) for name, raw in zip(wanted, row, strict=True) if raw is not None}
    found.setdefault("content", "")
    found.setdefault("metadata", {})
    return _memory(found)


def _memory(found: dict[str, Any]) -> Memory:
    """Of the values of MEMORY_FIELDS that there are. The model is under the first slot's name, whichever slot the vector is in; a
    light record has the hash of its content where no index looks."""
    if (second := found.pop("embedding_model2", None)) is not None:
        found.setdefault("embedding_model", second)
    if (light := found.pop("hash", None)) is not None:
        found["content_hash"] = light
    return Memory(**found)


def to_record(fields: Mapping[bytes, bytes], datatype: str) -> Record:
    """The memory and its vector."""
    fields = _one_vector(fields)
    vector = float32_of(fields.get(b"embedding"), fields.get(b"half"), datatype)
    return Record(to_memory(fields), vector, tuple(_ids(fields.get(b"followed_by", b""))) if vector else ())


def float32_of(whole: bytes | None, half: bytes | None, datatype: str) -> bytes | None:
    """The float32 vector of a record or a journal entry, which has it whole as `datatype`, or by half."""
    if whole is not None:
        return from_hot_vector(whole, datatype)
    return from_hot_vector(half, HALF) if half is not None else None


def _one_vector(fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The fields with the vector that there is under the first slot's names, whichever slot it is in."""
    if b"embedding_model" in fields or b"embedding_model2" not in fields:
        return fields
    second = {b"embedding": b"embedding2", b"half": b"half2", b"embedding_model": b"embedding_model2"}
    return {**fields, **{name: fields[raw] for name, raw in second.items() if raw in fields}}


def to_hot_vector(vector: bytes, datatype: str) -> bytes:
    """A float32 vector as the index keeps it: float32, or float16 in half the memory."""
    return vector if datatype == "float32" else _cast(vector, "<f4", "<f2")


def from_hot_vector(vector: bytes, datatype: str) -> bytes:
    """The float32 vector behind what the index keeps."""
    return vector if datatype == "float32" else _cast(vector, "<f2", "<f4")


def _cast(vector: bytes, source: str, target: str) -> bytes:
    import numpy as np

    return np.frombuffer(vector, dtype=source).astype(target).tobytes()


def _encode(name: str, value: Any) -> Encoded:
    if name in NAMES:
        return to_tag(value)
    if name in TAGS:
        return ",".join(to_tag(tag) for tag in value)
    if name in IDS:
        return ",".join(value)
    if name == "metadata":
        return msgspec.json.encode(value)
    if isinstance(value, datetime):
        return to_microseconds(value)
    if name == "importance":
        return repr(float(value))
    if name == "feedback":
        return to_text(value)
    return value  # type: ignore[no-any-return]  # content, ids, hashes, enums and counts are what Redis takes


def _ids(raw: bytes) -> list[str]:
    return raw.decode().split(",") if raw else []


@lru_cache(NAMES_KNOWN_MAX)
def _name(raw: bytes) -> str:
    """The same few names stand in record after record."""
    return from_tag(raw.decode())


def _tags(raw: bytes) -> list[str]:
    return [from_tag(tag) for tag in _ids(raw)]


_TYPES = {str(one).encode(): one for one in MemoryType}
_TIERS = {str(one).encode(): one for one in Tier}

# How each field of a record is read: a recall reads a dozen of them, thirty fields each.
_DECODED: dict[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(NAMES, _name), **dict.fromkeys(TAGS, _tags), **dict.fromkeys(IDS, _ids),
    **dict.fromkeys(TIMES, lambda raw: from_microseconds(int(raw))),
    **dict.fromkeys(("access_count", "version", "context"), int), "importance": float, "metadata": msgspec.json.decode,
    "feedback": lambda raw: from_text(raw.decode()), "memory_type": _TYPES.__getitem__, "tier": _TIERS.__getitem__,
    **dict.fromkeys((*PLAIN, *MEMORY_FIELDS[-2:]), bytes.decode),
}  # fmt: skip
_READ = [(name, name.encode(), _DECODED[name]) for name in MEMORY_FIELDS]
