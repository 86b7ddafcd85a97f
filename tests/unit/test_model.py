"""What a memory is, who may see it, and what a caller may say about it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.errors import BadRequest
from memoryd.model.memory import Changes, Memory, MemoryType, NewMemory, in_utc
from memoryd.model.record import SEALED, Tombstone, seal
from memoryd.model.scope import Scope

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEMORY = Memory(
    id="mem_" + "0" * 32, tenant="acme", project="support", agent_id="scout", session_id="s1",
    memory_type=MemoryType.FACT, content="Ada prefers tea.", content_hash="h", importance=0.5, created_at=NOW,
    last_accessed=NOW, version=1, valid_from=NOW, recorded_at=NOW,
)  # fmt: skip


# --- scope ------------------------------------------------------------------------------------------------------------
few = st.sampled_from(["a", "b"])
scopes = st.builds(Scope, few, few, st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "b"]))


@pytest.mark.parametrize(
    ("reader", "sees"),
    [
        (Scope("acme", "support"), True),
        (Scope("acme", "support", "scout"), True),
        (Scope("acme", "support", "scout", "s1"), True),
        (Scope("acme", "support", "", "s1"), True),
        (Scope("acme", "support", "scout", "s2"), False),
        (Scope("acme", "support", "other"), False),
        (Scope("acme", "sales", "scout", "s1"), False),
        (Scope("umbrella", "support", "scout", "s1"), False),
        (Scope("Acme", "support", "scout", "s1"), False),
        (Scope("acme", "support", "scout", "s1 "), False),
    ],
)
def test_a_scope_sees_what_lies_inside_it(reader: Scope, sees: bool) -> None:
    """An empty agent or session means all of them; every other difference means no."""
    assert reader.holds(MEMORY.scope) is sees


@given(scopes, scopes, scopes)
def test_scopes_nest(outer: Scope, middle: Scope, inner: Scope) -> None:
    """What lies inside something inside a scope lies inside that scope."""
    assert outer.holds(outer)
    if outer.holds(middle) and middle.holds(inner):
        assert outer.holds(inner)


@given(scopes, st.sampled_from([None, "a", "b"]))
def test_narrowing_never_widens(scope: Scope, session: str | None) -> None:
    """A request's session can only take away; a scope that is fixed to another one refuses."""
    if session is not None and scope.session not in ("", session):
        with pytest.raises(BadRequest):
            scope.narrowed(session)
    else:
        assert scope.holds(scope.narrowed(session))


def test_an_empty_session_is_no_way_out_of_a_session() -> None:
    """It means all sessions only where the scope means them too."""
    with pytest.raises(BadRequest):
        Scope("acme", "support", "scout", "s1").narrowed("")
    assert Scope("acme", "support", "scout").narrowed("") == Scope("acme", "support", "scout")


@pytest.mark.parametrize("scope", [Scope("", "p"), Scope("t", ""), Scope("t", "p", "a\n"), Scope("t", "p", "", "\0")])
def test_a_scope_has_a_tenant_and_a_project(scope: Scope) -> None:
    """An empty name would be a wildcard in a filter."""
    with pytest.raises(BadRequest):
        scope.check()


# --- what a caller gives ------------------------------------------------------------------------------------------------
def test_facts_meet_themselves_and_events_do_not() -> None:
    """Two equal facts are one memory, two equal events are two."""
    assert [kind.value for kind in MemoryType if not kind.dedups] == ["episodic"]


@pytest.mark.parametrize("content", ["", " ", "\n\t \r\n", "\u00a0\u2003", "a\0b", "\0", "\ud800"])
def test_content_is_text(content: str) -> None:
    """Neither nothing, nor what one of the stores cannot hold."""
    with pytest.raises(BadRequest) as refused:
        NewMemory(content=content).check()
    assert refused.value.details["field"] == "content"
    with pytest.raises(BadRequest):
        Changes(content=content).check()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("importance", math.nan), ("importance", math.inf), ("importance", -math.inf),
        ("metadata", {"a": math.nan}), ("metadata", {"a": [{"b": math.inf}]}), ("metadata", {"a": 2**63}),
        ("metadata", {"a": -(2**63) - 1}), ("metadata", {1: "a"}), ("metadata", {"a\0": 1}), ("metadata", {"a": "\ud800"}),
        ("metadata", {"\udfff": 1}), ("metadata", {"a": b"bytes"}), ("metadata", {"a": {1, 2}}), ("metadata", {"a": NOW}),
        ("tags", [""]), ("tags", ["a\n"]), ("source_tool", "a\0"), ("related", ["mem_1"]), ("derived_from", ["*"]),
        ("valid_from", datetime(2026, 3, 1)), ("valid_until", datetime(2026, 3, 1)),
        ("valid_from", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        ("valid_until", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=12)))),
    ],
)  # fmt: skip
def test_a_value_that_the_stores_cannot_hold_is_refused_by_name(field: str, value: Any) -> None:
    """The error names the field, for `store` and for `update` alike."""
    for given_ in (NewMemory(content="c", **{field: value}), Changes(**{field: value})):
        with pytest.raises(BadRequest) as refused:
            given_.check()
        assert refused.value.details["field"] == field


def test_an_update_that_changes_nothing_is_a_mistake() -> None:
    """It would count a version up for no reason."""
    with pytest.raises(BadRequest):
        Changes().check()


def test_an_update_tells_what_was_left_out_from_what_is_removed() -> None:
    """`valid_until: null` opens the end again; leaving it out keeps it."""
    assert msgspec.json.decode(b'{"valid_until": null}', type=Changes).given() == {"valid_until": None}
    assert msgspec.json.decode(b'{"tags": []}', type=Changes).given() == {"tags": []}
    assert msgspec.json.decode(b"{}", type=Changes).given() == {}


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=offsets))
def test_a_time_means_the_same_moment_in_utc(moment: datetime) -> None:
    """Whatever zone a caller lives in."""
    assert in_utc("valid_from", moment) == moment
    assert in_utc("valid_from", moment).tzinfo is UTC


# --- seal and tombstone -----------------------------------------------------------------------------------------------
OTHERS: dict[str, Any] = {
    "tenant": "x", "project": "x", "agent_id": "x", "session_id": "x", "memory_type": MemoryType.SEMANTIC,
    "tier": "long", "content": "x", "importance": 0.25, "source_tool": "x", "metadata": {"x": 1}, "tags": ["x"],
    "related": ["x"], "derived_from": ["x"], "version": 2, "valid_from": NOW + timedelta(microseconds=1), "valid_until": NOW,
    "shared_with": ["x"],
}  # fmt: skip


@pytest.mark.parametrize("field", SEALED)
def test_a_seal_breaks_when_a_person_edits(field: str) -> None:
    """Each field that a person may edit is under it, else the edit would never get a version."""
    assert seal(msgspec.structs.replace(MEMORY, **{field: OTHERS[field]})) != seal(MEMORY)


def test_a_seal_holds_when_counters_and_vectors_follow() -> None:
    """They come after the version, and would otherwise look like a person's edit."""
    followed = msgspec.structs.replace(
        MEMORY, access_count=9, last_accessed=NOW + timedelta(days=1), embedding_model="m", content_hash="other"
    )
    assert seal(followed) == seal(MEMORY)


def test_a_seal_does_not_depend_on_the_order_of_keys() -> None:
    """Stores are free to give an object back in another order."""
    one = msgspec.structs.replace(MEMORY, metadata={"a": 1, "b": {"c": 2, "d": 3}})
    other = msgspec.structs.replace(MEMORY, metadata={"b": {"d": 3, "c": 2}, "a": 1})
    assert seal(one) == seal(other)


def test_a_tombstone_has_no_room_for_content() -> None:
    """Id, scope, type, version and time; nothing of what it said."""
    assert set(Tombstone.__struct_fields__) == {
        "id", "tenant", "project", "agent_id", "session_id", "memory_type", "version", "forgotten_at", "said_at"
    }  # fmt: skip


def test_a_memory_waits_for_its_vector_until_a_model_is_named() -> None:
    """No placeholder: pending is the absence of a model."""
    assert MEMORY.pending
    assert not msgspec.structs.replace(MEMORY, embedding_model="m").pending
