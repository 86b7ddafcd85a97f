"""Chains and reports as pure functions: what breaks a chain, and what is counted of memories and events."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from memoryd.agent.counting import doing, entities_of, latency, topics_of
from memoryd.model.agent import broken, forgotten_link, fresh, linked, to_snapshot
from memoryd.model.introspection import Event
from memoryd.model.memory import Memory, MemoryType, NewMemory
from memoryd.model.scope import Scope
from memoryd.storing import born

SCOPE = Scope("t", "p", "scout")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def chain(count: int) -> list[dict[str, Any]]:
    """So many links."""
    links: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        body = {**fresh(0), "task": f"task {number}", "self_model": {"x": 1.5}}
        links.append(linked(SCOPE, number, links[-1]["hash"] if links else "", body, f"label {number}", NOW))
    return links


def first_problem(links: list[dict[str, Any]], scope: Scope = SCOPE) -> tuple[int, str] | None:
    """Where a chain breaks, and how."""
    before = ""
    for number, link in enumerate(links, 1):
        if what := broken(scope, number, before, link):
            return number, what
        before = link["hash"]
    return None


def test_a_chain_holds_and_shows_what_its_links_were() -> None:
    """Also when the content of one was forgotten."""
    links = chain(3)
    assert first_problem(links) is None
    assert to_snapshot(links[1]).state["task"] == "task 2"
    links[1] = forgotten_link(links[1])
    assert first_problem(links) is None
    assert (to_snapshot(links[1]).label, to_snapshot(links[1]).forgotten) == ("", True)


@pytest.mark.parametrize("name", ["seq", "at", "content", "content_hash", "previous", "hash", "forgotten"])
def test_whatever_is_changed_breaks_the_chain_there(name: str) -> None:
    """Each value of a link, one at a time."""
    links = chain(3)
    links[1] = {**links[1], name: {"seq": 7, "at": 1, "forgotten": True}.get(name, "x")}
    problem = first_problem(links)
    assert problem is not None
    assert problem[0] == 2


def test_links_that_change_places_or_owners_break_the_chain() -> None:
    """One that is left out, two that are exchanged, another agent's."""
    links = chain(4)
    assert first_problem([links[0], links[2], links[3]]) is not None
    assert first_problem([links[0], links[2], links[1], links[3]]) is not None
    assert first_problem(links, Scope("t", "p", "other")) == (1, "was changed: its hash is another")


def memory(number: int, content: str, **metadata: Any) -> Memory:
    """A memory of these words."""
    new = NewMemory(content=content, type=MemoryType.SEMANTIC, metadata=metadata)
    return replace(born(f"mem_{number:032x}", SCOPE, new, NOW + timedelta(hours=number)), version=1)


def test_names_are_told_from_words_that_begin_a_sentence() -> None:
    """By how they are written elsewhere; neighbours are one name; events of logs are not counted."""
    said = [
        memory(1, "Tea is what Ada Lovelace likes. Then she wrote to Charles Babbage's son."),
        memory(2, "Ada Lovelace drinks tea. Tea again! Babbage called."),
        memory(3, "Yesterday I'm told Charles Babbage came for tea, and I'm glad.", speaker="Bob"),
        memory(4, "No tea, said Bob."),
        memory(5, "Ada Lovelace and Bob and tea", event={"type": "x", "outcome": "ok"}),
    ]
    assert {one.name: one.memories for one in entities_of(said)} == {
        "Ada Lovelace": 2, "Charles Babbage": 2, "Bob": 2,
    }  # fmt: skip
    topics = topics_of(said, 3)
    assert (topics[0].name, topics[0].memories, topics[0].newest) == ("tea", 4, NOW + timedelta(hours=4))


def test_of_many_memories_topics_are_what_comes_and_goes() -> None:
    """And no filler, however often it is said; names are no topics."""
    chance = random.Random(3)
    said = []
    for n in range(200):
        topic = "painting" if n < 40 else "gardening" if n > 150 else "weather"
        filler = "really" if chance.random() < 0.6 else "great"
        said.append(memory(n, f"It was {filler} {topic if chance.random() < 0.7 else 'nice'}, says Ada"))
    assert {one.name for one in topics_of(said, 3, besides=["Ada"])} == {"gardening", "painting", "weather"}
    assert {one.name for one in topics_of(said, 99)} >= {"really", "great", "ada"}


def test_percentiles_are_by_nearest_rank() -> None:
    """They are times that were measured."""
    times = latency(range(100, 0, -1))
    assert times is not None
    assert (times.p50_us, times.p95_us, times.p99_us, times.max_us, times.mean_us) == (50, 95, 99, 100, 50)
    one = latency([7])
    assert one is not None
    assert (one.p50_us, one.p99_us) == (7, 7)
    assert latency([]) is None


def test_a_report_without_events_is_empty() -> None:
    """No division by what is not there."""
    empty = doing([], NOW)
    assert (empty.events, empty.all.success_rate, empty.all.first_at, empty.tools, empty.days) == (0, None, None, [], [])
    event = Event("mem_1", "message", "", "none", "", None, 0)
    assert (doing([event], NOW).events, doing([event], NOW).all.calls) == (1, 0)
