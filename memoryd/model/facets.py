"""Facets: what a memory's metadata can be filtered by, without anybody declaring it first.

Every short text, whole number or yes-or-no at the top level of the metadata is one: `channel=mail`. They are exact values
of one index field, so a new name needs no new index. What is long, nested or a fraction describes a memory and selects none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoryd.limits import FACET_BYTES_MAX, FACETS_MAX
from memoryd.model.scope import to_tag


def facet(name: str, value: Any) -> str | None:
    """`name=value` as the index holds it, or None for what is no facet. A number and its digits are the same value."""
    match value:
        case bool():
            word = "true" if value else "false"
        case str() | int():
            word = str(value)
        case _:
            return None
    if not name or not word or max(len(name.encode()), len(word.encode())) > FACET_BYTES_MAX:
        return None
    return f"{to_tag(name)}={to_tag(word)}"


def facets_of(metadata: Mapping[str, Any]) -> str:
    """The facets of a memory, with commas: the first ones, when there are more than an index should hold."""
    found = (facet(name, value) for name, value in metadata.items())
    return ",".join([one for one in found if one is not None][:FACETS_MAX])
