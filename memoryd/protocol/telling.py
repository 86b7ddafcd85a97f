"""What the span of a verb tells of what was asked and answered: ids, counts and outcomes; text only where that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from memoryd.config import Settings
from memoryd.errors import ConfigError
from memoryd.limits import IDS_TOLD_MAX
from memoryd.model.episode import Episodes
from memoryd.model.fact import Facts
from memoryd.model.introspection import Knowledge
from memoryd.model.memory import Memory
from memoryd.model.results import Recalled
from memoryd_telemetry import names as telemetry
from memoryd_telemetry import text
from memoryd_telemetry.text import Texts

Record = dict[str, Any]


def open_texts(settings: Settings) -> Texts | None:
    """What brings text into spans; None unless it is switched on. Raises ConfigError for a redactor that cannot be used."""
    redact: text.Redact = text.redacted
    if settings.trace_redactor:
        try:
            redact = text.redactor(settings.trace_redactor)
        except ValueError as error:
            raise ConfigError(
                f"MEMORYD_TRACE_REDACTOR: {error}",
                hint="name a function that takes a text and gives one, as package.module:function, importable by the daemon",
            ) from error
    return Texts(redact) if text.wanted() else None


def described(args: Any, result: Any) -> dict[str, str | int | list[str]]:
    """What a span says of a verb that worked: ids, counts and outcomes, never text."""
    told: dict[str, Any] = {
        telemetry.RECORD_ID: getattr(result, "id", None),
        telemetry.EFFECT: getattr(result, "outcome", None),
        telemetry.DURABILITY: getattr(args, "durability", None),
        telemetry.TOP_K: getattr(args, "limit", None) if isinstance(result, Recalled) else None,
        telemetry.RECORD_COUNT: len(result) if isinstance(result, list | Recalled) else None,
    }
    known = {name: value for name, value in told.items() if value is not None}
    return known | ({telemetry.RECORD_IDS: ids} if (ids := _ids_of(result)) else {})


def quoted(texts: Texts, op: str, args: Any, result: Any) -> dict[str, str]:
    """What a span says in words of a verb that worked: the question of a search, and what was stored, read or found."""
    query = ""
    if telemetry.OPERATIONS.get(op) == "search_memory":
        query = getattr(args, "query", "") or getattr(args, "about", "")
    return texts.attributes(query, _records(args, result))


def _records(args: Any, result: Any) -> Iterator[Record]:
    """The memories of a request and its answer, each with its id and its content."""
    match result:
        case Recalled():
            yield from ({"id": hit.memory.id, "content": hit.memory.content, "score": round(hit.score, 4)} for hit in result.hits)
        case Memory():
            yield {"id": result.id, "content": result.content}
        case Facts() | Knowledge():
            yield from ({"id": one.id, "content": one.text} for one in result.facts)
        case Episodes():
            yield from ({"id": one.id, "content": one.text} for one in result.episodes)
        case list() if hasattr(args, "memories"):
            for raw, one in zip(args.memories, result, strict=True):
                if "stored" in one:  # so it could be read
                    yield {"id": one["stored"].id, "content": msgspec.json.decode(raw)["content"]}
        case _:
            content = getattr(getattr(args, "changes", args), "content", None) or getattr(args, "text", None)
            if isinstance(content, str) and hasattr(result, "id"):
                yield {"id": result.id, "content": content}


def _ids_of(result: Any) -> list[str]:
    """The first memories of an answer with many, so that a memory's history can be found."""
    if isinstance(result, Recalled):
        return [hit.memory.id for hit in result.hits[:IDS_TOLD_MAX]]
    several = result[:IDS_TOLD_MAX] if isinstance(result, list) else []
    return [one["stored"].id for one in several if isinstance(one, dict) and "stored" in one]
