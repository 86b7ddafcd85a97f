"""What a selection means, and that nobody can change a chain of receipts unseen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.archive.receipts import to_body, to_document, to_receipt
from memoryd.lifecycle.selection import Selection, digest, resolve
from memoryd.lifecycle.targets import Plan, Target
from memoryd.limits import FORGET_PLAN_MAX, RECEIPT_PAGE_MAX, REPLY_BYTES_MAX
from memoryd.model.ids import hash_content, receipt_id
from memoryd.model.memory import Durability, Memory, MemoryType
from memoryd.model.receipt import ForgottenMany, ForgottenMemory, FullReceipt, broken_link, chained
from memoryd.model.scope import Scope
from memoryd.model.words import words_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCOPE = Scope("acme", "support")
NAMES = st.sampled_from(["", "a", "b"])
GIVEN_NAMES = st.sampled_from([None, "a", "b"])


def memory(**values: Any) -> Memory:
    """A memory with usual values where none are given."""
    usual: dict[str, Any] = {
        "id": "mem_" + "0" * 32, "tenant": "acme", "project": "support", "memory_type": MemoryType.FACT, "content": "Tea.",
        "content_hash": "", "importance": 0.5, "created_at": NOW, "last_accessed": NOW, "version": 1, "valid_from": NOW,
        "recorded_at": NOW,
    }  # fmt: skip
    return Memory(**{**usual, **values})


memories = st.builds(
    memory,
    id=st.integers(0, 3).map(lambda n: f"mem_{n:032x}"),
    project=st.sampled_from(["support", "other"]),
    agent_id=NAMES, session_id=NAMES, memory_type=st.sampled_from(MemoryType),
    tags=st.lists(st.sampled_from(["x", "y"]), max_size=2),
    created_at=st.integers(0, 3).map(lambda days: NOW - timedelta(days=days)),
    content=st.lists(st.sampled_from(["Tea", "tea,", "COFFEE", "teapot"]), min_size=1, max_size=3).map(" ".join),
)  # fmt: skip
selections = st.builds(
    Selection,
    ids=st.lists(st.integers(0, 3).map(lambda n: f"mem_{n:032x}"), max_size=2),
    session=GIVEN_NAMES, agent=GIVEN_NAMES, tags=st.lists(st.sampled_from(["x", "y"]), max_size=2),
    types=st.lists(st.sampled_from(MemoryType), max_size=2),
    before=st.none() | st.integers(0, 3).map(lambda days: NOW - timedelta(days=days)),
    older_than_seconds=st.none() | st.integers(0, 3).map(lambda days: days * 24 * 3600),
    words=st.sampled_from(["", "tea", "Tea coffee"]),
)  # fmt: skip


@given(selections, memories)
def test_a_memory_is_selected_when_all_that_was_given_holds(selection: Selection, one: Memory) -> None:
    """Each criterion said once more, in plain words."""
    holds = [
        one.project == "support",
        not selection.ids or one.id in selection.ids,
        selection.session in (None, one.session_id),
        selection.agent in (None, one.agent_id),
        not selection.tags or any(tag in one.tags for tag in selection.tags),
        not selection.types or one.memory_type in selection.types,
        selection.before is None or one.created_at < selection.before,
        selection.older_than_seconds is None
        or one.created_at < NOW - timedelta(seconds=selection.older_than_seconds),
        all(word in one.content.lower().replace(",", "").split() for word in selection.words.lower().split()),
    ]
    assert resolve(selection, SCOPE, NOW).matches(one) is all(holds)


@pytest.mark.parametrize(
    ("words", "content", "found"),
    [
        ("kiwi", "KIWI!", True), ("kiwi", "kiwis", False), ("strasse", "Straße", True), ("ARGER", "Ärger", False),
        ("e\u0301lan", "Élan", True), ("naïve plan", "plan: 'nai\u0308ve'", True), ("नमस्ते", "नमस्ते दुनिया", True),
        ("4711 a_b", "(4711) a_b-c", True), ("москва", "Москва.", True),
    ],
)  # fmt: skip
def test_words_are_whole_and_without_case(words: str, content: str, found: bool) -> None:
    """In every script, however the accents are written."""
    assert (words_of(words) <= words_of(content)) is found


@given(selections)
def test_a_receipt_says_what_was_asked_without_quoting_it(selection: Selection) -> None:
    """Tags and words as digests; ids as their number."""
    described = msgspec.json.encode(selection.described()).decode()
    assert "coffee" not in described
    assert not any(f'"{tag}"' in described for tag in selection.tags)
    assert not any(memory_id in described for memory_id in selection.ids)
    assert not selection.words or digest(selection.words) in described


# --- the chain ----------------------------------------------------------------------------------------------------------
def receipt(number: int, count: int = 1, reason: str = "selected by id") -> FullReceipt:
    """A receipt as a forget leaves it."""
    gone = [ForgottenMemory(id=f"mem_{one:032x}", version=2**53 - one, reason=reason) for one in range(count)]
    return FullReceipt(
        id=receipt_id(SCOPE, str(number), ""), tenant="acme", project="support", agent="ädà", session="", asked_by="c-1",
        request_id=str(number), selection={"session": "s1", "types": ["fact"]}, cascade=False, asked_at=NOW,
        finished_at=NOW + timedelta(microseconds=number), durability=Durability.HOT,
        removed={"redis": {"records": count}, "mongodb": {"versions": 2 * count}}, count=count, memories=gone,
        entries={"0a": "1795247245019-0"}, plan="0" * 64,
    )  # fmt: skip


def chain(length: int) -> list[dict[str, Any]]:
    """The documents of a chain, as MongoDB gives them back."""
    documents, previous = [], ""
    for number in range(1, length + 1):
        one = chained(receipt(number), number, previous)
        previous = one.hash
        documents.append(bson.decode(bson.encode(to_document(one))))
    return documents


def broken(documents: list[dict[str, Any]]) -> list[str]:
    """What a walk along the chain finds."""
    bodies = [to_body(one) for one in documents]
    pairs = zip([None, *bodies], bodies, strict=False)
    return [problem for before, one in pairs if (problem := broken_link(before, one))]


def test_a_chain_that_nobody_touched_holds() -> None:
    """Also after its way through BSON, whose numbers and times are others; and the receipts are what they were."""
    documents = chain(5)
    assert broken(documents) == []
    assert to_receipt(to_body(documents[2])) == chained(receipt(3), 3, documents[1]["hash"])


FIELDS = [*to_document(chained(receipt(1), 1, "")), "another"]


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "hash"])
def test_a_change_of_any_field_is_found(field: str) -> None:
    """Also of one that a receipt does not have, and also when its hash was made to fit: then the next one's link breaks."""
    values: list[Any] = ["forged", 7, None, [], {"redis": {}}]
    for value in values:
        documents = chain(3)
        if documents[1].get(field) == value:
            continue
        documents[1][field] = value
        assert broken(documents)


def test_a_receipt_whose_hash_was_made_to_fit_breaks_the_next_link() -> None:
    """Who changes one has to make all later ones anew."""
    documents = chain(3)
    forged = chained(msgspec.structs.replace(receipt(2), count=0, memories=[]), 2, documents[0]["hash"])
    documents[1] = to_document(forged)
    assert broken(documents) == ["does not follow from number 2"]


@given(st.permutations(range(4)))
def test_another_order_is_found(order: list[int]) -> None:
    """Whatever it is."""
    documents = chain(4)
    assert bool(broken([documents[index] for index in order])) is (order != sorted(order))


@given(st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_a_missing_receipt_is_found_unless_it_is_the_last(missing: set[int]) -> None:
    """What was cut off the end no chain can show."""
    left = [one for index, one in enumerate(chain(6)) if index not in missing]
    only_the_end = missing == set(range(6 - len(missing), 6))
    assert bool(broken(left)) is not only_the_end


# --- sizes ------------------------------------------------------------------------------------------------------------
def test_the_largest_forget_fits_everywhere() -> None:
    """Its receipt into a document of MongoDB, its page into an answer."""
    largest = receipt(1, FORGET_PLAN_MAX, reason=f"derived from mem_{0:032x}")
    largest = msgspec.structs.replace(largest, selection={"tags": [digest("t")] * 32, "session": "é" * 64})
    assert len(bson.encode(to_document(chained(largest, 1, "")))) < 12 * 1024 * 1024  # of 16
    page = ForgottenMany(receipt=largest.page(0, RECEIPT_PAGE_MAX))
    assert len(msgspec.json.encode(page)) < REPLY_BYTES_MAX / 16


def test_a_plans_digest_is_of_ids_versions_and_reasons() -> None:
    """Not of their order, nor of the time."""

    def plan(*targets: tuple[int, int, str], asked_at: datetime = NOW) -> str:
        many = [
            Target(
                id=f"mem_{one:032x}", version=version, type=MemoryType.FACT, agent="", session="", hot=True,
                archived_version=0, contents=[hash_content(reason)], reason=reason,
            )
            for one, version, reason in targets
        ]  # fmt: skip
        return Plan(asked_at=asked_at, targets=many, removes={}).digest

    same = plan((1, 1, "selected by id"), (2, 1, "derived from it"))
    assert plan((2, 1, "derived from it"), (1, 1, "selected by id"), asked_at=NOW + timedelta(days=1)) == same
    others = [
        plan((1, 1, "selected by id")),
        plan((1, 2, "selected by id"), (2, 1, "derived from it")),
        plan((1, 1, "selected by tag"), (2, 1, "derived from it")),
    ]
    assert len({same, *others}) == 4
