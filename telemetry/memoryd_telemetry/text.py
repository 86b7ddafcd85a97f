"""Text in the spans of verbs, for who asks for it: what was asked for and what is remembered, redacted and bounded.

It is off unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says otherwise, OpenTelemetry's own switch for this. All text
passes one function before it comes near a span: `redacted`, or one that the configuration names. What memoryd keeps of spans
itself never has any: a forget would have to find it there.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final

from memoryd_telemetry import names
from memoryd_telemetry.metrics import measure

SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON = frozenset({"true", "1", "span_only", "span_and_event"})  # events are not among what memoryd sends

TEXT_CHARS_MAX = 1024  # of one text: two paragraphs, enough to know it again
BESIDE_CHARS = 256  # that a redactor sees behind it, so that nothing is cut in two before it is known: an address has 254
RECORDS_MAX = 10  # of one answer: a recall's usual limit
RECORDS_CHARS_MAX = 8192  # of all of them as JSON; collectors take attributes of this size

Redact = Callable[[str], str]
"""Gives a text without what must not leave: of at most TEXT_CHARS_MAX + BESIDE_CHARS characters, in the daemon's event loop."""

_log = logging.getLogger(__name__)

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL), "[key]"),
    # What stands behind a word that announces it, whatever it looks like.
    (
        re.compile(
            r"(?i)\b(pass(?:word|wd|phrase)?|pwd|secret|token|api[ _-]?key|access[ _-]?key|bearer|authorization|pin)\b"
            r"(\s*(?:is|=|:)\s*|\s+)[\"']?(?:(?:bearer|basic)\s+)?(?!(?:is|was|for|to|of|and|or|in|on|the|a|an)\b)[^\s\"',;]{4,}"
        ),
        r"\1\2[key]",
    ),
    (re.compile(r"://[^/\s@]{1,256}@"), "://[key]@"),  # a URL's user and password
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
    # Keys of services by how they begin; and what is long, without a space, of letters and digits mixed.
    (re.compile(r"\b(?:[spr]k|gh[opsur]|github_pat|glpat|xox[abprs]|hf|npm|pypi|AKIA|ASIA|AIza|ya29)[-_A-Za-z0-9.]{10,}"), "[key]"),
    (re.compile(r"(?<![\w+/=-])(?=[\w+/=.-]{0,200}\d)(?=[\w+/=.-]{0,200}[A-Za-z])[\w+/=.-]{20,}"), "[key]"),
    # Cards, accounts, telephones: seven digits and more, however they are grouped; a date is left.
    (re.compile(r"(?<!\w)(?!(?:19|20)\d\d-\d\d-\d\d(?!\d))\+?\(?\d(?:[ ().\-/]{0,2}\d){6,}"), "[number]"),
)


def wanted() -> bool:
    """Whether the switch is on."""
    return os.environ.get(SWITCH, "").strip().lower() in _ON


def redacted(text: str) -> str:
    """The text without e-mail addresses, long numbers, and what looks like a key, a token or a password."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redactor(path: str) -> Redact:
    """The function that an import path (`package.module:function`) names. Raises ValueError that says what is wrong with it."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise ValueError("expected package.module:function")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(f"cannot be imported ({type(error).__name__})") from error
    if not callable(found):
        raise ValueError("is not a function")  # noqa: TRY004 - like the others: it is a setting's value that is wrong
    try:
        answer = found("An example.")
    except Exception as error:
        raise ValueError(f"fails on an example ({type(error).__name__})") from error
    if not isinstance(answer, str):
        raise ValueError(f"gives no text for a text, but {type(answer).__name__}")  # noqa: TRY004
    function: Redact = found
    return function


class Texts:
    """Makes attributes of texts, or none of any when the redactor fails on one: half of a record tells the wrong story."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._said = False

    def attributes(self, query: str, records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """`gen_ai.memory.query.text` and `gen_ai.memory.records` (a JSON list of `id`, `content`, `score`), where there are any."""
        told: dict[str, str] = {}
        try:
            if query:
                told[names.QUERY_TEXT] = self._cut(query)
            if parts := self._records(records):
                told[names.RECORDS] = f"[{','.join(parts)}]"
        except Exception as error:  # of a stranger's function; what it was given must not be told, nor the operation fail
            self._failed(error)
            return {}
        return told

    def _records(self, records: Iterable[Mapping[str, Any]]) -> list[str]:
        parts: list[str] = []
        left = RECORDS_CHARS_MAX - 2
        for _, record in zip(range(RECORDS_MAX), records, strict=False):
            part = json.dumps({**record, "content": self._cut(record["content"])}, ensure_ascii=False)
            left -= len(part) + 1
            if left < 0:
                break
            parts.append(part)
        return parts

    def _cut(self, text: str) -> str:
        answer = self._redact(text[: TEXT_CHARS_MAX + BESIDE_CHARS])
        if not isinstance(answer, str):
            raise TypeError("a redactor gave no text")
        return answer if len(answer) <= TEXT_CHARS_MAX else answer[: TEXT_CHARS_MAX - 1] + "…"

    def _failed(self, error: Exception) -> None:
        measure(names.TEXTS_WITHHELD)
        if not self._said:  # once of a process: it is counted, and would be said with each operation
            self._said = True
            _log.warning(f"a text was kept out of a span, as are others from now on: the redactor failed ({type(error).__name__})")
