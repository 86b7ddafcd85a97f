"""The client's scratchpad: `memory.scratch`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memoryd.limits import SCRATCH_TTL_SECONDS_MAX
from memoryd.model.scratch import Pad, Popped, Written
from memoryd.protocol.connection import Connection


class ScratchClient:
    """Values by name, for minutes: exactly this scope's, whose agent and session may be empty."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, name: str, default: Any = None) -> Any:
        """The value, or `default` when there is none."""
        return (await self.pad(name)).values.get(name, default)

    async def pad(self, *names: str) -> Pad:
        """These values, all without names, and how much room and time the pad has."""
        return await self._connection.call("scratch.get", {"names": names}, Pad)

    async def set(self, name: str, value: Any, *, ttl_seconds: int = SCRATCH_TTL_SECONDS_MAX) -> None:
        """Writes one value."""
        await self.set_many({name: value}, ttl_seconds=ttl_seconds)

    async def set_many(self, values: Mapping[str, Any], *, ttl_seconds: int = SCRATCH_TTL_SECONDS_MAX) -> None:
        """Writes several values, all or none."""
        await self._connection.call("scratch.set", {"values": values, "ttl_seconds": ttl_seconds}, Written)

    async def increment(self, name: str, by: int = 1, *, ttl_seconds: int = SCRATCH_TTL_SECONDS_MAX) -> int:
        """Adds to a whole number (0 when it is not there); the sum."""
        args = {"name": name, "by": by, "ttl_seconds": ttl_seconds}
        return (await self._connection.call("scratch.increment", args, Written)).value

    async def push(self, name: str, *values: Any, ttl_seconds: int = SCRATCH_TTL_SECONDS_MAX) -> int:
        """Puts values at the end of a list; its length."""
        args = {"name": name, "values": values, "ttl_seconds": ttl_seconds}
        return (await self._connection.call("scratch.push", args, Written)).value

    async def pop(self, name: str, count: int = 1, *, last: bool = False) -> list[Any]:
        """Takes values from a list, the first or the last ones; fewer when it has fewer."""
        args = {"name": name, "count": count, "end": "last" if last else "first"}
        return (await self._connection.call("scratch.pop", args, Popped)).values

    async def delete(self, *names: str) -> int:
        """Removes values, the whole pad without names; how many there were."""
        return (await self._connection.call("scratch.delete", {"names": names}, Written)).value
