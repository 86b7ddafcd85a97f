"""The protocol's JSON Schemas: `protocol/<name>.json`, as `memoryd.protocol.schema` writes them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def protocol_names() -> list[str]:
    """Every schema's name: envelope, reply, event, problem, and for each verb `<verb>.args` and `<verb>.result`."""
    return sorted(file.name.removesuffix(".json") for file in _folder().iterdir() if file.name.endswith(".json"))


def protocol_schema(name: str) -> dict[str, Any]:
    """One schema, in the 2020-12 dialect. Raises FileNotFoundError for a name that there is not."""
    schema: dict[str, Any] = json.loads((_folder() / f"{name}.json").read_text("utf-8"))
    return schema


def _folder() -> Any:
    return files(__package__) / "protocol"
