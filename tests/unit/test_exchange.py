"""Files that other programs keep become memories, and what cannot is named without being quoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from memoryd import exchange
from memoryd.errors import BadRequest, NotFound, TooLarge
from memoryd.exchange import BadItem, Item, export_line, items, questions, read
from memoryd.model.memory import Memory, MemoryType

Write = Callable[..., Path]
SECRET = "the text itself"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file: bytes as they are, text as UTF-8, anything else as JSON."""

    def write(value: Any, name: str = "file.json") -> Path:
        path = tmp_path / name
        data = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        path.write_bytes(data)
        return path

    return write


def good(path: Path, **options: Any) -> list[Item]:
    """What `path` holds, all of which must be usable."""
    found = list(read(path, **options))
    assert not [item for item in found if isinstance(item, BadItem)]
    return [item for item in found if not isinstance(item, BadItem)]


def bad(path: Path, **options: Any) -> list[str]:
    """What could not be used, none of which may quote the file."""
    told = [str(item) for item in read(path, **options) if isinstance(item, BadItem)]
    assert not [line for line in told if SECRET in line]
    return told


# --- jsonl ----------------------------------------------------------------------------------------------------------


def a_memory(**given: Any) -> Memory:
    moment = datetime(2026, 5, 8, 13, 56, 0, 123456, tzinfo=UTC)
    fields: dict[str, Any] = {
        "id": "mem_" + "0a" * 16, "tenant": "acme", "project": "support", "agent_id": "scout", "session_id": "s1",
        "memory_type": MemoryType.FACT, "content": 'Ada prefers tea.\u2028And "quotes"\n.', "content_hash": "ff",
        "importance": 0.8, "created_at": moment, "last_accessed": moment, "source_tool": "chat",
        "metadata": {"a": [1, 2.5, None, {"b": "ü"}]}, "tags": ["drink"], "related": ["mem_" + "0b" * 16],
        "derived_from": ["mem_" + "0c" * 16], "version": 3, "recorded_at": moment,
        "valid_from": moment, "valid_until": moment,
    }  # fmt: skip
    return Memory(**{**fields, **given})


def test_what_export_writes_import_reads_back(write: Write) -> None:
    bare = a_memory(agent_id="", session_id="", importance=0.0, metadata={}, tags=[], valid_until=None)
    memories = [a_memory(), bare]
    path = write("".join(export_line(msgspec.structs.asdict(memory)) for memory in memories))
    full, plain = good(path)
    assert full == {
        "content": memories[0].content, "type": "fact", "project": "support", "agent": "scout", "session": "s1",
        "importance": 0.8, "metadata": {"a": [1, 2.5, None, {"b": "ü"}]}, "tags": ["drink"], "source_tool": "chat",
        "related": ["mem_" + "0b" * 16], "derived_from": ["mem_" + "0c" * 16],
        "valid_from": "2026-05-08T13:56:00.123456Z", "valid_until": "2026-05-08T13:56:00.123456Z",
    }  # fmt: skip
    assert plain["importance"] == 0.0
    assert not {"agent", "session", "metadata", "tags", "valid_until"} & set(plain)


def test_times_may_be_strings_already(write: Write) -> None:
    built: dict[str, Any] = msgspec.to_builtins(a_memory())
    assert good(write(export_line(built)))[0]["valid_from"] == "2026-05-08T13:56:00.123456Z"


def test_a_line_is_one_line_whatever_the_content_holds() -> None:
    assert export_line({"content": "a\nb\r\u2028\x85c"}).count("\n") == 1


def test_a_hand_written_line_may_use_the_names_of_store(write: Write) -> None:
    path = write(b'\xef\xbb\xbf{"content": "x", "type": "semantic", "session": "s"}\r\n\r\n{"content": "y"}')
    assert good(path) == [{"content": "x", "type": "semantic", "session": "s"}, {"content": "y"}]


def test_a_bad_line_costs_only_itself(write: Write) -> None:
    lines = [
        b'{"content": "first"}',
        b'{"content": "the text itself',
        b'["the text itself"]',
        b'{"memory_type": "fact"}',
        b'{"content": 7}',
        b'{"content": "   "}',
        b'{"content": "x", "type": "the text itself"}',
        b'{"content": "x", "importance": 2}',
        b'{"content": "x", "importance": true}',
        b'{"content": "x", "importance": NaN}',
        b'{"content": "x", "metadata": []}',
        b'{"content": "x", "metadata": "the text itself"}',
        b'{"content": "x", "valid_from": "the text itself"}',
        b'{"content": "x", "valid_from": "2026-05-08T13:56:00"}',
        b'{"content": "x", "tags": ["a", 3]}',
        b'{"content": "x", "related": ["the text itself"]}',
        b'{"content": "x", "session": {"the text itself": 1}}',
        b'{"content": "\\u0000 the text itself"}',
        b'{"content": "\\ud800 the text itself"}',
        b'{"content": "\xff the text itself"}',
        b"[" * 100_000,
        b'{"content": "' + b"x" * 70_000 + b'"}',
        b'{"content": "last"}',
    ]
    path = write(b"\n".join(lines))
    assert [item["content"] for item in read(path) if not isinstance(item, BadItem)] == ["first", "x", "last"]
    told = bad(path)
    assert [int(line.split()[1].rstrip(":")) for line in told] == [n for n in range(2, 23) if n != 11]
    assert told[0] == "line 2: is not valid JSON (byte 28)"
    assert told[2] == "line 4: content: is missing"
    assert told[3] == "line 5: content: expected `str`, got `int`"
    assert told[5] == "line 7: type: expected fact, episodic, procedural or semantic"
    assert told[6].startswith("line 8: importance: expected")
    assert told[10] == "line 13: valid_from: expected a time such as 2026-05-08T13:56:00Z"
    assert told[11].startswith("line 14: valid_from: has no time zone")


def test_a_line_beyond_the_limit_is_skipped(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "LINE_BYTES_MAX", 64)
    path = write(b'{"content": "a"}\n{"content": "' + b"x" * 500 + b'"}\n{"content": "b"}\n')
    found = list(read(path))
    assert [getattr(item, "where", "") for item in found] == ["", "line 2", ""]


def test_jsonl_is_read_a_line_at_a_time(write: Write) -> None:
    path = write('{"content": "a"}\n' * 1000 + "broken")
    stream = read(path)
    assert next(stream) == {"content": "a"}


def test_an_empty_file_holds_nothing(write: Write) -> None:
    assert good(write(b"")) == good(write(b"\n  \n")) == []


# --- message lists --------------------------------------------------------------------------------------------------


def test_a_message_list_becomes_a_session(write: Write) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ada", "content": [{"type": "text", "text": "Look:"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
            {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "4 degrees"},
        {"role": "assistant", "content": "Cold.", "function_call": {"name": "coat", "arguments": ""}},
    ]  # fmt: skip
    found = good(write(chat, "monday.json"))
    assert [item["content"] for item in found] == [
        "Be brief.",
        "Look:\n[image_url]",
        'calls weather({"city": "Oslo"})\ncalls clock({})',
        "4 degrees",
        "Cold.\ncalls coat()",
    ]
    assert {(item["type"], item["session"]) for item in found} == {("episodic", "monday")}
    assert found[1]["metadata"] == {"role": "user", "index": 2, "name": "ada"}
    assert found[3]["source_tool"] == "weather"
    assert good(write({"messages": chat}, "x.json"), conversation="monday") == found


def test_a_message_that_says_nothing_is_named(write: Write) -> None:
    chat = [
        {"role": "user", "content": "hello"},
        {"role": "user", "content": None},
        {"content": SECRET},
        SECRET,
        {"role": "user", "content": {"x": SECRET}},
        {"role": "user", "content": [{"text": SECRET}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": SECRET, "arguments": {}}}]},
        {"role": "assistant", "tool_calls": 5},
    ]
    told = bad(write(chat))
    assert told[0] == "message 2: has neither text nor tool calls"
    assert [line.split(":")[0] for line in told] == [f"message {n}" for n in range(2, 9)]


# --- LoCoMo ---------------------------------------------------------------------------------------------------------


def a_conversation(**given: Any) -> dict[str, Any]:
    talk = {
        "speaker_a": "Ann", "speaker_b": "Bo",
        "session_2": [{"speaker": "Bo", "dia_id": "D2:1", "text": "Back again."}],
        "session_2_date_time": "12:24 am on 7 April, 2023",
        "session_10": [{"speaker": "Bo", "dia_id": "D10:1", "text": "Late."}],
        "session_10_date_time": "3:00 pm on 1 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": " Hey Bo! ", "blip_caption": "a photo of a dog"},
            {"speaker": "Bo", "dia_id": "D1:2", "text": "", "blip_caption": "a red kite"},
        ],
        "session_1_date_time": "1:56 pm on 8 March, 2023",
        "session_11_date_time": "1:00 pm on 1 June, 2023",  # the data set has dates of sessions that do not exist
        **given,
    }  # fmt: skip
    return {"sample_id": "conv-1", "conversation": talk}


def test_a_conversation_becomes_a_project_of_sessions_and_turns(write: Write) -> None:
    found = good(write([a_conversation()]))
    assert [(item["project"], item["session"], item["content"], item["valid_from"]) for item in found] == [
        ("conv-1", "session_1", "Ann: Hey Bo! [shares a photo of a dog]", "2023-03-08T13:56:00Z"),
        ("conv-1", "session_1", "Bo: [shares a red kite]", "2023-03-08T13:56:01Z"),
        ("conv-1", "session_2", "Bo: Back again.", "2023-04-07T00:24:00Z"),
        ("conv-1", "session_10", "Bo: Late.", "2023-05-01T15:00:00Z"),
    ]
    assert found[0]["metadata"] == {"speaker": "Ann", "dia_id": "D1:1"}
    assert found[0]["type"] == "episodic"
    assert good(write(a_conversation())) == found


def test_one_conversation_can_be_taken(write: Write) -> None:
    path = write([a_conversation(), {**a_conversation(), "sample_id": "conv-2"}])
    assert {item["project"] for item in good(path)} == {"conv-1", "conv-2"}
    assert {item["project"] for item in good(path, conversation="conv-2")} == {"conv-2"}
    with pytest.raises(NotFound, match="none with this sample_id"):
        read(path, conversation="conv-3")


def test_broken_parts_of_a_conversation_are_named(write: Write) -> None:
    broken = a_conversation(
        session_1_date_time=SECRET,
        session_2=[{"speaker": "Bo", "dia_id": "D2:1", "text": "x"}, {"speaker": 5, "text": SECRET}, SECRET],
        session_10={},
    )
    nameless = {"sample_id": "a\nb", "conversation": {}}
    told = bad(write([broken, nameless, {"sample_id": "c", "conversation": SECRET}, SECRET]))
    assert told[0].startswith("conversation 1, session_1: date_time: expected for instance `1:56 pm on 8 May, 2023`")
    assert told[1:] == [
        "conversation 1, session_2, turn 2: speaker: expected a string",
        "conversation 1, session_2, turn 3: speaker: expected a string",
        "conversation 1, session_10: expected a list of turns",
        "conversation 2: sample_id: holds a control character",
        "conversation 3: conversation: expected an object with `session_1`, `session_1_date_time`, …",
        "conversation 4: sample_id: expected a string",
    ]


def test_malformed_evidence_is_understood(write: Write) -> None:
    evidence = ["D8:6; D9:17", "D:11:26", "D30:05", "none"]
    asked = {"question": "Who?", "answer": 2022, "category": 2, "evidence": evidence}
    (question,) = questions(write([{**a_conversation(), "qa": [asked]}]))
    assert question == exchange.Question("conv-1", "Who?", "2022", ("D8:6", "D9:17", "D11:26", "D30:5"), 2)


def test_the_data_set_itself_is_read(pytestconfig: pytest.Config) -> None:
    path = pytestconfig.rootpath.parent / "shared" / "data" / "locomo" / "locomo_dev.json"
    if not path.exists():
        pytest.skip("the LoCoMo data set is not there; its form is tested above")
    found = good(path)
    assert len(found) == 2760
    assert {item["project"] for item in found} == {"conv-26", "conv-30", "conv-41", "conv-42", "conv-43"}
    assert len({item["session"] for item in found if item["project"] == "conv-26"}) == 19
    assert len(questions(path)) == 999


# --- the conversation of the demo -----------------------------------------------------------------------------------


def test_the_demo_conversation_is_long_dated_and_its_questions_have_evidence() -> None:
    with as_file(files("memoryd") / "demo_data" / "conversation.json") as path:
        found, asked = good(path), questions(path)
    said = {item["metadata"]["dia_id"]: item for item in found}
    times = [item["valid_from"] for item in found]
    assert len(said) == len(found) >= 200
    assert len({item["session"] for item in found}) >= 8
    assert times == sorted(set(times))
    assert len(asked) >= 10
    answerable = [question for question in asked if question.category != 5]
    assert all(question.evidence and set(question.evidence) <= set(said) for question in answerable)


# --- which format, and files that are none --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'[{"content": "the text itself"}]', "neither memories, one a line, nor a message list, nor LoCoMo"),
        (b'"the text itself"', "neither memories"),
        (b"[]", "neither memories"),
        (b"the text itself", "is not valid JSON"),
        (b'{"content": "the text itself\n', "is not valid JSON"),
        (b'"\xff"', "is not UTF-8"),
        (b"[" * 10_000, "is nested too deeply"),
    ],
)
def test_a_file_of_no_known_form_is_refused_without_quoting_it(write: Write, text: bytes, told: str) -> None:
    with pytest.raises(BadRequest, match=told) as caught:
        read(write(text))
    assert SECRET not in str(caught.value)
    assert caught.value.hint


def test_a_format_can_be_named(write: Write) -> None:
    path = write(b'broken\n{"content": "a"}')
    assert bad(path, format="jsonl") == ["line 1: is not valid JSON (byte 0)"]
    with pytest.raises(BadRequest, match="expected a JSON list of messages"):
        read(write({"a": 1}), format="messages")
    with pytest.raises(BadRequest, match="expected one of auto, jsonl, messages, locomo"):
        read(path, format="xml")


def test_a_file_of_memories_has_no_conversation_to_choose(write: Write) -> None:
    with pytest.raises(BadRequest, match="has none"):
        read(write('{"content": "a"}'), conversation="x")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"missing\.json: cannot be read"):
        read(tmp_path / "missing.json")
    with pytest.raises(BadRequest, match="cannot be read"):
        read(tmp_path)


def test_one_json_value_has_a_size_limit(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "FILE_BYTES_MAX", 10)
    with pytest.raises(TooLarge, match="the limit for a file that is one JSON value is 10"):
        read(write([{"role": "user", "content": "hello"}]))
