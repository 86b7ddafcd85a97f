"""What every reader yields, and how it loads and checks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Required, TypedDict

import msgspec

from memoryd.errors import BadRequest, TooLarge
from memoryd.limits import ENVELOPE_BYTES_MAX
from memoryd.model.memory import NewMemory
from memoryd.model.scope import check_name

LINE_BYTES_MAX = ENVELOPE_BYTES_MAX  # a longer line could not be sent as one request either
FILE_BYTES_MAX = 64 * 1024 * 1024  # one JSON value is parsed as a whole and takes several times its size in memory
_SCOPE = ("project", "agent")  # where to store, not part of what is stored
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Item(TypedDict, total=False):
    """The arguments of `store` for one memory, plus `project` and `agent` where the file names them."""

    content: Required[str]
    type: str
    project: str
    agent: str
    session: str
    importance: float
    metadata: dict[str, Any]
    tags: list[str]
    source_tool: str
    related: list[str]
    derived_from: list[str]
    valid_from: str
    valid_until: str


@dataclass(frozen=True)
class BadItem:
    """A part of the file that cannot become a memory: where it stands and what was expected, never its text."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def checked(item: Item, where: str) -> Item | BadItem:
    """`item` when `store` would take it, else why not."""
    try:
        for name in (*_SCOPE, "session"):
            if name in item:
                _check_scope_name(name, item[name])  # type: ignore[literal-required]
        msgspec.convert({name: value for name, value in item.items() if name not in _SCOPE}, NewMemory).check()
    except msgspec.ValidationError as error:
        return BadItem(where, _without_values(error))
    except BadRequest as error:
        return BadItem(where, error.message)
    return item


def _check_scope_name(field: str, name: Any) -> None:
    if not isinstance(name, str):
        raise BadRequest(f"{field}: expected a string")
    check_name(field, name)


def _without_values(error: msgspec.ValidationError) -> str:
    """The message of `error` as `field: what was expected`; some of msgspec's messages quote the value itself."""
    message = str(error)
    field = re.search(r"at `\$\.?([\w.\[\]]*)", message)
    expected = re.match(r"Expected `[^`]+`(, got `\w+`| [<>]=? [\d.]+)", message)
    missing = re.match(r"Object missing required field `(\w+)`", message)
    if missing:
        return f"{missing[1]}: is missing"
    reason = expected[0].lower() if expected else _EXPECTED.get(field[1] if field else "", "has an unexpected form")
    return f"{field[1] if field else 'memory'}: {reason}"


_EXPECTED = {
    "type": "expected fact, episodic, procedural or semantic",
    "valid_from": "expected a time such as 2026-05-08T13:56:00Z",
    "valid_until": "expected a time such as 2026-05-08T13:56:00Z",
}


def decode(data: bytes) -> Any:
    """The JSON value in `data`. Raises BadRequest without quoting it."""
    try:
        return msgspec.json.decode(data.removeprefix(_BYTE_ORDER_MARK))
    except UnicodeDecodeError as error:
        raise BadRequest(f"is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise BadRequest("is nested too deeply") from None
    except msgspec.DecodeError as error:
        place = re.search(r"\(byte \d+\)", str(error))
        raise BadRequest(f"is not valid JSON {place[0] if place else '(it is cut off)'}") from None


def lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of `path` that are not blank, with their numbers; None in place of a line beyond LINE_BYTES_MAX."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                while line and not line.endswith(b"\n"):
                    line = file.readline(LINE_BYTES_MAX)
                yield number, None
            elif line.strip():
                yield number, line


def first_line(path: Path) -> bytes | None:
    """The first line of `path` that is not blank; empty for an empty file, None if it is beyond LINE_BYTES_MAX."""
    for _, line in lines(path):
        return line
    return b""


def load_whole(path: Path) -> Any:
    """The one JSON value that is the file. Raises TooLarge beyond FILE_BYTES_MAX, BadRequest if it is not JSON."""
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise TooLarge(
            f"{path.name}: has {size} bytes, the limit for a file that is one JSON value is {FILE_BYTES_MAX}",
            hint="split it, or write it as JSON lines, which are read at any size",
        )
    try:
        return decode(path.read_bytes())
    except BadRequest as error:
        raise BadRequest(
            f"{path.name}: {error.message}; expected one JSON value, or one JSON object a line", hint=_NAME_FORMAT
        ) from None


_NAME_FORMAT = "name the format to read what can be read: jsonl reports each line that it cannot use"
