"""Writes the parts of the documentation that the code knows: `python -m docs.generate`. What it does not know stands in `words.py`.

A part stands between `<!-- generated: name -->` and `<!-- end -->`; the rest of a page is written by people. A test
fails when a part is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

import memoryd_telemetry.names as telemetry
from docs import words
from memoryd import errors, limits
from memoryd.cli import app
from memoryd.cli.output import exit_code
from memoryd.config import Settings
from memoryd.doctor.examine import CHECKS, name_of
from memoryd.insight.library import saved_queries
from memoryd_schemas.protocol_files import protocol_schema
from memoryd_sync.cli import app as sync_app
from memoryd_telemetry.metrics import prometheus_name

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Writes every page anew and names those that changed."""
    for page in sorted(DOCS.rglob("*.md")):
        old, new = page.read_text("utf-8"), written(page)
        if new != old:
            page.write_text(new, "utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS)}\n")


def written(page: Path) -> str:
    """The page with its generated parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}{render(part[2])}{part[3]}", page.read_text("utf-8"))


def render(name: str) -> str:
    """One generated part."""
    if "." in name:  # a message of the protocol
        return "".join(_fields(protocol_schema(name.removesuffix("."))))
    return "".join(PARTS[name]())


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    header = list(columns)
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |\n"


# --- configuration, telemetry, limits, errors -----------------------------------------------------------------------
def settings() -> Iterator[str]:
    """Every variable of `memoryd.config`."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if isinstance(field.default, SecretStr) else field.default
        shown = "" if default in (None, "") else f"`{_without_home(default)}`"
        rows.append([f"`MEMORYD_{name.upper()}`", shown, field.description or ""])
    return _table(["variable", "default", "meaning"], rows)


def spans() -> Iterator[str]:
    """The names of spans: a verb's, then the followers'."""
    verbs: dict[str, list[str]] = {}
    for verb, span in telemetry.OPERATIONS.items():
        verbs.setdefault(span, []).append(verb)
    rows = [[f"`{span}`", f"client and daemon: {', '.join(of)}"] for span, of in verbs.items()]
    return _table(["span", "work"], rows + [[f"`{span}`", work] for span, work in words.SPANS.items()])


def inner_spans() -> Iterator[str]:
    """The names of the parts of verbs."""
    return _table(["span", "what"], ([f"`{span}`", what] for span, what in words.INNER.items()))


def attributes() -> Iterator[str]:
    """The attributes that are set."""
    return _table(["attribute", "on", "meaning"], ([f"`{name}`", *row] for name, row in words.ATTRIBUTES.items()))


def metrics() -> Iterator[str]:
    """Every metric of `memoryd_telemetry.names`."""
    rows = (
        [f"`{one.name}`", one.kind, one.unit, one.meaning, f"`{prometheus_name(one)}`"] for one in telemetry.METRICS
    )
    return _table(["metric", "kind", "unit", "meaning", "in Prometheus"], rows)


def checks() -> Iterator[str]:
    """Every check of `memoryd doctor`."""
    rows = ([f"`{name_of(one)}`", inspect.cleandoc(one.__doc__ or "").splitlines()[0]] for one in CHECKS)
    return _table(["check", "looks"], rows)


def limits_of(which: Mapping[str, str]) -> Iterator[str]:
    """Limits of `memoryd.limits`, with the reasons that stand there."""
    reasons = dict(re.findall(r"^(\w+) = (?:\(\n)?.*?# (.*)$", inspect.getsource(limits), re.MULTILINE))
    rows = ([what, _amount(name), reasons.get(name, "")] for name, what in which.items())
    return _table(["of", "limit", "why"], rows)


def _amount(name: str) -> str:
    unit = " s" if "SECONDS" in name else " bytes of UTF-8" if "BYTES" in name else ""
    if name == "REQUEST_ID_BYTES_MAX":  # the envelope's type counts characters
        unit = " characters"
    value = getattr(limits, name)
    return f"{value if value < 1 else int(value):,}{unit}"


def protocol_errors() -> Iterator[str]:
    """Every code that a reply can carry."""
    codes = [code for code in errors.BY_CODE if code not in words.CLIENT_SIDE]
    rows = ([f"`{code}`", inspect.cleandoc(errors.BY_CODE[code].__doc__ or ""), *words.ERRORS[code]] for code in codes)
    return _table(["code", "meaning", "again?", "what to do"], rows)


# --- the protocol's fields ------------------------------------------------------------------------------------------
def _fields(schema: dict[str, Any]) -> Iterator[str]:
    if schema.get("type") == "array":
        schema = {**_resolved(schema["items"], schema), "$defs": schema["$defs"]}
    fields, required = schema.get("properties", {}), schema.get("required", [])
    if not fields:
        return iter(["None.\n"])
    rows = [[f"`{name}`", _type(field, schema), field.get("description", "")] for name, field in fields.items()]
    if list(fields) == required or not any("default" in field for field in fields.values()):  # what the daemon writes
        return _table(["field", "type", "meaning"], rows)
    for row, (name, field) in zip(rows, fields.items(), strict=True):
        row.insert(2, "required" if name in required else f"`{json.dumps(field.get('default'))}`")
    return _table(["field", "type", "default", "meaning"], rows)


def part_of(message: str, part: str) -> Iterator[str]:
    """The fields of a part of a message, which several of them have."""
    schema = protocol_schema(message)
    return _fields({**schema["$defs"][part], "$defs": schema["$defs"]})


def _type(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one, schema) for one in field["anyOf"])
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = _resolved(field, schema)
        return _type(target, schema) if "enum" in target else name
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("format") == "date-time":
        return "time"
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_type(field.get('items', {}), schema)}"
    if "minimum" in field:
        return f"{kind} from {field['minimum']}" + (f" to {field['maximum']}" if "maximum" in field else "")
    return str(kind)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
    return target


def insight() -> Iterator[str]:
    """The saved queries for Redis Insight."""
    rows = ([f"`{one.index}`", one.name, one.about] for one in saved_queries())
    return _table(["index", "query", "returns"], rows)


# --- the command ----------------------------------------------------------------------------------------------------
def cli() -> Iterator[str]:
    """Every command with its arguments and options."""
    for path, command in commands():
        yield f"\n## `{' '.join(path)}`\n\n{inspect.cleandoc(command.help or '')}\n\n"
        parameters = [one for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
        usage = [
            f"[{one.name.upper()}]" if not one.required else one.name.upper()
            for one in parameters
            if not _is_option(one)
        ]
        yield f"```\n{' '.join([*path, *usage])}{' [OPTIONS]' if any(map(_is_option, parameters)) else ''}\n```\n"
        if parameters:
            yield "\n"
            yield from _table(["argument or option", "default", "meaning"], map(_parameter, parameters))


def commands() -> Iterator[tuple[list[str], Any]]:
    """Each command that does something, with the words that call it."""

    def below(path: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        if not hasattr(command, "commands"):
            yield path, command
            return
        for name, one in command.commands.items():
            yield from below(path if name == getattr(command, "default", "") else [*path, name], one)

    for path, command in below(["memoryd"], typer.main.get_command(app)):
        yield path, command
        if path == ["memoryd", "sync"]:  # whose words belong to the package that stands on memoryd
            yield from below(path, typer.main.get_command(sync_app))


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _parameter(one: Any) -> list[str]:
    name = ", ".join(f"`{opt}`" for opt in one.opts) if _is_option(one) else f"`{one.name.upper()}`"
    default = one.show_default if isinstance(one.show_default, str) else one.default
    shown = "required" if one.required else "" if default in (None, "", [], False) else f"`{_without_home(default)}`"
    return [name, shown, (one.help or "") + (f" (`{one.envvar}`)" if one.envvar else "")]


def exit_codes() -> Iterator[str]:
    """Which error ends the command with which code."""
    meanings = re.findall(r"(\d+) ([^,.]+)", str(app.info.epilog).partition(":")[2])
    codes: dict[int, list[str]] = {}
    for code, kind in errors.BY_CODE.items():
        codes.setdefault(exit_code(kind(**_details(kind))), []).append(f"`{code}`")
    return _table(
        ["exit code", "meaning", "errors"], ([n, meaning, ", ".join(codes.get(int(n), []))] for n, meaning in meanings)
    )


def _details(kind: type[errors.MemorydError]) -> dict[str, Any]:
    return {"current_version": 1} if kind is errors.Conflict else {}


def _without_home(value: Any) -> str:
    return str(value).replace(str(Path.home()), "~")


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings, "checks": checks, "spans": spans, "inner_spans": inner_spans, "attributes": attributes,
    "metrics": metrics, "errors": protocol_errors, "cli": cli, "exit_codes": exit_codes, "insight": insight,
    "limits": partial(limits_of, words.LIMITS),
    "session_limits": partial(limits_of, words.SESSION_LIMITS),
    "compression_limits": partial(limits_of, words.COMPRESSION_LIMITS),
    "agent_limits": partial(limits_of, words.AGENT_LIMITS),
    "knowledge_limits": partial(limits_of, words.KNOWLEDGE_LIMITS),
    "AgentState": lambda: _fields(protocol_schema("agent.get.result")),
    "Snapshot": lambda: _fields(protocol_schema("agent.snapshot.result")),
    "NewMessage": partial(part_of, "working.append.args", "NewMessage"),
    "receipt_fields": partial(part_of, "receipt.result", "FullReceipt"),
    "Episode": partial(part_of, "episode.replay.result", "Episode"),
    "ChannelMessage": partial(part_of, "channel.read.result", "ChannelMessage"),
    "Peer": partial(part_of, "agent.peers.result", "Peer"),
    "Fact": partial(part_of, "fact.find.result", "Fact"),
    "Doing": partial(part_of, "introspect.result", "Doing"),
    "ToolReport": partial(part_of, "introspect.result", "ToolReport"),
    "Evidence": partial(part_of, "what_do_i_know.result", "Evidence"),
    "DuplicateGroup": partial(part_of, "duplicates.result", "DuplicateGroup"),
    "Duplicate": partial(part_of, "duplicates.result", "Duplicate"),
}  # fmt: skip

if __name__ == "__main__":
    main()
