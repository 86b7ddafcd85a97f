"""The form of the LoCoMo data set: long conversations in dated sessions, with questions about them.

A conversation becomes a project (its `sample_id`), `session_<n>` a session of that name, a turn an episodic memory.
A turn's valid time is its session's date and time (taken as UTC) plus one second for each turn before it, so that
sorting by time gives the conversation back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from memoryd.errors import BadRequest, NotFound
from memoryd.exchange.items import BadItem, Item, checked, load_whole
from memoryd.model.scope import check_name

_SESSION = re.compile(r"session_([1-9]\d{0,5})")
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")  # some ids of the data set are written `D:11:26` or `D30:05`
_DATE_FORMAT = "%I:%M %p on %d %B, %Y"


@dataclass(frozen=True)
class Question:
    """A question about one conversation. `evidence` are the `dia_id`s of the turns that answer it, perhaps none.

    `category`: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial (it has no answer).
    """

    project: str
    question: str
    answer: str
    evidence: tuple[str, ...]
    category: int


def fits(value: Any) -> bool:
    """Whether `value` looks like a conversation of this form, or a list of them."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "conversation" in first


def read(value: Any, conversation: str | None = None) -> Iterator[Item | BadItem]:
    """The turns of every conversation in `value`, or of the one named. Raises NotFound if there is none."""
    samples = _samples(value, conversation)
    return (item for number, sample in samples for item in _conversation(sample, f"conversation {number}"))


def questions(path: Path, conversation: str | None = None) -> list[Question]:
    """The questions about the conversations in `path`, or about the one named."""
    return [
        _question(_string(sample, "sample_id"), asked)
        for _, sample in _samples(load_whole(path), conversation)
        for asked in sample.get("qa", [])
    ]


def _samples(value: Any, name: str | None) -> list[tuple[int, Any]]:
    samples = list(enumerate(value if isinstance(value, list) else [value], start=1))
    if name is None:
        return samples
    found = [(n, sample) for n, sample in samples if isinstance(sample, dict) and sample.get("sample_id") == name]
    if not found:
        raise NotFound("conversation: the file has none with this sample_id", hint="leave it out to take all of them")
    return found


def _conversation(sample: Any, where: str) -> Iterator[Item | BadItem]:
    try:
        project = check_name("sample_id", _string(sample, "sample_id"))
        sessions = _sessions(sample)
    except BadRequest as error:
        yield BadItem(where, error.message)
        return
    for name in sessions:
        yield from _session(sample["conversation"], project, name, f"{where}, {name}")


def _sessions(sample: dict[str, Any]) -> list[str]:
    """The names of the sessions that exist, in order: the data set also has dates of sessions that do not."""
    conversation = sample.get("conversation")
    if not isinstance(conversation, dict):
        raise BadRequest("conversation: expected an object with `session_1`, `session_1_date_time`, …")
    numbers = [int(match[1]) for name in conversation if (match := _SESSION.fullmatch(name))]
    return [f"session_{number}" for number in sorted(numbers)]


def _session(conversation: dict[str, Any], project: str, name: str, where: str) -> Iterator[Item | BadItem]:
    turns = conversation.get(name)
    if not isinstance(turns, list):
        yield BadItem(where, "expected a list of turns")
        return
    try:
        start = _date(conversation.get(f"{name}_date_time"))
    except BadRequest as error:
        yield BadItem(where, f"{error.message}; its {len(turns)} turns are left out")
        return
    for index, turn in enumerate(turns):
        here = f"{where}, turn {index + 1}"
        try:
            item = _turn(turn, start + timedelta(seconds=index))
        except BadRequest as error:
            yield BadItem(here, error.message)
        else:
            yield checked({**item, "project": project, "session": name}, here)


def _turn(turn: Any, moment: datetime) -> Item:
    speaker, dia_id = _string(turn, "speaker").strip(), _string(turn, "dia_id")
    words = [_string(turn, "text").strip()]
    if caption := turn.get("blip_caption"):
        words.append(f"[shares {caption}]")
    said = " ".join(word for word in words if word)
    if not said:
        raise BadRequest("has neither text nor a caption")
    return {
        "content": f"{speaker}: {said}",
        "type": "episodic",
        "metadata": {"speaker": speaker, "dia_id": dia_id},
        "valid_from": moment.isoformat().replace("+00:00", "Z"),
    }


def _question(project: str, asked: dict[str, Any]) -> Question:
    written = " ".join(str(reference) for reference in asked.get("evidence", []))
    evidence = tuple(f"D{int(session)}:{int(turn)}" for session, turn in _TURN_ID.findall(written))
    category = asked.get("category")
    if not isinstance(category, int):
        raise BadRequest("qa: category: expected a number from 1 to 5")
    return Question(project, _string(asked, "question"), str(asked.get("answer", "")), evidence, category)


def _date(text: Any) -> datetime:
    try:
        return datetime.strptime(text, _DATE_FORMAT).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise BadRequest("date_time: expected for instance `1:56 pm on 8 May, 2023`") from None


def _string(record: Any, field: str) -> str:
    value = record.get(field) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise BadRequest(f"{field}: expected a string")
    return value
