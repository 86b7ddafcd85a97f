"""The saved queries, filled in for one scope."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from memoryd import keys as names
from memoryd.model.scope import Scope, to_tag

PLACE = re.compile(r"<([a-z]+)>")
WANTS_VECTOR = ("<vector>", "<half>")


@dataclass(frozen=True)
class SavedQuery:
    """One query of the library; `text` may have places that are still to be filled."""

    index: str
    name: str
    about: str
    text: str


@dataclass(frozen=True)
class Filling:
    """What the places of the queries are filled with. What is empty becomes its name in capitals, for people to replace."""

    scope: Scope
    tag: str = ""
    words: str = ""
    memory_id: str = ""
    vector: tuple[bytes, bytes] | None = None
    """As the index has those of whole records, and of light ones."""
    since_microseconds: int = 0


def saved_queries() -> list[SavedQuery]:
    """Every query as it is written, with its places open."""
    by_kind = tomllib.loads((files(__package__) / "queries.toml").read_text("utf-8"))
    return [
        SavedQuery(names.index(kind), one["name"], one["about"], " ".join(one["text"].split()))
        for kind, many in by_kind.items()
        for one in many
    ]


def filled(query: SavedQuery, filling: Filling) -> SavedQuery | None:
    """The query ready to run; None for one that is about a vector when none is given."""
    if filling.vector is None and any(one in query.text for one in WANTS_VECTOR):
        return None
    values = _values(query, filling)
    text = PLACE.sub(lambda place: values[place[1]], query.text)
    return SavedQuery(query.index, query.name, query.about, text)


def _values(query: SavedQuery, filling: Filling) -> Mapping[str, str]:
    return {
        "index": query.index,
        "scope": _scope(filling.scope),
        "session": _exact(filling.scope.session) or "SESSION",
        "tag": _exact(filling.tag) or "TAG",
        "words": _words(filling.words) or "WORDS",
        "id": filling.memory_id or "ID",
        "since": str(filling.since_microseconds),
        **dict(zip(("vector", "half"), map(_escaped, filling.vector or (b"", b"")), strict=True)),
    }


def _escaped(vector: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in vector)


def _scope(scope: Scope) -> str:
    parts = {"tenant": scope.tenant, "project": scope.project, "agent_id": scope.agent}
    return " ".join(f"@{field}:{{{_exact(name)}}}" for field, name in parts.items() if name)


def _exact(name: str) -> str:
    """A name as a tag of a query, in which only letters, digits and underscores mean themselves."""
    return re.sub(r"(\W)", r"\\\1", to_tag(name), flags=re.ASCII)


def _words(text: str) -> str:
    """Words, any of which may be there: no other character of theirs could be anything but syntax."""
    return "|".join(re.findall(r"\w+", text))
