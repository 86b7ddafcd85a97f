"""Paths, places and estimates of sessions: pure, and strict about what may become part of a name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.embed.tokens import Estimate
from memoryd.errors import BadRequest
from memoryd.hot.sessions import Head, state_path_in
from memoryd.model.scope import Scope
from memoryd.model.session import Status, session_place, state_path

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
STEPS = st.lists(st.one_of(NAMES, st.integers(0, 999_999)), max_size=15)


@given(NAMES, STEPS)
def test_a_path_that_is_written_is_read_back(first: str, more: list[str | int]) -> None:
    """Names behind a dot, places in brackets."""
    text = first + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in more)
    assert state_path(text) == [first, *more]


@given(st.text())
def test_no_text_becomes_more_than_quoted_names_and_numbers(text: str) -> None:
    """What leaves this gate is JSONPath that means exactly one value below the root."""
    try:
        steps = state_path(text)
    except BadRequest:
        return
    path = state_path_in("variables", steps).removeprefix("$.head.variables")
    assert re.fullmatch(r'(\["[A-Za-z0-9_-]+"\]|\[[0-9]+\])+', path, re.ASCII)


def test_each_session_has_a_place_of_its_own() -> None:
    """Names cannot be moved between tenant, project, agent and session; one without a session is none."""
    places = {session_place(Scope(*names)).id for names in (("a", "b", "c", "d"), ("a", "b", "", "cd"), ("ab", "c", "", "d"))}
    assert len(places) == 3
    with pytest.raises(BadRequest):
        session_place(Scope("a", "b", "c"))


def test_the_numbers_that_a_session_holds_come_from_both_ends() -> None:
    """Ranges of a past that was rolled back, then the open end."""
    head = Head(1, Status.OPEN, 5, 0, 0, 0, 60, [(0, 2), (7, 10)], 10, 0)
    assert list(head.oldest_first()) == [0, 1, 7, 8, 9]
    assert list(head.newest_first()) == [9, 8, 7, 1, 0]


async def test_an_estimate_counts_rather_too_much() -> None:
    """Bytes, not characters: other scripts have more tokens a character."""
    assert await Estimate().count(["", "a", "abcd", "日本"]) == [0, 1, 2, 2]
