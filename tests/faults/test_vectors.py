"""The judge of the vectors in context can fail: each promise, planted broken, is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from memoryd.embed.protocol import InContext
from memoryd.model.memory import Memory, MemoryType
from memoryd.model.record import Record
from tests.fakes import HashEmbedder
from tests.faults.embeddings import DIMS
from tests.faults.vectors import judge

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
IDS = "abcd"


async def event(at: int, text: InContext | str, **details: Any) -> Record:
    """The event `at` these, with the vector of a text."""
    embedder, moment = HashEmbedder(DIMS, reads_context=True), START + timedelta(seconds=at)
    rows = await (embedder.embed([text]) if isinstance(text, str) else embedder.embed_in_context([text]))
    memory = Memory(
        id=IDS[at], tenant="t", project="lab", agent_id="a", session_id="lake", memory_type=MemoryType.EPISODIC,
        content=f"turn {at}", content_hash="", importance=0.5, created_at=moment, last_accessed=moment, version=1,
        valid_from=moment, recorded_at=moment, follows=list(reversed(IDS[max(0, at - 2) : at])),
    )  # fmt: skip
    return Record(msgspec.structs.replace(memory, **details), rows[0].tobytes(), tuple(IDS[at + 1 : at + 2]))


async def conversation() -> dict[str, Record]:
    """Four turns that have read each other as they should, one after their own."""
    texts = [
        InContext("", "turn 0", "turn 1"),
        InContext("turn 0", "turn 1", "turn 2"),
        InContext("turn 0 turn 1", "turn 2", "turn 3"),
        InContext("turn 1 turn 2", "turn 3"),
    ]
    return {IDS[at]: await event(at, text) for at, text in enumerate(texts)}


def words(wrong: list[str]) -> set[str]:
    return {one.partition(":")[0] for one in wrong}


async def test_what_is_read_where_it_stands_passes() -> None:
    """Also by half, and as a version that has no vector any more."""
    whole = await conversation()
    half = {one: replace(found, vector=np.frombuffer(found.vector or b"", "<f4").astype("<f2").astype("<f4").tobytes())
            for one, found in whole.items()}  # fmt: skip
    assert await judge(half, whole, [*whole.values(), replace(whole["a"], vector=None)], 1) == []


@pytest.mark.parametrize("store", [0, 1, 2])
async def test_a_vector_of_other_words_is_found_in_each_store(store: int) -> None:
    """Of none around it, for instance."""
    stores = [await conversation() for _ in range(3)]
    stores[store]["c"] = await event(2, "turn 2")
    assert words(await judge(stores[0], stores[1], list(stores[2].values()), 1)) == {"trace"}


@pytest.mark.parametrize("gone", ["a", "d"])
async def test_a_vector_that_has_read_what_is_forgotten_is_found(gone: str) -> None:
    """Before it or after it; the history has it, too."""
    whole = await conversation()
    rest = {one: found for one, found in whole.items() if one != gone}
    assert words(await judge(rest, rest, [], 1)) == {"order", "trace"}
    assert words(await judge({}, rest, [whole["c"]], 1)) == {"trace"}


async def test_a_later_turn_that_is_not_read_is_found() -> None:
    whole = await conversation()
    whole["c"] = replace(await event(2, InContext("turn 0 turn 1", "turn 2")), followed_by=())
    assert words(await judge(whole, whole, [], 1)) == {"order"}


@pytest.mark.parametrize("differs", [{"context": 1}, {"follows": ["b"]}])
async def test_two_stores_that_differ_in_the_context_are_found(differs: dict[str, Any]) -> None:
    whole = await conversation()
    other = replace(whole["c"], memory=msgspec.structs.replace(whole["c"].memory, **differs))
    assert "context" in words(await judge(whole, whole | {"c": other}, [], 1))


async def test_one_without_a_vector_is_found() -> None:
    whole = await conversation()
    assert words(await judge(whole | {"b": replace(whole["b"], vector=None)}, whole, [], 1)) == {"unread"}
