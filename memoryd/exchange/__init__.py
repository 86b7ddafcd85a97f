"""Files in, files out: memories and conversations as other programs keep them.

| format | a file is | a memory is |
|---|---|---|
| `jsonl` | one JSON object a line, as `memoryd export` writes it | a line |
| `messages` | an OpenAI-style message list, bare or as `{"messages": [...]}` | a message with text or tool calls |
| `locomo` | one or more long conversations in the form of the LoCoMo data set | a turn |

Reading is lazy: `jsonl` is streamed at any size, the other two are one JSON value and have a size limit. What cannot
be used is yielded as a `BadItem` in its place, so that one broken line does not cost the rest of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memoryd.errors import BadRequest
from memoryd.exchange import jsonl, locomo, messages
from memoryd.exchange.items import BadItem, Item, first_line, load_whole
from memoryd.exchange.jsonl import export_line
from memoryd.exchange.locomo import Question, questions

__all__ = ["FORMATS", "BadItem", "Item", "Question", "export_line", "questions", "read"]

FORMATS = ("auto", "jsonl", "messages", "locomo")


def read(path: Path, *, format: str = "auto", conversation: str | None = None) -> Iterator[Item | BadItem]:
    """What `path` holds, in its order. `auto` tells the format by the content.

    `conversation` names the one conversation to take from a `locomo` file, or the session that a message list becomes
    (without it: the file's name). Raises BadRequest at once when the file cannot be read, or is not of the format.
    """
    if format not in FORMATS:
        raise BadRequest(f"format: is unknown, expected one of {', '.join(FORMATS)}", field="format")
    try:
        return _read(path, format, conversation)
    except OSError as error:
        raise BadRequest(f"{path.name}: cannot be read: {error.strerror}") from error


def _read(path: Path, format: str, conversation: str | None) -> Iterator[Item | BadItem]:
    if format == "jsonl" or (format == "auto" and jsonl.starts(first_line(path))):
        if conversation is not None:
            raise BadRequest("conversation: a file of memories has none", hint="leave it out", field="conversation")
        return jsonl.read(path)
    value = load_whole(path)
    if format == "auto":
        format = _format_of(path, value)
    if format == "locomo":
        return locomo.read(value, conversation)
    return messages.read(value, conversation if conversation is not None else path.stem)


def _format_of(path: Path, value: Any) -> str:
    if locomo.fits(value):
        return "locomo"
    if messages.fits(value):
        return "messages"
    raise BadRequest(
        f"{path.name}: is JSON, but neither memories, one a line, nor a message list, nor LoCoMo conversations",
        hint="a message list holds objects with `role`, LoCoMo holds objects with `sample_id` and `conversation`",
    )
