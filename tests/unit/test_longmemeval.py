"""LongMemEval's form and its authors' retrieval scores, on a history that is small enough to do by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.longmemeval import load, score, table


def instance(question_id: str, **changes: Any) -> dict[str, Any]:
    """One of the published form: two sessions, out of order, one of which has the answer in two of its turns."""
    said = [
        {"role": "user", "content": "I adopted a cat.", "has_answer": True}, {"role": "assistant", "content": "Lovely!"},
        {"role": "user", "content": "Her name is Miso.", "has_answer": True},
        {"role": "user", "content": "Bye.", "has_answer": False},
    ]  # fmt: skip
    other = [{"role": "user", "content": "What is the weather?"}, {"role": "assistant", "content": " "}]
    whole = {
        "question_id": question_id, "question_type": "single-session-user", "question": "What is my cat called?",
        "answer": "Miso", "question_date": "2023/05/30 (Tue) 10:00", "haystack_session_ids": ["answer_1", "s_2"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/01 (Mon) 23:59"], "haystack_sessions": [said, other],
        "answer_session_ids": ["answer_1"],
    }  # fmt: skip
    return {**whole, **changes}


def test_a_history_is_read_in_the_order_of_its_dates(tmp_path: Path) -> None:
    """Turns keep the numbers that the authors give them, empty ones are left out, and abstentions are not counted."""
    path = tmp_path / "longmemeval_s.json"
    path.write_text(json.dumps([instance("q1"), instance("q2_abs")]))
    first, abstains = load(path)

    assert [one.id for one in first.turns] == ["s_2_1", "answer_1_1", "answer_1_2", "answer_1_3", "answer_1_4"]
    assert [one.moment for one in first.turns] == sorted(one.moment for one in first.turns)
    assert first.evidence == {"answer_1_1", "answer_1_3"}
    assert (first.counted, abstains.counted) == (True, False)


def test_scores_are_those_of_the_authors_retrieval(tmp_path: Path) -> None:
    """Recall of any and of all, and a discounted gain whose first two places weigh the same."""
    path = tmp_path / "longmemeval_s.json"
    path.write_text(json.dumps([instance("q1")]))
    [one] = load(path)
    line = score(one, ["answer_1_4", "answer_1_3", "s_2_1", "answer_1_1"])

    assert (line["turn recall_any@1"], line["turn recall_any@3"], line["turn recall_all@3"]) == (0, 1, 0)
    assert line["turn recall_all@5"] == 1
    assert line["turn ndcg_any@3"] == pytest.approx(1 / 2)  # the second place, of the first and the second
    assert line["turn ndcg_any@5"] == pytest.approx((1 + 1 / 2) / 2)
    # What an evidence session says besides its evidence is another session to the authors.
    assert (line["session recall_any@1"], line["session recall_all@3"]) == (0, 1)
    assert "| all | 1 |" in table([line])
