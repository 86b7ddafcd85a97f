"""Each limit holds at its last allowed value, and refuses the next one with the field's name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from memoryd import limits
from memoryd.errors import BadRequest, TooLarge
from memoryd.limits import (
    CONTENT_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    NAME_BYTES_MAX,
    REFERENCES_MAX,
    REPLY_BYTES_MAX,
    REQUEST_ID_BYTES_MAX,
    TAGS_MAX,
)
from memoryd.model.memory import NewMemory
from memoryd.protocol import connection
from memoryd.protocol.messages import encode_reply, read_envelope


def nested(levels: int) -> dict[str, Any]:
    """An object with `levels` more inside it."""
    return {"a": nested(levels - 1)} if levels else {}


def padded(size: int) -> dict[str, Any]:
    """Metadata of exactly `size` bytes as JSON."""
    return {"a": "x" * (size - len(msgspec.json.encode({"a": ""})))}


MEMORY_ID = "mem_" + "0" * 32
EDGES: list[tuple[str, Any, Any]] = [
    ("content", "x" * CONTENT_BYTES_MAX, "x" * (CONTENT_BYTES_MAX + 1)),
    ("content", "é" * (CONTENT_BYTES_MAX // 2), "é" * (CONTENT_BYTES_MAX // 2) + "x"),
    ("metadata", padded(METADATA_BYTES_MAX), padded(METADATA_BYTES_MAX + 1)),
    ("metadata", nested(METADATA_DEPTH_MAX), nested(METADATA_DEPTH_MAX + 1)),
    ("metadata", {"a": 2**63 - 1}, {"a": 2**63}),
    ("metadata", {"a": -(2**63)}, {"a": -(2**63) - 1}),
    ("tags", ["t"] * TAGS_MAX, ["t"] * (TAGS_MAX + 1)),
    ("tags", ["t" * NAME_BYTES_MAX], ["t" * (NAME_BYTES_MAX + 1)]),
    ("source_tool", "t" * NAME_BYTES_MAX, "t" * (NAME_BYTES_MAX + 1)),
    ("related", [MEMORY_ID] * REFERENCES_MAX, [MEMORY_ID] * (REFERENCES_MAX + 1)),
    ("derived_from", [MEMORY_ID] * REFERENCES_MAX, [MEMORY_ID] * (REFERENCES_MAX + 1)),
]


@pytest.mark.parametrize(
    ("field", "last", "over"), EDGES, ids=[f"{edge[0]}{number}" for number, edge in enumerate(EDGES)]
)
def test_a_memorys_limits_are_exact(field: str, last: Any, over: Any) -> None:
    """What the limit names is still allowed, and nothing beyond it."""
    usual = {"content": "c"}
    assert NewMemory(**{**usual, field: last}).check()
    with pytest.raises(BadRequest) as refused:
        NewMemory(**{**usual, field: over}).check()

    assert refused.value.details["field"] == field
    assert len(refused.value.message) < 200


def test_metadata_of_any_depth_is_refused_without_a_crash() -> None:
    """Also where Python's own recursion would end."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadRequest):
        NewMemory(content="c", metadata={"a": deep}).check()


@pytest.mark.parametrize(
    ("importance", "allowed"), [(0, True), (1, True), (0.5, True), (-0.01, False), (1.01, False), (True, False)]
)
def test_importance_lies_between_0_and_1(importance: float, allowed: bool) -> None:
    """As JSON: a number, and no other kind of value."""
    raw = msgspec.json.encode({"content": "c", "importance": importance})
    if allowed:
        assert msgspec.json.decode(raw, type=NewMemory).importance == importance
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(raw, type=NewMemory)


def request(**changes: Any) -> bytes:
    """An envelope as JSON."""
    return msgspec.json.encode({"v": 1, "id": "r", "op": "stats", "scope": {"tenant": "t", "project": "p"}, **changes})


def test_a_request_id_has_a_longest_form() -> None:
    """It is echoed in every answer."""
    assert read_envelope(request(id="r" * REQUEST_ID_BYTES_MAX))
    for wrong in ("", "r" * (REQUEST_ID_BYTES_MAX + 1)):
        with pytest.raises(BadRequest):
            read_envelope(request(id=wrong))


def test_an_envelope_has_a_largest_size() -> None:
    """It is measured before it is parsed."""
    filler = ENVELOPE_BYTES_MAX - len(request(traceparent=""))
    assert read_envelope(request(traceparent="x" * filler))
    with pytest.raises(TooLarge):
        read_envelope(request(traceparent="x" * (filler + 1)))
    with pytest.raises(TooLarge):
        read_envelope(b"[" * (ENVELOPE_BYTES_MAX + 1))


def test_an_answer_that_is_too_large_becomes_an_error() -> None:
    """Redis would cut the subscriber off, and its caller would wait for nothing."""
    raw = encode_reply("r", "x" * REPLY_BYTES_MAX)
    assert msgspec.json.decode(raw)["error"]["code"] == "too_large"
    assert msgspec.json.decode(encode_reply("r", "x" * 1000))["ok"]


def test_limits_that_lean_on_one_another_stand() -> None:
    """Each inequality is the reason for one of the numbers."""
    acknowledging = max(limits.ARCHIVED_TIMEOUT_SECONDS, limits.SEARCHABLE_TIMEOUT_SECONDS)
    longest_verb = limits.FSYNC_TIMEOUT_SECONDS + acknowledging
    assert longest_verb <= limits.TAKEOVER_IDLE_SECONDS, "a request that is still being served must not be taken over"
    assert limits.TAKEOVER_IDLE_SECONDS < connection.ANSWER_SECONDS, "a client waits longer than a takeover takes"
    assert connection.ANSWER_SECONDS < limits.IDEMPOTENCY_TTL_SECONDS, "a retry is recognised"
    assert limits.STORE_MANY_MAX * (CONTENT_BYTES_MAX // 8) <= ENVELOPE_BYTES_MAX, "usual memories fit one store_many"
    assert CONTENT_BYTES_MAX * 6 + METADATA_BYTES_MAX * 6 < ENVELOPE_BYTES_MAX, (
        "any one memory fits, also as \\u escapes"
    )
    assert limits.PLACE_LIFE_SECONDS < limits.EVENTS_TTL_SECONDS, "what a place is good for outlives it"
    assert limits.EVENTS_PAGE_MAX * 600 < REPLY_BYTES_MAX, "a page of events with the longest names fits a reply"
    assert REPLY_BYTES_MAX <= 16 * 1024 * 1024, "half of Redis's hard limit for a subscriber's buffer"
