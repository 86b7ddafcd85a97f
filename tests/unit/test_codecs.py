"""A memory goes through a Redis hash, a journal entry and a MongoDB document, and comes out as it went in."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.archive import codec as archive
from memoryd.clock import from_microseconds, to_microseconds
from memoryd.hot import codec as hot
from memoryd.model.feedback import Feedback
from memoryd.model.ids import hash_content
from memoryd.model.memory import Memory, MemoryType, Tier, check_metadata
from memoryd.model.record import Record, seal

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

# Keys that mean something to MongoDB, to BSON's decoder, to JSON's writers or to Lua's.
ODD_KEYS = [
    "", "$a", "a.b", ".", "$ref", "$id", "$db", "$set", "$where", "_id", "id", "collection", "database", "__proto__",
    "$numberLong", "$oid", "entries", "embedding", "ключ", "\u202e", "👩\u200d👧",
]  # fmt: skip

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
memory_ids = st.text("0123456789abcdef", min_size=32, max_size=32).map(lambda digits: f"mem_{digits}")
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), timezones=st.just(UTC))
keys = st.sampled_from(ODD_KEYS) | text
scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.sampled_from([INT64_MIN, INT64_MAX, 2**53 + 1, 2**31, -(2**31) - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
json = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
metadata = st.dictionaries(keys, json, max_size=5)
verdicts = st.integers(0, 10**9).map(lambda millionths: millionths / 1e6)
feedbacks = st.builds(Feedback, st.integers(1, 2**53), verdicts, verdicts, moments)
vectors = st.none() | st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    """Any memory that a caller can bring about."""
    content = draw(text.filter(str.strip))
    return Memory(
        id=draw(memory_ids), tenant=draw(names), project=draw(names), agent_id=draw(st.just("") | names),
        session_id=draw(st.just("") | names), memory_type=draw(st.sampled_from(MemoryType)), tier=draw(st.sampled_from(Tier)),
        content=content, content_hash=hash_content(content), importance=draw(st.floats(0, 1)), created_at=draw(moments),
        last_accessed=draw(moments), access_count=draw(st.integers(0, 2**53)), source_tool=draw(st.just("") | names),
        metadata=draw(metadata), tags=draw(st.lists(names, max_size=4)), related=draw(st.lists(memory_ids, max_size=3)),
        derived_from=draw(st.lists(memory_ids, max_size=3)), version=draw(st.integers(1, 2**53)), valid_from=draw(moments),
        valid_until=draw(st.none() | moments), recorded_at=draw(moments), feedback=draw(st.none() | feedbacks),
    )  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> Record:
    """A memory with its vector, or pending."""
    memory, numbers = draw(memories()), draw(vectors)
    if numbers is None:
        return Record(memory)
    vector = np.array(numbers, dtype="<f4").tobytes()
    followed_by = tuple(draw(st.lists(memory_ids, max_size=2)))
    return Record(msgspec.structs.replace(memory, embedding_model="a model"), vector, followed_by)


def as_stored(record: Record, datatype: str = "float32") -> dict[bytes, bytes]:
    """The fields as a reader of Redis gets them."""
    return {name.encode(): as_bytes(value) for name, value in hot.record_fields(record, datatype).items()}


def as_bytes(value: hot.Encoded) -> bytes:
    """A value as Redis keeps it."""
    return value if isinstance(value, bytes) else str(value).encode()


def through_bson(document: archive.Document) -> dict[str, Any]:
    """What MongoDB gives back."""
    return bson.decode(bson.encode(document))


@given(records())
def test_a_hash_gives_back_the_record_it_was_made_of(record: Record) -> None:
    """Every field, to the microsecond and to the last bit of each float."""
    assert hot.to_record(as_stored(record), "float32") == record


@given(records())
def test_a_document_gives_back_the_record_it_was_made_of(record: Record) -> None:
    """Through real BSON, whatever the metadata's keys mean to MongoDB."""
    assert archive.to_record(through_bson(archive.to_document(record))) == record


@given(records())
def test_hash_and_document_tell_the_same_story(record: Record) -> None:
    """The archiver reads hash fields and writes a document; the follower does the reverse. Nothing drifts."""
    archived = through_bson(archive.to_document(hot.to_record(as_stored(record), "float32")))
    back = hot.to_record(as_stored(archive.to_record(archived)), "float32")

    assert back == record
    assert archived["seal"] == seal(back.memory)


@given(records())
def test_a_half_precision_vector_is_the_same_in_both_stores(record: Record) -> None:
    """float16 rounds once, on its way into Redis. After that the archive, and a Redis filled from it, hold equal vectors."""
    first = as_stored(record, "float16")
    archived = archive.to_record(through_bson(archive.to_document(hot.to_record(first, "float16"))))

    # Not to the byte: of an object whose names are $id and $ref, BSON's decoder does not keep their order.
    assert hot.to_record(as_stored(archived, "float16"), "float16") == hot.to_record(first, "float16")
    assert archived.memory == record.memory
    if record.vector is not None:
        assert archived.vector is not None
        wanted = np.frombuffer(record.vector, dtype="<f4")
        assert np.allclose(np.frombuffer(archived.vector, dtype="<f4"), wanted, atol=1e-3)


@given(memories())
def test_a_seal_outlives_the_archive(memory: Memory) -> None:
    """Our own writes come back from the change stream with a seal that fits; only then are they left alone."""
    document = through_bson(archive.to_document(Record(memory)))

    assert document["seal"] == seal(memory) == seal(archive.to_record(document).memory)


@given(metadata)
def test_what_both_stores_can_hold_is_accepted(value: dict[str, Any]) -> None:
    """Odd keys and the largest 64-bit numbers are metadata like any other."""
    check_metadata(value)


@pytest.mark.parametrize(
    "value",
    [
        {"$ref": "a", "$id": 1},
        {"$ref": "a", "$id": {"$ref": "b", "$id": 2, "$db": "c"}, "id": 5, "collection": "x"},
        {"list": [{"$ref": "a", "$id": None}]},
        {"$ref": 5, "$id": 1},
    ],
)
def test_metadata_that_looks_like_a_database_reference_stays_metadata(value: dict[str, Any]) -> None:
    """BSON's decoder makes a DBRef of it, which is no JSON: the seal would fail, and the memory be buried."""
    memory = plain(metadata={"where": value})

    document = through_bson(archive.to_document(Record(memory)))

    assert archive.to_record(document).memory.metadata == {"where": value}
    assert seal(archive.to_record(document).memory) == document["seal"]


@given(st.lists(names, max_size=6))
def test_tags_stay_apart_whatever_they_hold(tags: list[str]) -> None:
    """A comma in a tag is a part of it, not the end of it."""
    fields = {b"tags": as_bytes(hot.to_fields({"tags": tags})["tags"])}

    assert hot.to_memory({**as_stored(Record(plain())), **fields}).tags == tags


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_a_moment_is_a_whole_number_of_microseconds(count: int) -> None:
    """No float stands between a time and its number: the years 1 to 9999 survive exactly."""
    assert to_microseconds(from_microseconds(count)) == count


def test_a_pending_memory_says_so_and_has_no_vector() -> None:
    """A placeholder vector is never stored."""
    fields = hot.record_fields(Record(plain()), "float32")

    assert fields["pending"] == "1"
    assert "embedding" not in fields
    assert "embedding" not in archive.to_document(Record(plain()))


def test_a_tombstone_holds_no_content() -> None:
    """Whatever the entry of the forget carries, the archive keeps id, scope, type, version and time."""
    entry = {
        b"op": b"forgotten", b"id": b"mem_" + b"0" * 32, b"tenant": b"a%2Cb", b"project": b"p", b"agent_id": b"",
        b"session_id": b"%7E", b"memory_type": b"fact", b"version": b"4", b"forgotten_at": b"1772366400123456",
        b"said_at": b"1772366400123000",
        b"content": b"kumquat", b"content_hash": b"ff",
    }  # fmt: skip

    document = archive.tombstone_document(entry)

    assert set(document) == {
        "_id", "tombstone", "tenant", "project", "agent_id", "session_id", "memory_type", "version", "forgotten_at", "said_at"
    }  # fmt: skip
    assert (document["tenant"], document["session_id"], document["version"]) == ("a,b", "~", 4)
    assert archive.to_tombstone(document).forgotten_at == 1772366400123456


@pytest.mark.parametrize("missing", ["id", "content", "tenant", "version", "recorded_at"])
def test_half_a_memory_is_no_memory(missing: str) -> None:
    """Fields that are not there are never made up."""
    fields = as_stored(Record(plain()))
    del fields[missing.encode()]

    with pytest.raises((KeyError, ValueError, TypeError)):
        hot.to_memory(fields)


def test_what_a_person_wrote_is_completed() -> None:
    """Someone who inserts a document by hand gives the least; the rest is filled in, hash and times included."""
    by_hand = {
        "_id": "mem_" + "1" * 32,
        "tenant": "acme",
        "project": "support",
        "memory_type": "fact",
        "content": "By hand.",
    }

    memory = archive.to_record(archive.completed(by_hand, NOW)).memory

    assert memory.content_hash == hash_content("By hand.")
    assert memory.created_at == memory.recorded_at == NOW
    assert memory.pending


def test_an_edited_content_loses_its_vector() -> None:
    """The old vector says nothing about the new words."""
    memory = plain(embedding_model="a model")
    document = archive.to_document(Record(memory, b"\0\0\0\0"))

    edited = archive.completed({**document, "content": "Other words."}, NOW + timedelta(days=1))

    assert "embedding" not in edited
    assert archive.to_record(edited).memory.pending


def plain(**changes: Any) -> Memory:
    """A memory of no interest but for `changes`."""
    usual: dict[str, Any] = {
        "id": "mem_" + "0" * 32, "tenant": "acme", "project": "support", "memory_type": MemoryType.FACT,
        "content": string.ascii_letters, "content_hash": hash_content(string.ascii_letters), "importance": 0.5,
        "created_at": NOW, "last_accessed": NOW, "version": 1, "valid_from": NOW, "recorded_at": NOW,
    }  # fmt: skip
    return Memory(**{**usual, **changes})
