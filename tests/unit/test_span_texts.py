"""Text comes into spans only where it is asked for, without what a stranger must not read, and bounded."""

from __future__ import annotations

import json
import sys
import time
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memoryd.config import load_settings
from memoryd.errors import ConfigError
from memoryd.protocol.telling import open_texts
from memoryd_telemetry.text import RECORDS_CHARS_MAX, RECORDS_MAX, SWITCH, TEXT_CHARS_MAX, Texts, redacted, wanted

SECRETS = {
    "Write to ada.lovelace+tea@mail.example.org today.": "ada.lovelace",
    "Her card is 4111 1111 1111 1111, until 12/29.": "1111 1111",
    "Call +44 (0)20 7946 0958 or 020-7946-0958.": "7946",
    "IBAN DE89370400440532013000 and account 37040044.": "37040044",
    "The key is sk-proj-abcdefghijklmnop.": "sk-proj",
    "Use ghp_16C7e42F292c6912E7710c838347Ae178B4a for it.": "292c69",
    "Authorization: Bearer abcdef": "abcdef",
    "Her password is kumquat!": "kumquat",
    'api_key="hunter2hunter2"': "hunter2",
    "postgres://ada:kumquat@db.example/tea": "kumquat",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U": "eyJzdWIi",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ\nkumquat\n-----END PRIVATE KEY-----": "kumquat",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ\nkumquat": "kumquat",
}
HARMLESS = [
    "Ada prefers tea.", "On 2026-11-26 at 10:30 she had 3 cups, for 12.50.", "The token was lost.", "She sails since 1843.",
    "Version 2.13.0 of the internationalization guide.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS.items())
def test_what_a_stranger_must_not_read_is_taken_out(text: str, secret: str) -> None:
    """Addresses, long numbers, and what looks like a key or is announced as one."""
    assert secret in text
    assert secret not in redacted(text)
    assert "[" in redacted(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_harms_nobody_stays(text: str) -> None:
    """A redactor that leaves nothing is no help; dates, small numbers and long words stay."""
    assert redacted(text) == text


@given(st.text(alphabet=st.sampled_from("a1@.-+ =:/_\n("), max_size=1280))
def test_redacting_takes_no_time_whatever_it_is_given(text: str) -> None:
    """It runs in the daemon's event loop."""
    started = time.thread_time()
    redacted(text)
    assert time.thread_time() - started < 0.25


@pytest.mark.parametrize("unit", ["a", "1", "a1", "a.", "@", "a@a", "1-", "token ", "://", "-----BEGIN A-----", "sk", "Aa-"])
def test_nor_does_a_long_run_of_one_thing(unit: str) -> None:
    """What makes a careless pattern quadratic."""
    started = time.thread_time()
    redacted((unit * 1280)[:1280])
    assert time.thread_time() - started < 0.25


def test_texts_are_cut_and_an_answer_of_many_is_bounded() -> None:
    """What is told of a memory never grows with it; each of the records is whole."""
    told = Texts(redacted).attributes("q " * 5000, ({"id": f"mem_{one}", "content": "é " * 900} for one in range(100)))
    assert len(told["gen_ai.memory.query.text"]) == TEXT_CHARS_MAX
    records = json.loads(told["gen_ai.memory.records"])
    assert len(told["gen_ai.memory.records"]) <= RECORDS_CHARS_MAX
    assert 1 < len(records) <= RECORDS_MAX
    many = Texts(redacted).attributes("", ({"id": str(one), "content": "tea"} for one in range(100)))
    assert len(json.loads(many["gen_ai.memory.records"])) == RECORDS_MAX
    assert Texts(redacted).attributes("", ()) == {}


@pytest.mark.parametrize("place", range(TEXT_CHARS_MAX - 40, TEXT_CHARS_MAX + 2, 7))
def test_nothing_is_cut_in_two_before_it_is_known(place: int) -> None:
    """An address across the limit is one, too."""
    told = Texts(redacted).attributes(". " * (place // 2) + "ada.lovelace@mail.example.org", ())
    assert "ada" not in told["gen_ai.memory.query.text"]


def test_a_redactor_that_fails_on_one_text_tells_none(caplog: pytest.LogCaptureFixture) -> None:
    """And what it failed on, and what it said, is nowhere."""

    def choosy(text: str) -> str:
        if "kumquat" in text:
            raise ValueError(text)
        return text

    texts = Texts(choosy)
    for _ in range(3):
        assert texts.attributes("tea?", [{"id": "1", "content": "tea"}, {"id": "2", "content": "a kumquat"}]) == {}
    assert texts.attributes("tea?", [{"id": "1", "content": "tea"}]).keys() == {"gen_ai.memory.query.text", "gen_ai.memory.records"}
    assert [one.getMessage() for one in caplog.records] == [
        "a text was kept out of a span, as are others from now on: the redactor failed (ValueError)"
    ]
    assert Texts(lambda text: None).attributes("tea?", ()) == {}  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("value", "on"),
    [("", False), ("false", False), ("NO_CONTENT", False), ("EVENT_ONLY", False), ("True", True), ("span_only", True)],
)
def test_the_switch_is_opentelemetrys_own(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off without it, and on by the words that mean spans."""
    monkeypatch.setenv(SWITCH, value)
    assert wanted() == on
    assert (open_texts(load_settings()) is not None) == on


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("redact", "expected package.module:function"),
        ("no_such_module:redact", "ModuleNotFoundError"),
        ("strange:nothing", "AttributeError"),
        ("strange:number", "is not a function"),
        ("strange:failing", "fails on an example (ZeroDivisionError)"),
        ("strange:length", "gives no text for a text, but int"),
    ],
)
def test_a_redactor_that_cannot_be_used_is_said_at_the_start(path: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether text is switched on or not: who has set it counts on it."""
    strange = ModuleType("strange")
    strange.number, strange.length, strange.failing = 7, len, lambda text: 1 // 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "strange", strange)
    with pytest.raises(ConfigError) as told:
        open_texts(load_settings(trace_redactor=path))
    assert wrong in told.value.message
    assert "MEMORYD_TRACE_REDACTOR" in told.value.message
    assert told.value.hint
