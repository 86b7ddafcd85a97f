"""The signals of a recall, each as a pure function over candidates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.clock import to_microseconds
from memoryd.errors import BadRequest, ConfigError
from memoryd.hot.search import Row, rarest
from memoryd.limits import CANDIDATES_MAX, FEEDBACK_HALF_LIFE_SECONDS
from memoryd.model.feedback import Feedback
from memoryd.model.memory import MemoryType
from memoryd.model.terms import query_terms, terms
from memoryd.recall.meaning import meaning
from memoryd.recall.pool import Pool
from memoryd.recall.profiles import CONVERSATION, FACTS, RECENT, Profiles
from memoryd.recall.rank import rank
from memoryd.recall.speech import first_person, named, speaker
from memoryd.recall.words import expansion, neighbours, session, words
from memoryd.recall.worth import HALF_LIFE_SECONDS, feedback, recency

TALK = [
    ("Ben", "What did you paint?"), ("Ada", "A sunset, last Friday!"), ("Ben", "Nice."), ("Ada", "The build was red."),
    ("Ben", "Which build?"),
]  # fmt: skip


def row(number: int, text: str, **details: Any) -> Row:
    """A candidate as a search brings it."""
    defaults: dict[str, Any] = {
        "speaker": "", "session": ("", "s1"), "follows": [], "importance": 0.5, "valid_from": number,
    }  # fmt: skip
    return Row(memory_id=f"mem_{number}", kind="episodic", terms=terms(text), **{**defaults, **details})


def talk() -> dict[str, Row]:
    """A short conversation."""
    rows = [
        row(at, text, speaker=who, follows=[f"mem_{before}" for before in (at - 1, at - 2) if before >= 0])
        for at, (who, text) in enumerate(TALK)
    ]
    return {one.memory_id: one for one in rows}


def pool(question: str, rows: dict[str, Row]) -> Pool:
    """The candidates beside a question."""
    asked = query_terms(question)
    return Pool(rows, asked, {term: sum(term in one.terms for one in rows.values()) for term in asked}, len(rows))


def test_a_rare_word_says_more_than_a_common_one() -> None:
    """And more in a short memory than in a long one."""
    texts = ("Ada eats", "Ada sings", "Ada dreams", "walnuts now", "walnuts " + "more " * 9)
    by_words = words(pool("Ada walnuts", {one.memory_id: one for one in (row(at, text) for at, text in enumerate(texts))}))

    assert by_words[3] > by_words[0] == by_words[1] > 0
    assert by_words[3] > by_words[4]


def test_an_answer_is_found_by_the_question_before_it() -> None:
    """It has none of the words; what comes before says twice of what comes after."""
    found = pool("What did Ada paint?", talk())
    own = words(found)
    around = neighbours(found, own)

    assert own.tolist() == [own[0], 0, 0, 0, 0]
    assert around.tolist() == [0, own[0], own[0], 0, 0]
    later = pool("which build", talk())
    assert neighbours(later, words(later))[3] == pytest.approx(words(later)[4] / 2)


def test_a_session_speaks_for_its_turns() -> None:
    """What a conversation was about decides where to look; what has no session stands for itself."""
    rows = talk() | {"mem_8": row(8, "Something else", session=("", "s2")), "mem_9": row(9, "paint", session=("", ""))}
    by_session = session(pool("paint", rows))

    assert by_session[1] == by_session[0] > by_session[5] == 0
    assert by_session[6] > 0


def test_words_of_the_best_bring_what_is_like_them() -> None:
    """`sunset` stands beside `paint` in the best, and so finds what does not say `paint`."""
    texts = ("We paint a sunset", "That sunset was red", "The train was late", "He sings", "She reads")
    rows = {one.memory_id: one for one in (row(at, text) for at, text in enumerate(texts))}
    found = pool("paint", rows)
    more = expansion(found, words(found))

    assert more[1] > 0
    assert more[2:].tolist() == [0, 0, 0]
    assert expansion(pool("nothing of this", rows), np.zeros(5)).tolist() == [0] * 5


@pytest.mark.parametrize(
    ("question", "who", "asked"),
    [
        ("What did Ada paint?", {"Ada"}, "What did I paint?"),
        ("Is Ada's sister tall, and does Ada like her?", {"Ada"}, "Is my sister tall, and do I like her?"),
        ("when was ada in Rome?", {"Ada"}, "when was I in Rome?"),
        ("What did Ada Lovelace say to Ada?", {"Ada Lovelace"}, "What did I say to I?"),
        ("Where is Adam?", {"Ada"}, "Where is Adam?"),
        ("What (.*) did A.d[a paint?", {"A.d[a"}, "What (.*) did I paint?"),
    ],
)
def test_a_question_is_put_into_the_first_person(question: str, who: set[str], asked: str) -> None:
    """As those whom it names would ask it; a name is never a pattern."""
    assert first_person(question, who) == asked


def test_who_is_named_speaks() -> None:
    """By first or whole name; a fact, which nobody said, counts when it names them."""
    assert named("What did ada paint?", ["Ada Lovelace", "Ben", "", "?!"]) == {"Ada Lovelace"}
    rows = talk() | {"mem_8": row(8, "Ada is tall"), "mem_9": row(9, "Ben is tall")}

    assert speaker(pool("", rows), {"Ada"}).tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_what_was_not_found_by_meaning_counts_as_the_farthest_that_was() -> None:
    """Not as unlike everything: nobody has compared it."""
    rows = {one.memory_id: one for one in (row(0, "a", similarity=0.5), row(1, "b"), row(2, "c", similarity=0.1))}

    assert meaning(pool("", rows)).tolist() == [0.5, 0.1, 0.1]  # type: ignore[union-attr]
    assert meaning(pool("", {"mem_1": row(1, "b")})) is None


def test_a_memory_is_half_as_recent_after_its_half_life() -> None:
    """By the time at which it happened; the future is now."""
    life = int(HALF_LIFE_SECONDS * 1e6)
    rows = {one.memory_id: one for one in (row(0, "", valid_from=life), row(1, "", valid_from=0), row(2, "", valid_from=9 * life))}

    assert recency(pool("", rows), life).tolist() == [1, 0.5, 1]


def test_the_score_is_the_sum_of_its_parts() -> None:
    """Each part says its value, its weight and what it makes of the score."""
    ranked = rank(pool("What did Ada paint?", talk()), CONVERSATION, who={"Ada"}, quoted=(), now=0)

    assert ranked[0].memory_id == "mem_1"
    for one in ranked:
        assert one.score == pytest.approx(sum(part.contribution for part in one.why.values()), abs=1e-5)
        assert set(one.why) == set(CONVERSATION.weights) - {"meaning", "feedback"}  # nobody has judged
    assert ranked[0].why["speaker"].contribution == CONVERSATION.weights["speaker"]


def test_feedback_moves_a_memory_and_never_hides_it() -> None:
    """The first verdict says most, a thousand are bounded, and half of it is left after thirty days."""
    now, month = datetime(2026, 3, 1, tzinfo=UTC), timedelta(seconds=FEEDBACK_HALF_LIFE_SECONDS)
    said = {1: (1.0, 0.0), 2: (0.0, 1000.0), 3: (1000.0, 0.0)}
    rows = talk() | {
        f"mem_{at}": row(at, TALK[at][1], feedback=Feedback(1, *verdicts, now)) for at, verdicts in said.items()
    }
    found = pool("paint", rows)

    values = feedback(found, to_microseconds(now))
    assert values is not None
    assert values.tolist() == pytest.approx([0, 1 / 3, -0.5, 1000 / 1002, 0])
    later = feedback(found, to_microseconds(now + month))
    assert later is not None
    assert later[1] == pytest.approx(0.5 / 2.5)
    assert feedback(pool("paint", talk()), 0) is None
    ranked = {one.memory_id: one for one in rank(found, CONVERSATION, who=set(), quoted=(), now=to_microseconds(now))}
    assert ranked["mem_2"].why["feedback"].contribution == -0.5


def test_who_says_a_whole_memory_means_that_memory() -> None:
    """Whatever else speaks for another one."""
    ranked = rank(pool("What did Ada paint?", talk()), CONVERSATION, who={"Ada"}, quoted=["mem_4"], now=0)

    assert ranked[0].memory_id == "mem_4"


@given(st.permutations(sorted(talk())))
def test_the_order_of_equals_is_that_of_their_ids(order: list[str]) -> None:
    """Not that in which they were found."""
    rows = talk()
    same = [one.memory_id for one in rank(pool("nobody", {key: rows[key] for key in order}), FACTS, who=set(), quoted=(), now=0)]

    assert same == [one.memory_id for one in rank(pool("nobody", rows), FACTS, who=set(), quoted=(), now=0)]


def test_nothing_found_is_nothing_ranked() -> None:
    """No candidate, no average of none."""
    assert rank(pool("Ada", {}), CONVERSATION, who=set(), quoted=(), now=0) == []


def test_profiles_are_chosen_by_type_or_by_name_and_may_be_configured() -> None:
    """A name that there is not, and a signal that there is not, are refused."""
    profiles = Profiles({"mine": {"words": 1}, "recent": {"recency": 1}})

    assert profiles.choose("", ()) is profiles.choose("", (MemoryType.EPISODIC, MemoryType.FACT)) is CONVERSATION
    assert profiles.choose("", (MemoryType.FACT,)) is FACTS
    assert profiles.choose("mine", ()).weights == {"words": 1}
    assert (profiles.choose("recent", ()).weights, profiles.choose("recent", ()).standard) == ({"recency": 1}, RECENT.standard)
    with pytest.raises(BadRequest, match="profile"):
        profiles.choose("other", ())
    with pytest.raises(ConfigError, match="smell is no signal"):
        Profiles({"mine": {"smell": 1}})


def test_of_a_crowded_question_the_rarest_words_are_searched() -> None:
    """As many as bring no more than one search, and at least one; a word that nothing has brings nothing."""
    assert rarest({"ada": CANDIDATES_MAX, "paint": 10, "sunset": 3, "none": 0}) == ["sunset", "paint"]
    assert rarest({"ada": 10 * CANDIDATES_MAX, "ben": 9 * CANDIDATES_MAX}) == ["ben"]
