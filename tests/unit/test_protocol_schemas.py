"""The JSON Schemas that are delivered are those of the code, and say what the daemon accepts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from memoryd.model.memory import NewMemory
from memoryd.protocol.schema import SAYS, schemas
from memoryd.protocol.verbs import FORMS
from memoryd_schemas.protocol_files import protocol_names, protocol_schema

AN_ID = "mem_" + "0a" * 16
A_RECEIPT = "rcp_" + "0a" * 16


def test_the_files_are_those_that_the_code_writes() -> None:
    """After a change of a message: `python -m memoryd.protocol.schema`."""
    assert {name: protocol_schema(name) for name in protocol_names()} == schemas()


def test_every_verb_has_its_arguments_and_its_result() -> None:
    """A verb without a schema could not be written by another language's client."""
    assert {f"{verb}.{part}" for verb in FORMS for part in ("args", "result")} <= set(protocol_names())


@pytest.mark.parametrize("name", protocol_names())
def test_each_is_a_schema_whose_references_lead_somewhere(name: str) -> None:
    """A schema that is none would accept everything."""
    schema = protocol_schema(name)
    Draft202012Validator.check_schema(schema)
    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_what_is_said_is_said_of_fields_that_exist_and_is_said_to_the_reader() -> None:
    """A renamed message would take its limits along into nowhere."""
    shown = {part.get("title", "") for schema in schemas().values() for part in schema.get("$defs", {}).values()}
    messages = {"Envelope", "Reply", "Problem", "Hint"}
    roots = {getattr(kind, "__name__", "") for form in FORMS.values() for kind in (form.args, form.result)}
    assert SAYS.keys() <= shown | messages | roots


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        (
            "store",
            {"content": "Ada prefers tea.", "type": "fact", "valid_from": "2026-05-08T13:56:00Z", "session": None},
        ),
        ("store_many", {"memories": [{"content": "Ada prefers tea."}], "durability": "archived"}),
        ("get", {"id": AN_ID}),
        ("recall", {"query": "tea?", "limit": 200, "types": ["fact"], "tags": ["drinks"], "session": "s1"}),
        ("update", {"id": AN_ID, "changes": {"valid_until": None}, "if_version": 1}),
        ("forget", {"id": AN_ID}),
        ("forget_many", {"ids": [AN_ID], "session": "s1", "tags": ["drinks"], "before": "2026-05-08T13:56:00Z"}),
        ("forget_many", {"query": "tea?", "limit": 5, "min_score": 0.5, "dry_run": True, "cascade": True}),
        ("forget_many", {"everything": True, "if_plan": "0" * 64, "durability": "archived"}),
        ("rewrite_aof", {"dry_run": True}),
        ("receipt", {"id": A_RECEIPT, "first": 1000}),
        ("receipts", {"before_seq": 7, "limit": 200}),
        ("verify_receipt", {"id": A_RECEIPT, "chain": True}),
        ("stats", {}),
        ("events", {"after": "0" * 12 + ".0", "limit": 1}),
    ],
)
def test_what_the_daemon_reads_the_schema_allows(verb: str, args: dict[str, Any]) -> None:
    """Both are asked the same question."""
    msgspec.json.decode(msgspec.json.encode(args), type=FORMS[verb].args)
    assert is_valid(f"{verb}.args", args)


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("store", {}),
        ("store", {"content": "Ada prefers tea.", "colour": "green"}),
        ("store", {"content": "Ada prefers tea.", "importance": 1.5}),
        ("store", {"content": "Ada prefers tea.", "type": "rumour"}),
        ("store", {"content": "Ada prefers tea.", "metadata": []}),
        ("recall", {"query": "tea?", "limit": 0}),
        ("recall", {"query": "tea?", "limit": 201}),
        ("update", {"id": AN_ID, "changes": {"tenant": "other"}}),
        ("update", {"id": AN_ID, "changes": {"content": None}}),
        ("update", {"id": AN_ID, "changes": {"content": "x"}, "if_version": 0}),
        ("forget", {"id": AN_ID, "durability": "eternal"}),
        ("forget_many", {"id": AN_ID}),
        ("forget_many", {"older_than_seconds": -1}),
        ("forget_many", {"query": "tea?", "limit": 201}),
        ("receipts", {"limit": 0}),
        ("stats", {"all": True}),
        ("events", {"after": 7}),
        ("events", {"limit": 1001}),
    ],
)
def test_what_the_daemon_refuses_the_schema_refuses(verb: str, args: dict[str, Any]) -> None:
    """A client that checks against the schema is told before it sends."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(args), type=FORMS[verb].args)
    assert not is_valid(f"{verb}.args", args)


@pytest.mark.parametrize(
    "given",
    [
        {"content": ""},
        {"content": "a" * 65_537},
        {"content": "Ada", "tags": ["t"] * 33},
        {"content": "Ada", "tags": [""]},
        {"content": "Ada", "related": ["mem_1"]},
        {"content": "Ada", "source_tool": "t" * 129},
    ],
)
def test_limits_that_are_checked_after_reading_are_in_the_schema_too(given: dict[str, Any]) -> None:
    """These are not of the messages' form, so nothing but `SAYS` brings them there."""
    with pytest.raises(Exception, match=r"content|tags|related|source_tool"):
        msgspec.convert(given, NewMemory).check()
    assert not is_valid("store.args", given)


def is_valid(name: str, value: Any) -> bool:
    return Draft202012Validator(protocol_schema(name)).is_valid(value)


def references(schema: Any) -> list[str]:
    """Every `$ref` in a schema."""
    if isinstance(schema, list):
        return [one for item in schema for one in references(item)]
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [one for item in schema.values() for one in references(item)]
    return []
