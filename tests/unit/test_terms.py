"""Text as full-text search compares it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.limits import QUERY_WORDS_MAX, TERM_CHARS_MAX, TERM_REPEATS_MAX, TERMS_MAX
from memoryd.model.terms import bounded, query_terms, terms

SEPARATORS = set("|-@*(){}[]\"'~%=>$:;,.<!?/\\ \t\n\0")


@given(st.text(max_size=300))
def test_terms_are_few_and_none_is_an_operator(text: str) -> None:
    """Whatever is asked, and whatever is remembered."""
    asked = query_terms(text)

    assert len(asked) <= QUERY_WORDS_MAX
    assert len(set(asked)) == len(asked)
    assert all(0 < len(term) <= TERM_CHARS_MAX for term in (*asked, *terms(text)))
    assert not set("".join((*asked, *terms(text)))) & SEPARATORS


@given(st.text(max_size=300))
def test_a_question_in_a_memorys_own_words_has_only_its_terms(text: str) -> None:
    """Or it would not be found by them."""
    assert set(query_terms(text)) <= set(terms(text)) == set(bounded(text).split())


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("A painted sunset.", "painting SUNSETS"), ("Ada's pottery", "Ada pottery"), ("don't", "don\u2019t"),
        ("café", "cafe"), ("cafe\u0301", "CAFÉ"), ("Straße", "strasse"), ("ёлка", "Елка"), ("Ἀθήνα", "αθηνα"), ("ｆｕｌｌ", "full"),
    ],
)  # fmt: skip
def test_forms_of_a_word_are_one_term(written: str, asked: str) -> None:
    """Endings, case, accents, widths and apostrophes do not keep a question from its answer."""
    assert terms(written) == terms(asked)


@pytest.mark.parametrize("word", ["नमस्ते", "שָׁלוֹם", "مُحَمَّد", "snake_box", "4711"])
def test_a_word_stays_whole_where_spaces_end_words(word: str) -> None:
    """A mark that is part of a letter is no end of a word."""
    assert query_terms(word) == [word]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [("東京タワー", ["東京", "京タ", "タワ", "ワー"]), ("iPhone手机", ["iphon", "手机"]), ("水", ["水"]),
     ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี"])],
)  # fmt: skip
def test_scripts_without_spaces_become_pairs(text: str, pairs: list[str]) -> None:
    """A part of a sentence is found although nobody says where its words end."""
    assert terms(text) == pairs


def test_words_that_say_nothing_are_left_out_unless_there_are_no_others() -> None:
    """Stop words are not in the index at all; a question's words only go where something better is left."""
    assert query_terms("What does Ada drink?") == ["ada", "drink"]
    assert query_terms("Who are you?") == ["who", "you"]
    assert query_terms("the of and !!!") == []


def test_a_record_keeps_bounded_terms() -> None:
    """However long the memory, ranking reads little of it; and however often it repeats a word."""
    assert bounded("tea, coffee and Tea") == "tea tea coffe"
    assert bounded("tea " * 100).split() == ["tea"] * TERM_REPEATS_MAX
    assert len(bounded(" ".join(f"w{count}" for count in range(3 * TERMS_MAX))).split()) == TERMS_MAX
