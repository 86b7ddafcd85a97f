"""The kept order of a recall, from which its later pages come, whatever is written meanwhile.

It holds ids and numbers, no text: each page reads its memories anew, so what was forgotten is on no later page.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from memoryd import keys as names
from memoryd.errors import BadRequest, CursorExpired
from memoryd.hot.client import hot_errors
from memoryd.limits import RECALL_PAGES_TTL_SECONDS
from memoryd.model.results import Ranked
from memoryd.model.scope import Scope


class Order(msgspec.Struct, frozen=True):
    """What a recall found, in order, and what its first answer said of itself."""

    asked: str
    """A digest of whose question it was, and of what it asked."""
    found: list[Ranked]
    searched: list[str]
    profile: str
    degraded: str
    missing: list[str]
    deep: bool = False
    """Whether some of it is perhaps in the archive only."""


class Pages:
    """The kept orders of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def keep(self, scope: Scope, order: Order) -> str:
        """Keeps an order; returns its token."""
        token = secrets.token_hex(8)
        raw = zlib.compress(msgspec.msgpack.encode(order), 1)
        with hot_errors("keep pages"):
            await self._redis.set(names.pages(scope, token), raw, ex=RECALL_PAGES_TTL_SECONDS)
        return token

    async def turn(self, scope: Scope, cursor: str, asked: str) -> tuple[Order, str, int]:
        """The order that a cursor leads to, its token, and where the page begins. Raises CursorExpired, BadRequest."""
        token, _, first = cursor.partition(".")
        if not (first.isascii() and first.isdigit() and token.isascii() and token.isalnum()):
            raise BadRequest("cursor: is none that a recall has given", field="cursor")
        with hot_errors("turn pages"):
            raw: Any = await self._redis.get(names.pages(scope, token))
        if raw is None:
            raise CursorExpired(f"cursor: is older than {RECALL_PAGES_TTL_SECONDS} seconds, or none of this scope's")
        order = msgspec.msgpack.decode(zlib.decompress(raw), type=Order)
        if order.asked != asked:
            raise BadRequest(
                "cursor: is of another question", field="cursor", hint="repeat the question of the first page, word for word"
            )
        return order, token, int(first)


def cursor_at(token: str, place: int, found: Sequence[Ranked]) -> str:
    """The cursor of the page that begins at a place; empty when nothing is left."""
    return f"{token}.{place}" if place < len(found) else ""
