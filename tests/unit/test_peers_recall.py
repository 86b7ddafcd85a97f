"""bench.peers_recall: who is asked, and what is counted as found."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.peers.at_work import LIMIT, Texts
from bench.peers.taking_turns import Turn
from bench.peers.vectors import of_words
from bench.peers_recall import Said, lines

EACH = 100


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """Of three users."""
    return Said(Texts.written(tmp_path / "texts.json", [*lines(3 * EACH, EACH)], ef_runtime=150, each=EACH))


def test_a_question_follows_another_users_and_is_about_a_text_of_its_user(said: Said) -> None:
    """What one user's questions warm is no help for the next one's."""
    texts = said.texts
    askers = [texts.asker(number) for number in range(30)]
    assert {*askers} == {"user00000", "user00001", "user00002"}
    assert all(one != following for one, following in pairwise(askers))
    for number in range(30):
        words = texts.asked(number).split()
        assert words[-1] == str(number)
        assert texts[texts.about(number)].startswith(" ".join(words[:-1]))


def test_the_nearest_of_the_user_are_what_can_be_found(said: Said) -> None:
    """All ten of them are all; those of another user are none of them, however near."""
    texts, number = said.texts, 7
    first = texts.about(number) // EACH * EACH
    like = said.vectors @ of_words(texts.asked(number))
    mine = first + np.argsort(-like[first : first + EACH])
    assert said.share_found(_turn(number, [texts[int(one)] for one in mine[:LIMIT]])) == 1.0
    assert said.share_found(_turn(number, [texts[int(one)] for one in mine[:4]])) == 0.4
    assert said.share_found(_turn(number, [texts[int(one)] for one in mine[-LIMIT:]])) == 0.0
    others = (first + EACH + np.arange(LIMIT)) % len(texts)
    assert said.share_found(_turn(number, [texts[int(one)] for one in others])) == 0.0


def _turn(number: int, contents: list[str]) -> Turn:
    return Turn(1.0, [1.0], {number: contents})
