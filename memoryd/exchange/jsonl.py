"""One memory a line: what `export` writes and `import` reads back.

Of each line these fields are used, by the name that a stored memory has or by the one that `store` has:
`content`, `memory_type` (`type`), `project`, `agent_id` (`agent`), `session_id` (`session`), `importance`, `metadata`,
`tags`, `source_tool`, `related`, `derived_from`, `valid_from`, `valid_until`. The rest (id, version, tier, the other
times, the vector's model) is the history of the memory that was exported; the imported one begins its own, and so
`related` and `derived_from` point to the ids of the store that was exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from memoryd.errors import BadRequest
from memoryd.exchange.items import LINE_BYTES_MAX, BadItem, Item, checked, decode, lines

_RENAMED = {"memory_type": "type", "agent_id": "agent", "session_id": "session"}
_FIELDS = tuple(Item.__annotations__)


def read(path: Path) -> Iterator[Item | BadItem]:
    """The memories of `path`, one line in memory at a time."""
    for number, line in lines(path):
        where = f"line {number}"
        if line is None:
            yield BadItem(where, f"is longer than {LINE_BYTES_MAX} bytes")
            continue
        try:
            memory = decode(line)
        except BadRequest as error:
            yield BadItem(where, error.message)
            continue
        yield _item(memory, where)


def starts(line: bytes | None) -> bool:
    """Whether a file that begins with `line` is of this format. An empty file is: an export of nothing."""
    if not line:
        return line == b""
    try:
        first = decode(line)
    except BadRequest:
        return False
    return isinstance(first, dict) and "content" in first and "role" not in first


def export_line(memory: Mapping[str, Any]) -> str:
    """`memory` as one line of JSON, line end included. Times may be datetimes or strings."""
    return msgspec.json.encode(memory).decode() + "\n"


def _item(memory: Any, where: str) -> Item | BadItem:
    if not isinstance(memory, dict):
        return BadItem(where, "expected a JSON object with at least `content`")
    named = {_RENAMED.get(name, name): value for name, value in memory.items()}
    used = {name: named[name] for name in _FIELDS if named.get(name) not in (None, "", [], {})}
    return checked(cast("Item", used), where)
