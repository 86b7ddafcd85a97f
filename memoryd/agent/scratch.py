"""The scratchpad: where an agent computes. It is exactly the scope's, forgets itself, and is never archived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from memoryd.errors import BadRequest, QuotaExceeded
from memoryd.hot.changes import Request
from memoryd.hot.scratch import Scratchpads
from memoryd.limits import SCRATCH_BYTES_MAX, SCRATCH_NAMES_MAX
from memoryd.model.scope import Scope, check_name
from memoryd.model.scratch import Pad, Popped, Written
from memoryd.model.values import check_json
from memoryd.storing import refusal


class Scratch:
    """The verbs of the scratchpad."""

    def __init__(self, pads: Scratchpads) -> None:
        self._pads = pads

    async def get(self, scope: Scope, names: Sequence[str]) -> Pad:
        """The values of these names that there are, all without names."""
        values, size, seconds = await self._pads.get(scope)
        wanted = values if not names else {name: values[name] for name in names if name in values}
        return Pad(values=wanted, names=len(values), bytes=size, seconds_left=seconds)

    async def set(self, scope: Scope, values: Mapping[str, Any], *, ttl_seconds: int, request: Request) -> Written:
        """Writes values, all or none. Raises BadRequest, QuotaExceeded, RequestIdReused."""
        if not values:
            raise BadRequest("values: is empty, expected at least one", field="values")
        encoded = {
            check_name("values", name): check_json("values", value, bytes_max=SCRATCH_BYTES_MAX)
            for name, value in values.items()
        }
        _done(await self._pads.set(scope, encoded, ttl_seconds, request), "values")
        return Written(value=len(encoded))

    async def increment(self, scope: Scope, name: str, by: int, *, ttl_seconds: int, request: Request) -> Written:
        """Adds `by` to a whole number."""
        check_name("name", name)
        [value] = _done(await self._pads.increment(scope, name, by, ttl_seconds, request), "a whole number")
        return Written(value=int(value))

    async def push(
        self, scope: Scope, name: str, values: Sequence[Any], *, ttl_seconds: int, request: Request
    ) -> Written:
        """Puts values at the end of a list."""
        check_name("name", name)
        if not values:
            raise BadRequest("values: is empty, expected at least one", field="values")
        items = check_json("values", list(values), bytes_max=SCRATCH_BYTES_MAX)
        [length] = _done(await self._pads.push(scope, name, items, ttl_seconds, request), "a list")
        return Written(value=int(length))

    async def pop(self, scope: Scope, name: str, *, last: bool, count: int, request: Request) -> Popped:
        """Takes values from a list; fewer when it has fewer."""
        check_name("name", name)
        taken = _done(await self._pads.pop(scope, name, last=last, count=count, request=request), "a list")
        return Popped(values=[msgspec.json.decode(one) for one in taken])

    async def delete(self, scope: Scope, names: Sequence[str], *, request: Request) -> Written:
        """Removes values, the whole pad without names."""
        for name in names:
            check_name("names", name)
        [removed] = _done(await self._pads.delete(scope, names, request), "names")
        return Written(value=int(removed))


def _done(words: Sequence[bytes], expected: str) -> Sequence[bytes]:
    """What a step gave besides its outcome. Raises what its outcome means."""
    match words[0].decode():
        case "done":
            return words[1:]
        case "type":
            raise BadRequest(f"name: does not hold {expected}", field="name")
        case "range":
            raise BadRequest("by: the sum is 2^53 or more, where counting ends", field="by")
        case "full":
            raise QuotaExceeded(
                f"the scratchpad holds {SCRATCH_NAMES_MAX} names in {SCRATCH_BYTES_MAX} bytes at most", field="scratch"
            )
        case other:
            raise refusal(other)
