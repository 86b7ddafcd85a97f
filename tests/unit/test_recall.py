"""The signals of a recall, each as a pure function over candidates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.clock import to_microseconds
from memoryd.errors import BadRequest, ConfigError
from memoryd.hot.briefs import Brief, numbered
from memoryd.hot.rows import Candidates, rarest
from memoryd.limits import CANDIDATES_MAX, FACETS_MAX, FEEDBACK_HALF_LIFE_SECONDS, QUERY_WORDS_MAX
from memoryd.model.facets import facet, facets_of
from memoryd.model.feedback import Feedback
from memoryd.model.memory import MemoryType
from memoryd.model.scope import Scope
from memoryd.model.terms import query_terms, terms
from memoryd.recall.diverse import by_session, diverse, likeness
from memoryd.recall.layout import Layouts
from memoryd.recall.meaning import meaning
from memoryd.recall.pool import Pool, highest
from memoryd.recall.profiles import CONVERSATION, FACTS, RECENT, Profiles
from memoryd.recall.rank import rank, short
from memoryd.recall.speech import first_person, named, speaker
from memoryd.recall.synonyms import Synonyms
from memoryd.recall.when import periods, when
from memoryd.recall.words import expansion, neighbours, session, words
from memoryd.recall.worth import HALF_LIFE_SECONDS, feedback, recency

TALK = [
    ("Ben", "What did you paint?"), ("Ada", "A sunset, last Friday!"), ("Ben", "Nice."), ("Ada", "The build was red."),
    ("Ben", "Which build?"),
]  # fmt: skip


def row(number: int, text: str, **details: Any) -> Brief:
    """A candidate as a search brings it."""
    said = " ".join(terms(text))
    defaults: dict[str, Any] = {
        "speaker": "", "session": ("", "s1"), "follows": [], "importance": 0.5, "valid_from": number, "feedback": None,
    }  # fmt: skip
    return Brief(memory_id=f"mem_{number}", kind="episodic", terms=said, words=numbered(said), **{**defaults, **details})


def talk() -> dict[str, Brief]:
    """A short conversation."""
    rows = [
        row(at, text, speaker=who, follows=[f"mem_{before}" for before in (at - 1, at - 2) if before >= 0])
        for at, (who, text) in enumerate(TALK)
    ]
    return {one.memory_id: one for one in rows}


def pool(question: str, rows: dict[str, Brief], similarity: dict[str, float] | None = None) -> Pool:
    """The candidates beside a question."""
    asked = query_terms(question)
    return Pool(Candidates(rows, similarity or {}), asked, len(rows))


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
    rows = {one.memory_id: one for one in (row(0, "a"), row(1, "b"), row(2, "c"))}

    assert meaning(pool("", rows, {"mem_0": 0.5, "mem_2": 0.1})).tolist() == [0.5, 0.1, 0.1]  # type: ignore[union-attr]
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
        assert set(one.why) == set(CONVERSATION.weights) - {"meaning", "when", "feedback"}  # nobody has judged
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


def test_synonyms_are_of_one_project() -> None:
    """A phrase is asked for when all its words are; a question has room for so many words only."""
    synonyms = Synonyms({"acme": {"support": [["k8s", "Kubernetes"], ["NYC", "New York"]]}})
    here, elsewhere = Scope("acme", "support"), Scope("acme", "sales")

    def asked(question: str, scope: Scope) -> list[str]:
        return synonyms.with_synonyms(scope, query_terms(question))

    assert set(asked("k8s", here)) == {"k8s", *query_terms("kubernetes")}
    assert asked("trains to New York", here) == [*query_terms("trains to New York"), "nyc"]
    assert asked("a new train to York", here)[-1] == "nyc"
    assert asked("a new train", here) == query_terms("a new train")
    assert asked("k8s", elsewhere) == ["k8s"]
    assert len(asked(" ".join(f"w{n}" for n in range(31)) + " nyc", here)) == QUERY_WORDS_MAX
    for wrong in ([["alone"]], [["k8s", "!?"]], [["a"] * 17], [["k8s", "kubernetes"]] * 1001):
        with pytest.raises(ConfigError, match="MEMORYD_SYNONYMS"):
            Synonyms({"acme": {"support": wrong}})


def test_a_diverse_answer_puts_what_repeats_behind() -> None:
    """Without diversity it is the order of the scores; with all of it, only the first is chosen by its score."""
    alike = likeness([None] * 4, ["ada bakes cake", "ada bakes cake", "ben sails", "ada bakes bread"])

    assert alike[0].tolist() == [1.0, 1.0, 0.0, 0.5]
    assert diverse([4, 3, 2, 1], alike, 0.0)[0] == [0, 1, 2, 3]
    order, told = diverse([4, 3, 2, 1], alike, 0.7)
    assert (order, told) == ([0, 2, 3, 1], [0.0, 0.0, 0.5, 1.0])
    assert diverse([1, 1, 1], np.eye(3), 0.5)[0] == [0, 1, 2]
    assert diverse([], likeness([], []), 0.5) == ([], [])


def test_vectors_decide_what_is_alike_where_there_are_some() -> None:
    """One without a vector, or with one of another model, is compared by its words."""
    vectors = [np.array(one, "<f4").tobytes() for one in ([1, 0], [2, 0], [0, 1], [0, 0, 1])]
    alike = likeness([*vectors, None], ["a", "b", "c", "a", "b"])

    assert alike[0].tolist() == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert alike[4].tolist() == [0.0, 1.0, 0.0, 0.0, 1.0]


def test_sessions_come_in_the_order_of_their_best() -> None:
    """Of each the first so many."""
    assert by_session([("a", "1"), ("a", "2"), ("a", "1"), ("a", "1"), ("x",)], 2) == [0, 2, 1, 4]


@given(st.dictionaries(st.text(max_size=140), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=140)))
def test_facets_never_break_out_of_their_field(metadata: dict[str, Any]) -> None:
    """Whatever a name or value holds, a facet is one value of the index, and a filter finds it."""
    made = facets_of(metadata).split(",")
    wanted = [one for one in (facet(name, value) for name, value in metadata.items()) if one]

    assert made == (wanted[:FACETS_MAX] or [""])
    assert all(one.isascii() and one.count("=") == 1 and not set(one) & set(" ,|{}()\"\\") for one in wanted)


NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("question", "first", "days"),
    [
        ("What did Ada paint on October 13, 2023?", "2023-10-13", 1), ("on the 13th of October 2023", "2023-10-13", 1),
        ("What happened in July 2023?", "2023-07-01", 31), ("Who sailed in 2022?", "2022-01-01", 366),
        ("since 2024-02-29", "2024-02-29", 1), ("What did I eat yesterday?", "2026-03-17", 1),
        ("Who came two weeks ago?", "2026-03-01", 7), ("Who came last week?", "2026-03-05", 14),
    ],
)  # fmt: skip
def test_a_question_names_times(question: str, first: str, days: int) -> None:
    begin, end = datetime.fromisoformat(first).replace(tzinfo=UTC), timedelta(days=days)
    assert periods(question, NOW) == [(to_microseconds(begin), to_microseconds(begin + end))]


@pytest.mark.parametrize("question", ["May I come?", "What did April paint?", "on 31 June 2020", "Who ran?", "in 2023-02-30"])
def test_what_is_no_time_names_none(question: str) -> None:
    """A verb, a name, a day that there is not."""
    assert periods(question, NOW) == []
    assert when(pool(question, talk()), []) is None


def test_a_month_alone_is_that_of_each_of_the_last_years() -> None:
    assert len(periods("What happened in May?", NOW)) == 6


def test_what_happened_then_comes_first_and_is_told_later() -> None:
    """1 in that time, a half a week after it, nothing before it; a question that names no time has no such signal."""
    begin = to_microseconds(datetime(2023, 7, 1, tzinfo=UTC))
    week, month = 7 * 86_400_000_000, 31 * 86_400_000_000
    moments = [begin - 1, begin, begin + month, begin + month + week]
    rows = {one.memory_id: one for one in (row(at, "Ada paints", valid_from=moment) for at, moment in enumerate(moments))}
    found = pool("What did Ada paint in July 2023?", rows)
    times = periods("What did Ada paint in July 2023?", NOW)

    assert when(found, times).tolist() == [0, 1, 1, 0.5]  # type: ignore[union-attr]
    ranked = rank(found, CONVERSATION, who=set(), quoted=(), now=0, times=times)
    assert [one.memory_id for one in ranked] == ["mem_1", "mem_2", "mem_3", "mem_0"]
    assert "when" not in rank(found, CONVERSATION, who=set(), quoted=(), now=0)[0].why


def test_what_is_known_of_candidates_is_of_these_very_briefs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was read anew is another; what no recall meets is dropped, and so is what there is no room for."""
    layouts, rows = Layouts(), [row(at, text) for at, (_, text) in enumerate(TALK)]
    known = layouts.of(rows)

    assert layouts.of(list(rows)) is known
    assert layouts.of([*rows[:-1], row(4, TALK[4][1])]) is not known
    assert layouts.of(rows[:-1]) is not known
    assert layouts.of(rows) is known
    monkeypatch.setattr("memoryd.recall.layout.LAYOUT_WORDS_MAX", known.sizes.sum())
    assert layouts.of(rows[:2]) is not known
    assert layouts.of(rows) is not known
    monkeypatch.undo()
    known = layouts.of(rows)
    monkeypatch.setattr("memoryd.recall.layout.BRIEFS_SECONDS", 0)
    assert layouts.of(rows[:2]) is not known
    assert layouts.of(rows) is not known


def test_terms_are_told_apart_that_end_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By all of their numbers, not only by the last bits that are compared first."""
    monkeypatch.setattr("memoryd.recall.pool.numbered", lambda _: np.array([(1 << 16) + 7, 7], dtype=np.int64))
    ends_alike = replace(row(0, "", follows=[]), words=np.array([7, 7, (2 << 16) + 7], dtype=np.int64))
    asked = Pool(Candidates({"mem_0": ends_alike}), ["one", "other"], 1).asked

    assert (asked.whose.tolist(), asked.which.tolist(), asked.times.tolist()) == ([0], [1], [2.0])


@given(st.lists(st.floats(-1e200, 1e200) | st.integers(-(10**9), 10**9).map(lambda number: number / 2e6)))
def test_many_numbers_are_rounded_as_one_is(values: list[float]) -> None:
    """Also those that lie half way between two, and next to that."""
    near = [*values, *np.nextafter(values, np.inf).tolist(), *np.nextafter(values, -np.inf).tolist()]

    assert list(map(repr, short(np.array(near)).tolist())) == [repr(round(one, 6)) for one in near]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan])), st.none() | st.integers(0, 9))
def test_the_highest_are_those_that_sorting_puts_first(values: list[float], most: int | None) -> None:
    """Of equal ones the first; what is no number comes last."""
    assert highest(np.array(values), most).tolist() == np.argsort(-np.array(values), kind="stable")[:most].tolist()
