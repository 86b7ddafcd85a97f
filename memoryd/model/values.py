"""JSON that callers give: what both stores can hold exactly, and one text for what means the same."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from memoryd.errors import BadRequest
from memoryd.limits import METADATA_DEPTH_MAX
from memoryd.model.scope import check_unicode

INT64_MAX = 2**63 - 1


def check_json(field: str, value: Any, *, bytes_max: int, depth_max: int = METADATA_DEPTH_MAX) -> bytes:
    """`value` as JSON text. Raises BadRequest unless both stores can hold it exactly, within `bytes_max`."""
    try:
        _check(field, value, depth_max)
    except _TooDeep:
        raise BadRequest(f"{field}: is nested deeper than {depth_max} levels", field=field) from None
    text = msgspec.json.encode(value)
    if len(text) > bytes_max:
        raise BadRequest(f"{field}: has {len(text)} bytes as JSON, the limit is {bytes_max}", field=field)
    return text


def canonical(value: Any) -> bytes:
    """The one text of all values that are equal as JSON: names in order, and 1.0 as 1."""
    return msgspec.json.encode(_plain(value), order="deterministic")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # Some clients cannot tell 1.0 from 1; beyond 2^53 a float does not say which whole number it means.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


class _TooDeep(Exception):
    """There is another level."""


def _check(field: str, value: Any, depth_left: int) -> None:
    if depth_left < 0:
        raise _TooDeep
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise BadRequest(f"{field}: holds a key that is not a string", field=field)
            check_unicode(field, name)
        value = list(value.values())
    match value:
        case None | bool():
            return
        case str():
            check_unicode(field, value)
        case int():
            if not -INT64_MAX - 1 <= value <= INT64_MAX:
                raise BadRequest(f"{field}: holds a whole number of more than 64 bits", field=field)
        case float():
            if not math.isfinite(value):
                raise BadRequest(f"{field}: holds a number that is not finite", field=field)
        case list() | tuple():
            for item in value:
                _check(field, item, depth_left - 1)
        case _:
            raise BadRequest(f"{field}: holds a {type(value).__name__}, expected JSON", field=field)
