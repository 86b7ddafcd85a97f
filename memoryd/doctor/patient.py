"""What the checks look at, and what they say of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from memoryd.archive.client import archive_errors
from memoryd.archive.store import Archive
from memoryd.config import Settings
from memoryd.hot.client import hot_errors
from memoryd.keys import SCHEMA, Keys
from memoryd_schemas.redis_state import RedisState, load_state


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong. It quotes no memory, no name of a scope and no password."""

    finding: str
    consequence: str
    mend: str
    """The command that mends it, or the words where there is none."""


@dataclass
class Patient:
    """An installation: its settings, its environment and its two stores."""

    settings: Settings
    redis: Redis
    archive: Archive
    environment: Mapping[str, str]
    _info: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> Keys:
        """The names in its Redis."""
        return Keys(self.settings.buckets)

    async def info(self) -> dict[str, Any]:
        """What Redis says of itself, asked once."""
        if not self._info:
            with hot_errors("look at Redis"):
                self._info = dict(await self.redis.info())
        return self._info

    async def configured(self, name: str) -> str | None:
        """A line of Redis's configuration; None where it may not be asked, as on managed servers."""
        client: Any = self.redis
        with hot_errors("look at Redis's configuration"):
            try:
                found = await client.config_get(name)
            except ResponseError:
                return None
        value = found.get(name, found.get(name.encode()))
        return value.decode() if isinstance(value, bytes) else value

    async def state(self) -> RedisState | None:
        """What the Redis says of its own schema; None before any daemon has prepared it."""
        with hot_errors("look at the schema"):
            return await load_state(self.redis, SCHEMA)

    async def hello(self) -> dict[str, Any]:
        """What MongoDB says of itself."""
        with archive_errors("ask MongoDB who it is"):
            return dict(await self.archive.database.command("hello"))


Check = Callable[[Patient], Awaitable[Finding | None]]
