"""Summarisers: sentences kept word for word, a chat endpoint that misbehaves on demand, and what no summary may be."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import memoryd.summarize.chat
from memoryd.config import SummarizerKind, load_settings
from memoryd.errors import ConfigError, SummarizerFailed
from memoryd.limits import SUMMARY_WORDS_BYTES_MAX, SUMMARY_WORDS_MAX
from memoryd.model.terms import found_by, query_terms, tells_nothing, terms, terms_of
from memoryd.summarize.chat import Chat
from memoryd.summarize.extractive import Extractive, sentences_of, summary_of
from memoryd.summarize.gate import judge, words_for
from memoryd.summarize.open import open_summarizer
from memoryd.summarize.pipeline import Local
from memoryd.summarize.protocol import Passage
from tests.loopback import Answer, Call, serving

TURNS = [
    ("Ada", "Hi! How are you?"),
    ("Ben", "I went to the pottery class in Boston yesterday. It was fun."),
    ("Ada", "Great! I adopted a dog called Rex from the shelter last week."),
    ("Ben", "Wow, congratulations on Rex!"),
    ("Ada", "Thanks! We're planning a camping trip to Yosemite in July with the kids."),
    ("Ben", "The mortgage for the house on Elm Street is signed. We move in on 3 May."),
]
PASSAGES = [Passage(f"m{number}", text, speaker) for number, (speaker, text) in enumerate(TURNS)]
GOOD = "Ben signed the mortgage for Elm Street. Ada adopted the dog Rex and plans a camping trip to Yosemite."


# --- sentences of their own -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chars", [60, 160, 300, 10_000])
async def test_every_line_of_an_extract_was_said_word_for_word_and_it_fits_into_its_room(chars: int) -> None:
    """Nothing is invented, whatever the room is."""
    text = await Extractive().summarize(PASSAGES, chars=chars)
    assert 0 < len(text) <= chars
    for line in text.splitlines():
        speaker, _, words = line.partition(": ")
        assert any(speaker == one.speaker and words in one.text for one in PASSAGES)
    order = [next(n for n, one in enumerate(PASSAGES) if line.partition(": ")[2] in one.text) for line in text.splitlines()]
    assert order == sorted(order)


def test_an_extract_takes_what_says_most_and_each_topic_once() -> None:
    """Greetings say nothing; a second sentence on Rex says less than the first one on Elm Street."""
    text = summary_of(PASSAGES, 200)
    assert "How are you" not in text
    assert "congratulations" not in text
    assert "Elm Street" in text or "Yosemite" in text


def test_vectors_put_the_middle_before_the_margin() -> None:
    """Of two sentences with as many new words, the one near the middle of all is taken."""
    texts = ["Quartz vibrates.", "Granite crumbles.", "Basalt fractures.", "Violins resonate."]
    near, far = np.array([1, 0], dtype="<f4").tobytes(), np.array([0, 1], dtype="<f4").tobytes()
    passages = [Passage(str(n), text, vector=far if n == 3 else near) for n, text in enumerate(texts)]
    assert "Violins" not in summary_of(passages, 20)
    odd = [*passages[:3], Passage("3", texts[3], vector=b"\0" * 12)]  # of another model: the words decide
    assert summary_of(odd, 20)


def test_nothing_comes_of_nothing() -> None:
    """No passages, no words, no room."""
    assert summary_of([], 100) == summary_of([Passage("a", "It is. And that is it.")], 100) == summary_of(PASSAGES, 5) == ""


def test_sentences_end_where_they_end_in_every_script() -> None:
    """Also a Chinese one, which has no space behind it."""
    assert sentences_of("One. Two!\nThree 3.5 m? “Four.” Five") == ["One.", "Two!", "Three 3.5 m?", "“Four.”", "Five"]
    assert sentences_of("我喜欢茶。他喜欢咖啡。") == ["我喜欢茶。", "他喜欢咖啡。"]


# --- what may stand for what --------------------------------------------------------------------------------------------
def test_a_good_summary_passes_and_is_found_by_the_words_of_what_it_stands_for() -> None:
    """With the words that it is found by besides: all that say something, as often as there are memories with them."""
    words = words_for(GOOD, PASSAGES)
    assert judge(GOOD, PASSAGES, words) == ""
    assert "yosemit" not in words.split()  # its own
    assert Counter(words.split())["rex"] == 2  # its own once, and said by both
    record = found_by(GOOD, words).split()
    assert {one for text in PASSAGES for one in terms(text.text) if not tells_nothing(one)} <= set(record)
    assert Counter(record)["rex"] == 2
    assert terms_of(GOOD, {"summary": {"words": words}}) == found_by(GOOD, words)


def test_what_is_said_is_asked_for_as_it_was_analysed_once() -> None:
    """The stem of a stem is another one: a question for basketball would not meet it."""
    passages = [*PASSAGES, Passage("b", "He plays basketball.", "Ben")]
    assert query_terms("basketball")[0] in found_by(GOOD, words_for(GOOD, passages)).split()


def test_the_words_of_a_summary_are_bounded_and_none_of_its_memories_goes_without() -> None:
    """The rarest of each come first; the gate asks for what the record has."""
    many = [Passage(str(n), " ".join(f"{'long' * 8}{n}w{word}" for word in range(2_000))) for n in range(24)]
    words = words_for("", many)
    assert len(words.encode()) <= SUMMARY_WORDS_BYTES_MAX
    assert len(words.split()) <= SUMMARY_WORDS_MAX
    each = Counter(word[32:].partition("w")[0] for word in words.split())
    assert min(each.values()) > max(each.values()) / 2
    assert len(each) == len(many)
    assert "could not be found" in judge(GOOD, [*PASSAGES, *many[:3]], " ".join(words.split()[:2]))


def test_who_speaks_is_named_by_a_summary_that_quotes_only_the_other() -> None:
    """What did Ada do? The summary stands for what she said, too."""
    assert "ada" in words_for("Ben: I went to the pottery class in Boston yesterday.", PASSAGES).split()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("\n".join(one.text for one in PASSAGES), "not shorter"),
        ("Error: 503 Service Unavailable", "error"),
        ('{"error": {"message": "Rate limit reached"}}', "error"),
        ("<html><body>Bad Gateway</body></html>", "error"),
        ("I'm sorry, but I cannot summarise this.", "error"),
        ("As an AI language model I have no memories.", "error"),
        ("Traceback (most recent call last): boom", "error"),
        ("It is what it is.", "says nothing"),
        ("Interest rates in Japan rose sharply while exporters hedged currency exposure.", "something else"),
        ("Ada and Rex.", "could not be found"),
    ],
)
def test_what_is_no_summary_is_refused_with_the_reason(text: str, why: str) -> None:
    """Each of these has been answered by a real model or a real proxy."""
    assert why in judge(text, PASSAGES)


def test_somebodys_own_apology_is_no_error() -> None:
    """A sentence that was said may be kept."""
    passages = [*PASSAGES, Passage("x", "I'm sorry that I broke the blue vase.")]
    text = "I'm sorry that I broke the blue vase."
    assert judge(text, passages, words_for(text, passages)) == ""


# --- a model elsewhere ------------------------------------------------------------------------------------------------
class Desk:
    """A chat endpoint on this machine, and what it is to answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.script: list[Callable[[], tuple[int, bytes]]] = []
        self.url = ""


def says(text: str | None) -> Callable[[], tuple[int, bytes]]:
    """A whole answer."""
    return lambda: (200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())


def status(code: int) -> Callable[[], tuple[int, bytes]]:
    """A refusal that quotes what it was sent."""
    return lambda: (code, b'{"error": "you sent: pottery class"}')


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk()

    def answer(call: Call) -> Answer:
        desk.asked.append(call.body)
        desk.keys.append(call.headers.get("Authorization"))
        return Answer(*desk.script.pop(0)())

    monkeypatch.setattr(memoryd.summarize.chat, "retry_after", lambda *_: 0.0)
    with serving(answer) as url:
        desk.url = f"{url}/v1/"
        yield desk


def chat(desk: Desk, **changes: Any) -> Chat:
    base = {"summarizer": SummarizerKind.HTTP, "summarize_url": desk.url, "summarize_model": "tiny", "summarize_key": "sk-x"}
    opened = open_summarizer(load_settings(**{**base, **changes}))
    assert isinstance(opened, Chat)
    return opened


async def test_a_chat_endpoint_is_told_its_order_apart_from_the_notes_and_asked_again_when_it_is_busy(desk: Desk) -> None:
    """Nothing that a note says can end the notes."""
    desk.script = [status(429), status(503), says(f" {GOOD}\n")]
    assert await chat(desk).summarize(PASSAGES, chars=120) == GOOD
    assert len(desk.asked) == 3
    system, user = desk.asked[0]["messages"]
    assert "at most 20 words" in system["content"]
    assert "pottery" not in system["content"]
    first, *_, last = user["content"].splitlines()
    assert first.split()[2] == last.split()[4]
    assert "Ben: I went to the pottery class in Boston" in user["content"]
    assert desk.keys == ["Bearer sk-x"] * 3


@pytest.mark.parametrize(
    ("answers", "why", "retryable"),
    [
        ([status(401)], "401", False),
        ([status(500)] * 3, "500", True),
        ([lambda: (200, b"<html>")], "something else", False),
        ([lambda: (200, b'{"choices": 3}')], "something else", False),
    ],
)
async def test_what_an_endpoint_cannot_do_is_a_typed_error_that_quotes_nothing(
    desk: Desk, answers: list[Callable[[], tuple[int, bytes]]], why: str, retryable: bool
) -> None:
    """Neither the key nor the notes nor what was answered."""
    desk.script = list(answers)
    with pytest.raises(SummarizerFailed) as told:
        await chat(desk).summarize(PASSAGES, chars=120)
    assert why in told.value.message
    assert told.value.details["retryable"] is retryable
    assert not any(secret in str(vars(told.value)) for secret in ("sk-x", "pottery"))


async def test_an_empty_choice_is_an_empty_summary(desk: Desk) -> None:
    """The gate says what that is worth."""
    desk.script = [says(None), lambda: (200, b'{"choices": []}')]
    one = chat(desk)
    assert [await one.summarize(PASSAGES, chars=120) for _ in range(2)] == ["", ""]


async def test_an_endpoint_that_hangs_is_left(desk: Desk) -> None:
    """All tries together have one time limit."""

    def hang() -> tuple[int, bytes]:
        time.sleep(3)
        return 200, b""

    desk.script = [hang]
    with pytest.raises(SummarizerFailed, match=r"within 0\.2 s"):
        await chat(desk, summarize_timeout_seconds=0.2).summarize(PASSAGES, chars=120)


async def test_an_endpoint_that_is_not_there_is_a_typed_error(desk: Desk) -> None:
    """It names the setting."""
    with pytest.raises(SummarizerFailed) as told:
        await chat(desk, summarize_url="http://127.0.0.1:9/v1").summarize(PASSAGES, chars=120)
    assert "503" in told.value.message or "MEMORYD_SUMMARIZE_URL" in str(told.value.hint)


@pytest.mark.parametrize("kind", [SummarizerKind.HTTP, SummarizerKind.TRANSFORMERS])
def test_a_summariser_without_a_model_is_refused_at_the_start(kind: SummarizerKind) -> None:
    """Not when the first session ends."""
    with pytest.raises(ConfigError, match="MEMORYD_SUMMARIZE_MODEL"):
        open_summarizer(load_settings(summarizer=kind))


# --- a model here -----------------------------------------------------------------------------------------------------
async def test_a_local_model_that_fails_hangs_or_is_not_installed_is_a_typed_error() -> None:
    """It is loaded for the first summary; what its code raises may quote the notes."""

    def broken(passages: Any, chars: int) -> str:
        raise ValueError(passages[1].text)

    def slow(passages: Any, chars: int) -> str:
        time.sleep(2)
        return ""

    def absent() -> Any:
        raise ImportError("no torch", name="torch")

    for load, why in ((lambda: broken, "ValueError"), (lambda: slow, "within 0.1 s"), (absent, "torch")):
        local = Local("tiny", load, timeout_seconds=0.1 if why.startswith("within") else 60.0)
        with pytest.raises(SummarizerFailed, match=why) as told:
            await local.summarize(PASSAGES, chars=120)
        assert "pottery" not in told.value.message
        await local.close()
    good = Local("tiny", lambda: lambda passages, chars: GOOD, timeout_seconds=60.0)
    assert await good.summarize(PASSAGES, chars=120) == GOOD
    await good.close()
