"""Names, ids and words: what no text may do to them."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memoryd.errors import BadRequest
from memoryd.keys import Keys, claim, embedding, events, events_prefix
from memoryd.limits import NAME_BYTES_MAX
from memoryd.model.ids import check_id, content_id, event_id, hash_content, normalised
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope, check_name, check_unicode, from_tag, to_tag

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SAFE = set(string.ascii_letters + string.digits + "_.-%")
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=24)
text = st.text(st.characters(codec="utf-8"), max_size=60)


# --- names as tags ----------------------------------------------------------------------------------------------------
@given(names)
def test_a_name_comes_back_from_its_tag(name: str) -> None:
    """Percent-encoding loses nothing: not case, not outer spaces, not how a letter is composed."""
    assert from_tag(to_tag(name)) == name


@given(names)
def test_a_tag_holds_no_character_that_means_something(name: str) -> None:
    """Neither a separator of keys, channels and tag lists, nor an operator of the query language, nor a glob."""
    assert set(to_tag(name)) <= SAFE


@given(names, names)
def test_different_names_are_different_tags(one: str, other: str) -> None:
    """Two tenants never share a key."""
    assume(one != other)
    assert to_tag(one) != to_tag(other)


@given(st.tuples(names, names), st.tuples(names, names))
def test_no_two_scopes_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Tenant `a:b` with project `c` is not tenant `a` with project `b:c`."""
    assume(one != other)
    keys, memory_id = Keys(16), "mem_" + "0" * 32
    mine, theirs = Scope(*one), Scope(*other)

    assert keys.memory("semantic", mine, memory_id) != keys.memory("semantic", theirs, memory_id)
    assert keys.idempotency(mine, memory_id, "r") != keys.idempotency(theirs, memory_id, "r")
    assert embedding(mine, "m", "h") != embedding(theirs, "m", "h")
    assert events(mine) != events(theirs)
    assert not events(mine).startswith(events_prefix(theirs))


@pytest.mark.parametrize(
    ("mine", "theirs"), [(("a:b", "c"), ("a", "b:c")), (("a", "b"), ("a%3Ab", "")), (("a", "B"), ("a", "b"))]
)
def test_names_cannot_reach_over_a_separator(mine: tuple[str, str], theirs: tuple[str, str]) -> None:
    """The example that percent-encoding is there for, and an encoded name given as a name."""
    assert events_prefix(Scope(*mine)) != events_prefix(Scope(*theirs))


@pytest.mark.parametrize("char", [chr(code) for code in [*range(32), *range(127, 160)]])
def test_control_characters_are_refused_in_names(char: str) -> None:
    """They are invisible where people read keys, and NUL ends a query."""
    with pytest.raises(BadRequest) as refused:
        check_name("scope.agent", f"a{char}b")

    assert refused.value.details == {"field": "scope.agent"}
    assert char not in refused.value.message


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_half_a_character_is_refused(name: str) -> None:
    """A lone surrogate cannot be written as UTF-8: neither store could hold it."""
    with pytest.raises(BadRequest):
        check_name("scope.tenant", name)
    with pytest.raises(BadRequest):
        check_unicode("content", f"some {name} text")


@pytest.mark.parametrize("char", ["x", "é", "語", "😀"])
def test_a_names_length_is_counted_in_bytes(char: str) -> None:
    """It becomes part of keys."""
    fits = NAME_BYTES_MAX // len(char.encode())
    assert check_name("tags", char * fits)
    with pytest.raises(BadRequest):
        check_name("tags", char * (fits + 1))


# --- ids --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value", ["", "mem_", "mem_" + "0" * 31, "mem_" + "0" * 33, "MEM_" + "0" * 32, "mem_" + "A" * 32, "mem_" + "g" * 32,
              "mem_" + "0" * 32 + "\n", " mem_" + "0" * 32, "mem_" + "٠" * 32, "*", "mem_*" + "0" * 31]
)  # fmt: skip
def test_what_has_not_the_form_of_an_id_is_none(value: str) -> None:
    """The first two digits choose the bucket, so the form is checked before anything else."""
    with pytest.raises(BadRequest):
        check_id("id", value)


scopes = st.builds(Scope, names, names, st.just("") | names, st.just("") | names)


@given(scopes, scopes, st.sampled_from(MemoryType), st.sampled_from(MemoryType))
def test_an_id_depends_on_all_of_the_scope_and_on_the_type(
    mine: Scope, theirs: Scope, kind: MemoryType, other: MemoryType
) -> None:
    """Equal content in two scopes, or of two types, is two memories."""
    assume((mine, kind) != (theirs, other))
    content = hash_content("the same")

    assert content_id(mine, kind, content) != content_id(theirs, other, content)
    assert check_id("id", content_id(mine, kind, content)) == content_id(mine, kind, content)


def test_a_scopes_parts_cannot_be_shifted_into_one_another() -> None:
    """What stands in one part never counts as another part's beginning."""
    scopes = [Scope("ab", "c"), Scope("a", "bc"), Scope("a", "b", "c"), Scope("a", "b", "", "c"), Scope('a","b', "c")]
    assert len({content_id(scope, "fact", "h") for scope in scopes}) == len(scopes)


def test_a_salt_gives_another_id() -> None:
    """The way out when an id belongs to a memory that was changed since."""
    scope = Scope("a", "b")
    assert len({content_id(scope, "fact", "h", salt) for salt in range(9)}) == 9


@given(scopes, scopes, names, names)
def test_two_equal_events_are_two_and_a_repeat_is_one(mine: Scope, theirs: Scope, one: str, other: str) -> None:
    """Another request is another event; the same request meets its first attempt."""
    assume((mine, one) != (theirs, other))
    content = hash_content("the same")

    assert event_id(mine, one, content) != event_id(theirs, other, content)
    assert event_id(mine, one, content) == check_id("id", event_id(mine, one, content))


@given(scopes, names)
def test_whatever_a_request_stores_lies_in_its_own_bucket(scope: Scope, request_id: str) -> None:
    """There its id is known, when it comes again with something else."""
    first, second = (event_id(scope, request_id, hash_content(one)) for one in ("this", "that"))

    assert first != second
    assert Keys(256).bucket(first) == Keys(256).bucket(second)


@given(names, names)
def test_the_events_of_a_session_share_a_bucket(one: str, other: str) -> None:
    """One atomic step then sees what an event follows, on Redis Cluster too."""
    session = Scope("a", "b", "c", "d")
    first, second = (event_id(session, request_id, hash_content(request_id)) for request_id in (one, other))

    assert Keys(256).bucket(first) == Keys(256).bucket(second)


# --- text as dedup compares it ----------------------------------------------------------------------------------------
@given(text)
def test_normalising_twice_changes_nothing(content: str) -> None:
    """Otherwise the same memory, stored from what was read back, would be another one."""
    assert normalised(normalised(content)) == normalised(content)


@pytest.mark.parametrize(
    ("one", "other"),
    [("tea", " tea\n"), ("a  b", "a b"), ("a\tb", "a b"), ("a\r\nb", "a\nb"), ("a  \nb", "a\nb"), ("ä", "a\u0308")],
)
def test_what_reads_the_same_is_the_same(one: str, other: str) -> None:
    """Outer and doubled spaces, line ends, and how a letter is composed."""
    assert hash_content(one) == hash_content(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Tea", "tea"), ("tea.", "tea"), ("a\n  b", "a\nb"), ("ﬁ", "fi"), ("x²", "x2"), ("a\u200bb", "ab")],
)
def test_what_reads_differently_is_different(one: str, other: str) -> None:
    """Case, punctuation, indentation and look-alikes stay: a program is not a sentence."""
    assert hash_content(one) != hash_content(other)


@given(names, names)
def test_claims_are_kept_apart(one: str, other: str) -> None:
    """Two published requests with different ids are two requests."""
    assume(one != other)
    assert claim(one) != claim(other)
    assert set(claim(one).removeprefix("aether:claim:")) <= set(string.hexdigits)
